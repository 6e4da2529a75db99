"""winnow verify: accepts what prune wrote, names what anyone changed."""

import json

import numpy as np
import pytest

import files
from tool import fails, report, run

SETTINGS = ["-s", "0.5", "--block", "1x1"]


@pytest.fixture
def pair(tmp_path):
    """A model, its pruned form, and the pruned bytes to spoil."""
    path, out = tmp_path / "in", tmp_path / "out"
    rng = np.random.default_rng(9)
    path.write_bytes(files.image({
        "w": rng.normal(size=(700, 1000)).astype(np.float32),
        "h": rng.normal(size=(30, 40)).astype(np.float16),
        "bias": rng.normal(size=1000).astype(np.float32),
        "ids": np.arange(7),
    }, {"format": "pt"}))
    run("prune", path, "-o", out, *SETTINGS)
    return path, out, bytearray(out.read_bytes())


def place(content, name, index, itemsize):
    """The position of a tensor's flat element in the file."""
    header, data = files.parse(bytes(content))
    return len(content) - len(data) + header[name]["data_offsets"][0] + index * itemsize


def test_accepts_what_prune_wrote(pair):
    path, out, _ = pair
    done = run("verify", out, "--against", path)
    assert done.stdout.startswith("ok ")
    assert "2 pruned, 2 equal byte for byte" in done.stdout
    data = report("verify", out, "--against", path)
    assert data["ok"] and data["settings_from"] == "metadata"
    assert data["totals"]["dropped_values"] == 350_600
    assert data["totals"]["bytes"] == 700_000 * 4 + 1200 * 2 + 4000 + 56
    assert report("verify", out, "--against", path, *SETTINGS)["settings_from"] == "flags"


@pytest.mark.parametrize("flags", [
    ["--nm", "2:4"], ["--scope", "global", "-s", "0.3"], ["--force", "*", "--exclude", "ids"],
    ["--level", "w=0.9", "--level", "*=0.1"], ["--norm", "l2", "--block", "4x4"],
    ["--zeros-per-block", "3"], ["--nan", "keep"], ["--include", "re:[wh]", "-s", "1"],
], ids=" ".join)
def test_metadata_and_flags_lead_to_the_same_masks(flags, pair):
    path, out, _ = pair
    run("prune", path, "-o", out, "--overwrite", *flags)
    run("verify", out, "--against", path)
    run("verify", out, "--against", path, *flags)


def test_other_settings_do_not_fit(pair):
    path, out, _ = pair
    assert "tensor 'w'" in fails(1, "verify", out, "--against", path, "-s", "0.6")


def spoiled(pair, position, change):
    path, out, content = pair
    content[position] = change(content[position])
    out.write_bytes(content)
    return fails(1, "verify", out, "--against", path)


def first(pair, name, dtype, wanted_zero):
    """The last element of a tensor that is (not) zero."""
    values = np.frombuffer(files.tensor_bytes(bytes(pair[2]), name), dtype=dtype)
    return int(np.flatnonzero((values == 0) == wanted_zero)[-1])


def test_a_flipped_bit_of_a_survivor(pair):
    index = first(pair, "w", np.float32, False)
    message = spoiled(pair, place(pair[2], "w", index, 4), lambda byte: byte ^ 1)
    where = f"tensor 'w' at [{index // 1000}, {index % 1000}]: expected the original's value"
    assert where in message and ", found " in message


def test_a_negative_zero(pair):
    index = first(pair, "w", np.float32, True)
    message = spoiled(pair, place(pair[2], "w", index, 4) + 3, lambda byte: 0x80)
    assert "expected the dropped value 0 (0x00000000), found -0 (0x80000000)" in message


def test_a_missing_zero(pair):
    index = first(pair, "h", np.float16, True)
    message = spoiled(pair, place(pair[2], "h", index, 2) + 1, lambda byte: 0x3c)
    assert "tensor 'h'" in message and "found 1 (0x3c00)" in message


def test_a_survivor_that_fell(pair):
    index = first(pair, "h", np.float16, False)
    position = place(pair[2], "h", index, 2)
    pair[2][position] = 0
    assert "found 0 (0x0000)" in spoiled(pair, position + 1, lambda byte: 0)


@pytest.mark.parametrize("name, index, itemsize", [("bias", 999, 4), ("ids", 0, 8)])
def test_a_changed_tensor_that_is_not_pruned(pair, name, index, itemsize):
    message = spoiled(pair, place(pair[2], name, index, itemsize), lambda byte: byte ^ 0x10)
    assert f"tensor '{name}' (not pruned) at byte {index * itemsize}: expected 0x" in message


def rewritten(content, change):
    """The file with its header changed."""
    header, data = files.parse(bytes(content))
    header = change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def renamed(header):
    return {("v" if k == "w" else k): v for k, v in header.items()}


def reshaped(header):
    header["w"]["shape"] = [1000, 700]
    return header


def reordered(header):
    return dict(reversed(header.items()))


def with_more(header):
    header["__metadata__"]["more"] = "x"
    return header


def without_format(header):
    del header["__metadata__"]["format"]
    return header


@pytest.mark.parametrize("change, part", [
    (renamed, "expected the name 'w', found 'v'"),
    (reshaped, "'w': expected F32 [700, 1000], found F32 [1000, 700]"),
    (reordered, "expected the name 'w', found 'ids'"),
    (with_more, "metadata entry 'more': expected no such entry, found 'x'"),
    (without_format, "metadata entry 'format': expected 'pt'"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_a_changed_header(pair, change, part):
    path, out, content = pair
    out.write_bytes(rewritten(content, change))
    assert part in fails(1, "verify", out, "--against", path)


def test_recorded_settings_are_not_trusted(pair):
    path, out, content = pair
    for text in ["", "{}", "[", "nonsense", "[" * 100_000, '{"level":0.5}', '{"block":[1,1e400]}']:
        def change(header, text=text):
            header["__metadata__"]["winnow.config"] = text
            return header
        out.write_bytes(rewritten(content, change))
        message = fails(3, "verify", out, "--against", path)
        assert "winnow.config" in message and "(give the flags" in message
        run("verify", out, "--against", path, *SETTINGS)


def test_a_file_of_another_rule_is_not_called_wrong(pair):
    path, out, content = pair
    config = files.parse(bytes(content))[0]["__metadata__"]["winnow.config"]
    older = config.replace('"force":[],', "").replace('"rule":1,', "")
    for text, found in [(config.replace('"rule":1', '"rule":2'), "found rule 2"),
                        (older, "found none: an older winnow recorded it")]:
        def change(header, text=text):
            header["__metadata__"]["winnow.config"] = text
            return header
        out.write_bytes(rewritten(content, change))
        message = fails(3, "verify", out, "--against", path)
        assert found in message and message.endswith("the winnow that winnow.version names)")
        run("verify", out, "--against", path, *SETTINGS)


def test_a_file_without_recorded_settings_needs_flags(pair):
    path, _, _ = pair
    message = fails(2, "verify", path, "--against", path)
    assert message.endswith("found none (give the flags that it was pruned with, such as -s 0.8)")
    run("verify", path, "--against", path, "-s", "0")


def test_bad_and_missing_files(pair, tmp_path):
    path, out, _ = pair
    (tmp_path / "bad").write_bytes(b"nonsense")
    fails(4, "verify", tmp_path / "none", "--against", path)
    fails(4, "verify", out, "--against", tmp_path / "none")
    fails(3, "verify", tmp_path / "bad", "--against", path)
    fails(3, "verify", out, "--against", tmp_path / "bad")
