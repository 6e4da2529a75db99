"""The files that the tool writes, against the NumPy reference and against each other."""

import itertools
import json
import re

import numpy as np
import pytest
import safetensors.numpy

import files
import reference
from tool import fails, report, run, winnow

SHAPES = [(1, 1), (7,), (5, 9), (16, 12), (1, 33), (33, 1), (3, 1, 5), (2, 3, 4), (17, 8),
          (40, 64), (0, 4), ()]
SETTINGS = [
    dict(level=0.5, block=(1, 1)),
    dict(level=0.8, block=(1, 4)),
    dict(level=0.3, block=(4, 4)),
    dict(level=0.5, block=(16, 1)),
    dict(level=0.9, block=(2, 3)),
    dict(level=0.0, block=(1, 4)),
    dict(level=1.0, block=(3, 5)),
    dict(level=0.5, block=(8, 8), zeros=20),
    dict(level=0.7, block=(1, 4), zeros=2),
    dict(level=1.0, block=(2, 2), zeros=3),
    dict(level=0.6, block=(4, 1), zeros=0),
    dict(level=0.4, block=(100, 100)),
]


def flags(level, block, zeros=None, norm="l1"):
    return ["-s", level, "--block", f"{block[0]}x{block[1]}", "--norm", norm,
            "--zeros-per-block", "all" if zeros is None else zeros]


def values(rng, shape, kind):
    """Normal, tie-ridden (16 levels, both zeros) or extreme values."""
    if kind == "normal":
        return rng.normal(size=shape)
    if kind == "ties":
        return rng.integers(-8, 8, size=shape) * np.where(rng.random(shape) < 0.5, 1.0, -1.0)
    exponents = rng.integers(-20, 4, size=shape)
    return rng.normal(size=shape) * 10.0 ** exponents


def tensors_of(dtype, kind, seed):
    rng = np.random.default_rng(seed)
    result = {}
    for i, shape in enumerate(SHAPES):
        array = values(rng, shape, kind)
        result[f"t{i}"] = files.bf16(array) if dtype == "BF16" else np.asarray(
            array, dtype=files.DTYPES[dtype])
    return result


def check(content_in, content_out, names, masks):
    """Survivors bit for bit, dropped values +0."""
    for name, mask in zip(names, masks):
        itemsize = len(files.tensor_bytes(content_in, name)) // max(mask.size, 1) or 1
        before = np.frombuffer(files.tensor_bytes(content_in, name), dtype=f"V{itemsize}")
        expected = before.copy()
        expected[mask.reshape(-1) == 0] = np.zeros(1, dtype=f"V{itemsize}")[0]
        assert expected.tobytes() == files.tensor_bytes(content_out, name), name


