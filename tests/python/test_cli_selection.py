"""What the tool leaves alone where nobody says: files of real families, and what becomes of them."""

import numpy as np
import pytest

import files
from tool import report, run

RNG = np.random.default_rng(12)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def halves(*shape):
    return (RNG.random(shape) * 0.01 + 0.005).astype(np.float16)


def raw(dtype, shape, itemsize):
    return (dtype, shape, RNG.integers(0, 256, int(np.prod(shape)) * itemsize, np.uint8).tobytes())


# Name to tensor, and to the reason's code; None: pruned. The C++ test has every row of the rule.
FAMILIES = {
    "gptq": {"q.qweight": (raw("I32", (16, 64), 4), "dtype"), "q.scales": (halves(4, 64), "quantized"),
             "lm_head.weight": (floats(64, 64), None)},
    "mlx": {"q.weight": (raw("U32", (64, 16), 4), "dtype"), "q.scales": (halves(64, 2), "quantized"),
            "q.biases": (halves(64, 2), "quantized")},
    "int8 by channel": {"q.weight": (raw("I8", (64, 64), 1), "dtype"),
                        "q.weight_scale": (floats(64, 1), "quantized")},
    "fp8 by blocks": {"q.weight": (raw("F8_E4M3", (256, 256), 1), "dtype"),
                      "q.weight_scale_inv": (floats(2, 2), "quantized")},
    "gpt-2": {"h.0.attn.bias": (np.tril(np.ones((64, 64), np.float32)).reshape(1, 1, 64, 64), "mask"),
              "h.0.attn.c_attn.weight": (floats(64, 192), None),
              "h.0.ln_1.weight": (np.ones(64, np.float32), "vector")},
    "disguised": {"cls_token": (floats(1, 1, 64), "vector"), "gamma": (floats(64, 1, 1), "vector"),
                  "rotary.cos_cached": (floats(1, 1, 64, 16), "positions"),
                  "embeddings.position_embeddings.weight": (floats(64, 16), None)},
    "lora": {"te.lora_down.weight": (floats(8, 64), None), "te.lora_up.weight": (floats(64, 8), None),
             "te.alpha": (np.array(4, np.float16), "vector"),
             "te.norm.weight": (np.ones(8, np.float32), "vector")},
    "experts": {"experts.gate_up_proj": (floats(4, 16, 32), None),
                "experts.gate_up_proj_bias": (floats(4, 32), "bias")},
}


@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families_keep_what_they_cannot_spare(family, scope, tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(files.image({name: tensor for name, (tensor, _) in FAMILIES[family].items()}))
    data = report("prune", path, "-o", out, "--scope", scope)
    assert {t["name"]: t.get("reason") for t in data["tensors"]} == {
        name: reason for name, (_, reason) in FAMILIES[family].items()}
    for name, (_, reason) in FAMILIES[family].items():
        same = files.tensor_bytes(path.read_bytes(), name) == files.tensor_bytes(out.read_bytes(), name)
        assert same == (reason is not None), name
    left_alone = sum(reason not in (None, "dtype") for _, reason in FAMILIES[family].values())
    assert data["totals"]["left_alone"] == left_alone
    totals = report("verify", out, "--against", path)["totals"]
    assert totals["left_alone"] == left_alone
    assert f"({left_alone} of them by the default rule)" in run("verify", out, "--against", path).stdout


def test_include_narrows_and_force_lifts(tmp_path):
    path = tmp_path / "in"
    path.write_bytes(files.image({name: tensor for name, (tensor, _) in FAMILIES["lora"].items()}))

    def pruned(*flags):
        tensors = report("prune", path, "--dry-run", *flags)["tensors"]
        return {t["name"] for t in tensors if t["pruned"]}

    weights = {"te.lora_down.weight", "te.lora_up.weight"}
    assert pruned("--include", "te.*") == weights
    assert pruned("--include", "te.*", "--force", "*.norm.*") == weights | {"te.norm.weight"}
    assert pruned("--force", "*.norm.*", "--exclude", "*.norm.*") == weights


def weight_norm(dimension, rows=32):
    """A direction whose first rows are small, and its magnitude."""
    shape = [6, 5, 4]
    shape[dimension] = rows
    direction = floats(*shape)
    np.moveaxis(direction, dimension, 0)[:rows // 4] *= 1e-3
    magnitude = [1, 1, 1]
    magnitude[dimension] = rows
    return {"conv.weight_g": np.ones(magnitude, np.float32), "conv.weight_v": direction}


@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("dimension", [0, 1, 2])
def test_rows_whose_norm_is_divided_by_are_kept(dimension, scope, tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(files.image(weight_norm(dimension) | {"other.weight": floats(8, 8)}))
    settings = ["-s", "0.5", "--block", "1x1", "--scope", scope]
    data = report("prune", path, "-o", out, *settings)
    before = files.tensor(path.read_bytes(), "conv.weight_v")
    after = files.tensor(out.read_bytes(), "conv.weight_v")
    axes = tuple(d for d in range(3) if d != dimension)
    assert np.linalg.norm(after, axis=axes).min() > 0
    whole = (after == before).all(axis=axes)
    assert whole.sum() == data["totals"]["kept_rows"] == 8
    assert (after == 0).any()
    run("verify", out, "--against", path)
    text = run("prune", path, "--dry-run", "-v", *settings).stdout
    assert "rows     8 kept whole: their norms are divided by" in text
    assert "         8 of conv.weight_v\n" in text
    run("prune", path, "-o", out, "--overwrite", "--force", "conv.weight_v", *settings)
    forced = files.tensor(out.read_bytes(), "conv.weight_v")
    assert (np.linalg.norm(forced, axis=axes) == 0).sum() == 8
    run("verify", out, "--against", path)


def test_a_zero_that_a_block_keeps_does_not_save_its_row(tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    direction = np.array([[0, 1], [9, 1]], np.float32)  # blocks of 2 x 1: the right one falls
    path.write_bytes(files.image({"fc.weight_g": np.ones((2, 1), np.float32),
                                  "fc.weight_v": direction}))
    data = report("prune", path, "-o", out, "-s", "0.5", "--block", "2x1")
    assert data["totals"]["kept_rows"] == 1
    assert (files.tensor(out.read_bytes(), "fc.weight_v") == [[0, 1], [9, 0]]).all()
    run("verify", out, "--against", path)


def test_a_direction_under_one_norm_is_not_dropped_whole(tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(files.image({"fc.weight_g": np.array(2, np.float32), "fc.weight_v": floats(4, 4),
                                  "sn.weight_u": floats(4), "sn.weight_orig": floats(4, 4)}))
    data = report("prune", path, "-o", out, "-s", "1")
    assert data["totals"]["kept_rows"] == 2 and data["totals"]["zeros_after"] == 0
    run("verify", out, "--against", path)
