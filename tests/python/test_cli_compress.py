"""compress, decompress and prune --compress from outside; test_compressed_reference.py reads the bytes."""

import json
import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest

import files
from tool import WINNOW, fails, report, run, winnow

NAMES = ["emb.weight", "enc.0.weight", "enc.0.bias", "zeros", "noise", "ids"]


@pytest.fixture
def model(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "model.safetensors"
    path.write_bytes(files.image({
        "emb.weight": rng.normal(size=(500, 64)).astype(np.float32),
        "enc.0.weight": rng.normal(size=(64, 64)).astype(np.float16),
        "enc.0.bias": rng.normal(size=64),
        "zeros": np.zeros(1000, np.float32),
        "noise": rng.integers(0, 256, 5000).astype(np.uint8),
        "ids": np.arange(6).reshape(2, 3),
    }, {"format": "pt"}))
    return path


@pytest.fixture
def pruned(model, tmp_path):
    path = tmp_path / "pruned.safetensors"
    run("prune", model, "-o", path, "-s", "0.9", "--block", "1x1")
    return path


@pytest.fixture
def small(pruned, tmp_path):
    path = tmp_path / "small.safetensors"
    run("compress", pruned, "-o", path)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"


def listing(path):
    return sorted(entry.name for entry in path.iterdir())


def compressed_names(path):
    """The tensors of a file that are stored compressed."""
    return {t["name"] for t in report("inspect", path)["tensors"] if "encoding" in t}


# Usage errors: nothing is read (FILE does not even exist), nothing is written, exit 2.
@pytest.mark.parametrize("command", ["compress", "decompress"])
@pytest.mark.parametrize("flags, part", [
    ([], "--output: expected a path (or --dry-run)"),
    (["-o", "out", "-j", "0"], "--threads: expected a number from 1 to 1024, found '0'"),
    (["-o", "out", "-q", "-v"], "excludes"),
    (["-o", "out", "--overwrite-blob"], "--overwrite"),
    (["-o", "out", "-s", "0.5"], "-s"),
    (["-o", "out", "more"], "more"),
])
def test_usage_errors_come_before_any_file(command, flags, part, tmp_path):
    assert part in fails(2, command, tmp_path / "none", *flags, cwd=tmp_path)
    assert os.listdir(tmp_path) == []


def test_decompress_has_no_patterns(small, out):
    assert "--include" in fails(2, "decompress", small, "-o", out, "--include", "emb*")
    assert not out.exists()


def test_help():
    assert "compress" in run("--help").stdout and "decompress" in run("--help").stdout
    for command in ["compress", "decompress"]:
        assert "FILE" in fails(2, command)
        text = run(command, "--help").stdout
        assert f"Usage: winnow {command}" in text
        assert "Examples:\n  winnow " + command in text
        assert max(map(len, text.splitlines())) <= 100
        for flag in ["-o,--output", "--overwrite", "--overwrite-blob", "--dry-run", "-j,--threads",
                     "--json", "-q,--quiet", "-v,--verbose", "--no-progress"]:
            assert flag in text
        assert ("--include" in text) == ("--exclude" in text) == (command == "compress")
    assert "--compress" in run("prune", "--help").stdout


def test_the_file_comes_back_byte_for_byte(model, pruned, tmp_path, out):
    for path in [model, pruned]:
        run("compress", path, "-o", out, "--overwrite")
        assert os.path.getsize(out) < os.path.getsize(path)
        run("decompress", out, "-o", tmp_path / "back", "--overwrite")
        assert (tmp_path / "back").read_bytes() == path.read_bytes()


def test_threads_and_simd_do_not_change_the_file(pruned, small, out):
    for flags, level in [(["-j", 1], "scalar"), (["-j", 3], "scalar"), (["-j", 2], "")]:
        environment = {"WINNOW_SIMD": level} if level else {}
        run("compress", pruned, "-o", out, "--overwrite", *flags, env=environment)
        assert out.read_bytes() == small.read_bytes()


def test_compress_prints_totals_and_with_v_a_table(pruned, out):
    done = run("compress", pruned, "-o", out)
    assert done.stderr == ""
    before, after = os.path.getsize(pruned), os.path.getsize(out)
    lines = [
        "tensors  3 compressed, 3 stored as they are (-v lists them)",
        f"bytes    {before:,} read, {after:,} written ({100 * after / before:.2f} %)"]
    assert done.stdout.splitlines()[:2] == lines
    assert f"\nresult   {out}\n" in done.stdout
    text = run("compress", pruned, "-o", out, "--overwrite", "-v").stdout
    assert re.search(r"^tensor +dtype +shape +bytes +stored +share +encoding$", text, re.M)
    assert re.search(r"^emb\.weight +F32 +500 x 64 +128 kB +[\d.]+ kB +[\d.]+ % +gaps, window$", text, re.M)
    assert re.search(r"^zeros +F32 +1000 +4\.00 kB +56 B +1\.40 % +zeros$", text, re.M)
    assert re.search(r"^noise +U8 +5000 +5\.00 kB +5\.00 kB +100\.00 % +as it is$", text, re.M)
    assert "\ntensors  3 compressed, 3 stored as they are\n" in text and "\nstages   " in text


def test_decompress_prints_the_same_table(pruned, small, out):
    table = run("compress", pruned, "-o", out, "-v").stdout.split("\n\n")[0]
    done = run("decompress", small, "-o", out, "--overwrite", "-v")
    assert done.stderr == "" and done.stdout.split("\n\n")[0] == table
    before, after = os.path.getsize(small), os.path.getsize(pruned)
    assert f"\nbytes    {before:,} read, {after:,} written (" in done.stdout


def test_json(pruned, small, out):
    for command, path in [("compress", pruned), ("decompress", small)]:
        data = report(command, path, "-o", out, "--overwrite", "-j", 2)
        assert (data["command"], data["input"], data["output"]) == (command, str(path), str(out))
        assert data["written"] == str(out) and not data["dry_run"] and data["threads"] == 2
        assert data["input_bytes"] == os.path.getsize(path)
        assert data["output_bytes"] == os.path.getsize(out)
        assert data["simd_level"] and data["version"] and data["peak_memory_bytes"] > 1e6
        assert data["seconds"]["total"] > 0
        assert [t["name"] for t in data["tensors"]] == NAMES
        emb, noise = data["tensors"][0], data["tensors"][4]
        stored = emb.pop("stored_bytes")
        assert emb == {"name": "emb.weight", "dtype": "F32", "shape": [500, 64], "values": 32000,
                       "bytes": 128000, "encoding": "gaps, window"}
        assert 0 < stored < 20_000
        assert noise["stored_bytes"] == noise["bytes"] == 5000 and "encoding" not in noise
        assert data["tensors"][3]["encoding"] == "zeros"


def test_quiet_prints_nothing(pruned, small, out):
    for command, path in [("compress", pruned), ("decompress", small)]:
        done = run(command, path, "-o", out, "--overwrite", "-q")
        assert (done.stdout, done.stderr) == ("", "")


def test_inspect_shows_the_file_that_was_compressed(pruned, small):
    plain, packed = report("inspect", pruned, "--stats"), report("inspect", small, "--stats")
    assert (plain["compressed"], packed["compressed"]) == (False, True)
    assert packed["file_bytes"] == os.path.getsize(small)
    assert packed["metadata"] == plain["metadata"] and packed["dtypes"] == plain["dtypes"]
    assert packed["header_bytes"] == plain["header_bytes"]
    for before, after in zip(plain["tensors"], packed["tensors"], strict=True):
        assert before.pop("stored_bytes") == before["bytes"] and "encoding" not in before
        after.pop("encoding", None)
        assert 0 < after.pop("stored_bytes") <= before["bytes"]
        assert before == after
    text = run("inspect", small).stdout
    assert re.search(r"^tensor +dtype +shape +values +bytes +stored +share +encoding$", text, re.M)
    assert re.search(r"^zeros +F32 +1000 +1,000 +4\.00 kB +56 B +1\.40 % +zeros$", text, re.M)
    assert "__winnow_header__" not in text and "winnow.compressed" not in text
    assert "stored" not in run("inspect", pruned).stdout


@pytest.mark.parametrize("flags, names", [
    ([], {"emb.weight", "enc.0.weight", "zeros"}),
    (["--include", "enc.*"], {"enc.0.weight"}),
    (["--include", "e*", "--include", "re:z.*", "--exclude", "emb*"], {"enc.0.weight", "zeros"}),
    (["--exclude", "*weight"], {"zeros"}),
])
def test_patterns_choose_what_is_compressed(pruned, out, tmp_path, flags, names):
    run("compress", pruned, "-o", out, *flags)
    assert compressed_names(out) == names
    run("decompress", out, "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == pruned.read_bytes()


def test_a_pattern_that_matches_nothing_names_the_nearest(pruned, out):
    for flag in ["include", "exclude"]:
        message = fails(2, "compress", pruned, "-o", out, f"--{flag}", "enc.0.wieght")
        assert f"{pruned}: {flag} pattern" in message and "nearest: 'enc.0.weight'" in message
    assert not out.exists()


def test_nothing_chosen_gives_a_copy(pruned, out):
    run("compress", pruned, "-o", out, "--exclude", "*")
    assert out.read_bytes() == pruned.read_bytes()


def test_an_ordinary_file_is_copied_by_decompress(pruned, out):
    run("decompress", pruned, "-o", out)
    assert out.read_bytes() == pruned.read_bytes()


def test_a_compressed_file_is_not_compressed_again(small, out):
    message = fails(2, "compress", small, "-o", out)
    assert message == f"winnow: {small}: expected a file that is not compressed, found a compressed one"
    assert not out.exists()


def test_an_output_that_exists_is_a_usage_error(pruned, small, out):
    for command, path in [("compress", pruned), ("decompress", small)]:
        out.write_text("precious")
        for flags in [[], ["--dry-run"]]:
            message = fails(2, command, path, "-o", out, *flags)
            assert message == f"winnow: {out}: expected no such file, found one (--overwrite replaces it)"
        run(command, path, "-o", out, "--overwrite", "--dry-run")
        assert out.read_text() == "precious"
        run(command, path, "-o", out, "--overwrite")
        assert out.read_text(errors="replace") != "precious"


def test_input_as_output(pruned, tmp_path):
    before = pruned.read_bytes()
    expected = tmp_path / "expected"
    run("compress", pruned, "-o", expected)
    assert "same file" in fails(2, "compress", pruned, "-o", pruned)
    run("compress", pruned, "-o", pruned, "--overwrite")
    assert pruned.read_bytes() == expected.read_bytes()
    assert "same file" in fails(2, "decompress", pruned, "-o", pruned)
    run("decompress", pruned, "-o", pruned, "--overwrite")
    assert pruned.read_bytes() == before


def test_a_file_named_by_its_hash_is_not_rewritten(pruned, tmp_path):
    blob = tmp_path / "blobs" / ("0" * 64)
    blob.parent.mkdir()
    blob.write_bytes(pruned.read_bytes())
    message = fails(2, "compress", pruned, "-o", blob, "--overwrite")
    assert "--overwrite --overwrite-blob" in message and blob.read_bytes() == pruned.read_bytes()
    run("compress", pruned, "-o", blob, "--overwrite", "--overwrite-blob")
    assert compressed_names(blob)


def test_a_dry_run_reads_and_writes_nothing(pruned, small, tmp_path):
    before = listing(tmp_path)
    for command, path in [("compress", pruned), ("decompress", small)]:
        for flags in [[], ["-o", tmp_path / "out"]]:
            done = run(command, path, "--dry-run", *flags)
            assert "result   none: a dry run writes nothing\n" in done.stdout
            assert f"{os.path.getsize(path):,} read\n" in done.stdout and done.stderr == ""
            data = report(command, path, "--dry-run", *flags)
            assert data["dry_run"] and (data["output"], data["written"]) == (None, None)
    fails(4, "decompress", small, "--dry-run", "-o", tmp_path / "no" / "such" / "dir")
    assert listing(tmp_path) == before


def test_damaged_files_are_bad_input(small, out, tmp_path):
    content = small.read_bytes()
    header, data = files.parse(content)
    front = len(content) - len(data)
    bad = tmp_path / "bad"
    for name in ["emb.weight", "enc.0.weight", "zeros"]:
        begin, end = header[name]["data_offsets"]
        for place in [begin, (begin + end) // 2, end - 60, end - 30, end - 9, end - 1]:
            spoiled = bytearray(content)
            spoiled[front + max(begin, place)] ^= 64
            bad.write_bytes(spoiled)
            for args in [["-o", out], ["--dry-run"]]:
                message = fails(3, "decompress", bad, *args)
                assert message.startswith(f"winnow: {bad}: tensor '{name}'")
            error = json.loads(winnow("decompress", bad, "-o", out, "--json").stdout)["error"]
            assert error["code"].startswith("Sparse") and error["exit_code"] == 3
            fails(3, "inspect", bad, "--stats")
            fails(3, "verify", bad, "--against", bad)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.2, 0.6, 0.99])
def test_files_that_are_cut_off_are_bad_input(small, out, share):
    content = small.read_bytes()
    small.write_bytes(content[:int(share * len(content))])
    for args in [["decompress", small, "-o", out], ["inspect", small], ["prune", small, "-o", out]]:
        assert str(small) in fails(3, *args)
    assert not out.exists()


def test_missing_files_and_folders(pruned, tmp_path):
    (tmp_path / "empty").mkdir()
    for command in ["compress", "decompress"]:
        fails(4, command, tmp_path / "none", "-o", tmp_path / "out")
        fails(4, command, tmp_path / "empty", "-o", tmp_path / "out")
        fails(4, command, pruned, "-o", tmp_path / "no" / "such" / "dir")


def test_prune_compress_is_prune_and_then_compress(model, pruned, small, out, tmp_path):
    settings = ["-s", "0.9", "--block", "1x1"]
    done = run("prune", model, "-o", out, *settings, "--compress")
    assert out.read_bytes() == small.read_bytes()
    assert f"{os.path.getsize(model):,} read, {os.path.getsize(small):,} written" in done.stdout
    assert "note " not in done.stdout
    assert "--compress makes it small" in run("prune", model, "--dry-run", *settings).stdout
    data = report("prune", model, "-o", out, *settings, "--compress", "--overwrite")
    assert data["output_bytes"] == os.path.getsize(small)
    run("decompress", out, "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == pruned.read_bytes()


def test_a_compressed_file_can_be_pruned(model, pruned, out, tmp_path):
    run("compress", model, "-o", out)
    run("prune", out, "-o", tmp_path / "again", "-s", "0.9", "--block", "1x1")
    assert (tmp_path / "again").read_bytes() == pruned.read_bytes()


def test_verify_takes_compressed_files_on_either_side(model, pruned, small, tmp_path):
    packed = tmp_path / "packed"
    run("compress", model, "-o", packed)
    for left in [pruned, small]:
        for right in [model, packed]:
            data = report("verify", left, "--against", right)
            assert data["ok"] and data["settings_from"] == "metadata"
            assert "at [" in fails(1, "verify", left, "--against", right, "-s", "0.5")
    fails(1, "verify", packed, "--against", model, "-s", "0.9", "--block", "1x1")


@pytest.mark.parametrize("command", ["compress", "decompress", "prune"])
def test_an_interrupted_run_leaves_nothing(command, tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    weights = np.random.default_rng(1).normal(size=(3000, 5000)).astype(np.float32)
    path.write_bytes(files.image({f"w{i}": weights for i in range(3)}))
    if command == "decompress":
        run("compress", path, "-o", path, "--overwrite")
    flags = ["--compress"] if command == "prune" else []
    process = subprocess.Popen([WINNOW, command, path, "-o", out, "-j", "1", *flags],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".*")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors == "winnow: interrupted\n"
    assert listing(tmp_path) == ["in"]


def hard_files():
    rng = np.random.default_rng(6)
    noise = rng.integers(0, 256, 1 << 20).astype(np.uint8)
    yield "noise", files.image({"w": noise})
    yield "noise in pieces", files.image({f"w{i}": noise[i * 777:][:700] for i in range(1000)})
    yield "scalars", files.image({f"s.{i}": ("F32", [], noise[4 * i:][:4].tobytes()) for i in range(5000)})
    tensors = {f"layer.{i}.w": rng.normal(size=64).astype(np.float32) for i in range(5000)}
    yield "64 values each", files.image(tensors)
    yield "64 zeros each", files.image({name: np.zeros(64, np.float32) for name in tensors})
    yield "no tensors", files.image({})
    yield "no values", files.image({"w": ("F32", [0, 4], b"")}, {"a": "b"})


@pytest.mark.parametrize("content", [pytest.param(image, id=name) for name, image in hard_files()])
def test_no_file_becomes_much_larger(content, tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(content)
    run("compress", path, "-o", out)
    assert os.path.getsize(out) <= len(content) * 1.01 + 4096
    run("decompress", out, "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def late_tensors(shape, rng):
    """Tensors that get smaller, behind so much noise that their offsets have 7 digits."""
    values = rng.uniform(1, 2, (100, *shape)).astype(np.float32)
    tensors = {f"w{i}": values[i] for i in range(100)}
    return {"noise": rng.integers(0, 256, 2_000_000).astype(np.uint8)} | tensors


@pytest.mark.parametrize("shape", [(999,), (9, 99), (8, 8, 8), (5, 5, 5, 5)], ids=str)
def test_the_header_has_room_for_every_entry(shape, tmp_path):
    """A compressed tensor's entry can be longer than the entry it had."""
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(files.image(late_tensors(shape, np.random.default_rng(2))))
    run("compress", path, "-o", out)
    assert compressed_names(out) == {f"w{i}" for i in range(100)}
    run("decompress", out, "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