@pytest.mark.parametrize("dtype", ["F32", "F64", "F16", "BF16"])
@pytest.mark.parametrize("kind", ["normal", "ties", "extreme"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_masks_equal_the_reference(dtype, kind, norm, tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(files.image(tensors_of(dtype, kind, seed=11)))
    content = path.read_bytes()
    names = [f"t{i}" for i in range(len(SHAPES))]
    arrays = [files.tensor(content, name) for name in names]
    for settings in SETTINGS:
        run("prune", path, "-o", out, "--overwrite", "--force", "*",
            *flags(norm=norm, **settings))
        expected = [reference.mask(a, norm=norm, **settings) if a.size else np.ones(a.shape)
                    for a in arrays]
        check(content, out.read_bytes(), names, expected)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", ["normal", "ties"])
def test_a_global_scope_equals_the_reference(settings, kind, tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    mixed = {}
    for dtype in ["F32", "F64", "BF16", "F16"]:
        for name, array in tensors_of(dtype, kind, seed=5).items():
            mixed[f"{dtype}.{name}"] = array
    path.write_bytes(files.image(mixed))
    content = path.read_bytes()
    names = [n for n in mixed if files.tensor(content, n).size]
    run("prune", path, "-o", out, "--force", "*", "--scope", "global", *flags(**settings))
    expected = reference.masks([files.tensor(content, n) for n in names], **settings)
    check(content, out.read_bytes(), names, expected)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Several chunks of values, with ties across all chunk borders."""
    rng = np.random.default_rng(2)
    path = tmp_path_factory.mktemp("model") / "m"
    path.write_bytes(files.image({
        "normal": rng.normal(size=(1201, 999)).astype(np.float32),
        "ties": rng.integers(0, 16, size=(1500, 1000)).astype(np.float32),
        "half": rng.normal(size=(800, 1001)).astype(np.float16),
        "brain": files.bf16(rng.normal(size=(333, 1000))),
        "double": rng.normal(size=(400, 500)),
        "other": rng.integers(0, 255, size=3_000_001).astype(np.uint8),
    }))
    return path


@pytest.mark.parametrize("settings", [
    ["-s", "0.5", "--block", "1x1"], ["-s", "0.9", "--block", "1x4"],
    ["-s", "0.5", "--block", "8x8"], ["-s", "0.5", "--block", "16x1"], ["--nm", "2:4"],
    ["-s", "0.7", "--block", "4x4", "--zeros-per-block", "7"],
    ["-s", "0.6", "--block", "1x1", "--scope", "global"],
    ["-s", "0.6", "--block", "1x4", "--scope", "global"],
], ids=" ".join)
def test_threads_and_simd_levels_give_the_same_bytes(settings, model, tmp_path):
    out = tmp_path / "out"
    files_seen = set()
    levels = ["scalar"]
    for level, name in [("avx512f", "avx512"), ("avx2", "avx2"), ("sse4_2", "sse4")]:
        if level in open("/proc/cpuinfo").read():
            levels.append(name)
    for threads, level in itertools.product([1, 2, 5], levels):
        data = report("prune", model, "-o", out, "--overwrite", *settings, "-j", threads,
                      env={"WINNOW_SIMD": level})
        assert data["simd_level"] == level
        files_seen.add(out.read_bytes())
    assert len(files_seen) == 1
    run("verify", out, "--against", model)


def test_pruning_again_changes_nothing(model, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    run("prune", model, "-o", once, "-s", "0.8")
    run("prune", once, "-o", twice, "-s", "0.8")
    assert once.read_bytes() == twice.read_bytes()


def test_safetensors_loads_the_result(model, tmp_path):
    out = tmp_path / "out"
    rng = np.random.default_rng(4)
    path = tmp_path / "in"
    arrays = {"w": rng.normal(size=(6, 8)).astype(np.float32), "b": np.ones(3, np.float32),
              "i": np.arange(4), "none": np.zeros((0, 3), np.float16)}
    safetensors.numpy.save_file(arrays, path, metadata={"format": "np"})
    run("prune", path, "-o", out)
    loaded = safetensors.numpy.load_file(out)
    assert set(loaded) == set(arrays)
    assert (loaded["w"] == arrays["w"] * reference.mask(arrays["w"])).all()
    assert (loaded["b"] == arrays["b"]).all() and (loaded["i"] == arrays["i"]).all()


HOSTILE = ["", "\0", "../../etc/passwd", "/etc/passwd", "a\nb", "\x1b[31mred", "\u202eabc", "\\",
           "\"", "'", "*", "[", "\U0001f600", "x" * 60_000, "__metadata", "re:.*", "-s", "=0.5"]


def test_hostile_names(tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(files.image({n: np.arange(8, dtype=np.float32).reshape(2, 4)
                                  for n in HOSTILE}))
    data = report("prune", path, "-o", out)
    assert [t["name"] for t in data["tensors"]] == HOSTILE
    assert all(t["zeros_after"] == 4 for t in data["tensors"])
    run("verify", out, "--against", path)
    assert [t["name"] for t in report("inspect", out)["tensors"]] == HOSTILE
    text = run("inspect", out).stdout + run("prune", path, "--dry-run", "-v").stdout
    assert "\x1b" not in text and "\0" not in text and "\u202e" not in text
    assert len(text) < 100_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_unaligned_data(tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    rng = np.random.default_rng(6)
    tensors = {"byte": np.ones(1, np.uint8), "f64": rng.normal(size=(37, 41)),
               "byte2": np.ones(2, np.uint8), "f16": rng.normal(size=(9, 9)).astype(np.float16),
               "f32": rng.normal(size=(300, 1000)).astype(np.float32)}
    path.write_bytes(files.image(tensors))
    run("prune", path, "-o", out, "-s", "0.5", "--block", "1x1")
    names = ["f64", "f16", "f32"]
    check(path.read_bytes(), out.read_bytes(), names,
          [reference.mask(tensors[n], block=(1, 1)) for n in names])


def test_an_empty_file_of_no_tensors(tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(files.image({}))
    run("prune", path, "-o", out)
    run("verify", out, "--against", path)
    assert report("inspect", out)["tensors"] == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_memory_is_bounded_by_the_largest_tensor(dtype, scope, tmp_path):
    path = tmp_path / "in"
    rng = np.random.default_rng(8)
    weights = rng.standard_normal(size=(5000, 4000), dtype=np.float32).astype(dtype)
    path.write_bytes(files.image({"a": weights, "b": weights, "copied": weights.reshape(-1)}))
    data = report("prune", path, "-o", tmp_path / "out", "-s", "0.5", "--block", "1x1",
                  "--scope", scope)
    assert data["peak_memory_bytes"] <= 1.5 * weights.nbytes + (64 << 20)


def hole(path, shape):
    """A file of one F32 tensor of zeros that takes no space."""
    end = 4 * shape[0] * shape[1]
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)


def test_memory_does_not_depend_on_the_size_of_tensors(tmp_path):
    peaks = []
    for rows in (1 << 14, 1 << 17):  # 256 MiB, 2 GiB
        hole(tmp_path / "in", [rows, 1 << 12])
        data = report("prune", tmp_path / "in", "--dry-run", "--block", "1x1", "--max-memory", "64M")
        peaks.append(data["peak_memory_bytes"])
        assert data["totals"]["zeros_after"] == rows << 12
    assert max(peaks) <= 64 << 20
    assert max(peaks) <= 1.05 * min(peaks) + (1 << 20), peaks


def test_max_memory_takes_a_size(tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(files.image({"w": np.ones((4, 4), np.float32)}))
    for command in (["prune", path, "-o", out], ["verify", path, "--against", path, "-s", "0"],
                    ["compress", path, "-o", out], ["decompress", path, "-o", out]):
        message = fails(2, *command, "--max-memory", "1.5G")
        assert "--max-memory: expected a size such as 512M or 2GiB, found '1.5G'" in message
        message = fails(2, *command, "--max-memory", "1M")
        least = re.search(r"max_memory: expected at least (\d+) bytes for this file, found 1048576", message)
        assert least, message
        assert str(path) in message and not out.exists()
        # With that much, another error or none.
        done = winnow(*command, "--max-memory", least[1])
        assert "max_memory" not in done.stderr
        out.unlink(missing_ok=True)
