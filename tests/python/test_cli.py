"""The tool's interface: flags, messages, exit codes, output."""

import json
import os
import pty
import re
import resource
import subprocess

import numpy as np
import pytest

import files
from tool import WINNOW, fails, report, run, winnow

NAMES = ["emb.weight", "enc.0.weight", "enc.0.bias", "enc.1.weight", "ids"]


@pytest.fixture
def model(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "model.safetensors"
    path.write_bytes(files.image({
        "emb.weight": rng.normal(size=(50, 16)).astype(np.float32),
        "enc.0.weight": rng.normal(size=(16, 16)).astype(np.float16),
        "enc.0.bias": rng.normal(size=16).astype(np.float32),
        "enc.1.weight": rng.normal(size=(4, 4, 8)),
        "ids": np.arange(6).reshape(2, 3),
    }, {"format": "pt"}))
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"


# Usage errors: nothing is read (FILE does not even exist), nothing is written, exit 2.
@pytest.mark.parametrize("flags, part", [
    (["-s", "1.5"], "--sparsity-level: expected a number from 0 to 1, found 1.5"),
    (["-s", "-0.1"], "--sparsity-level: expected a number such as 0.5, found '-0.1'"),
    (["-s", "nan"], "expected a number from 0 to 1, found nan"),
    (["-s", "inf"], "expected a number from 0 to 1, found inf"),
    (["-s", "1e400"], "expected a number from 0 to 1, found inf"),
    (["-s", "1e-400x"], "found '1e-400x'"),
    (["-s", "-1e-400"], "found '-1e-400'"),
    (["-s", "-0"], "found '-0'"),
    (["-s", "0.5x"], "found '0.5x'"),
    (["-s", ""], "found ''"),
    (["-s", "0.5", "-s", "0.6"], "--sparsity-level"),
    (["--block", "0x4"], "--block: expected sides of at least 1, found 0x4"),
    (["--block", "4x0"], "--block: expected sides of at least 1, found 4x0"),
    (["--block", "4"], "--block: expected HxW, integers of 64 bits, found '4'"),
    (["--block", "-1x4"], "--block: expected sides of at least 1, found -1x4"),
    (["--block", "4x4x4"], "--block: expected HxW, integers of 64 bits, found '4x4x4'"),
    (["--block", "x4"], "--block: expected HxW, integers of 64 bits, found 'x4'"),
    (["--block", f"1x{2**63}"], f"--block: expected HxW, integers of 64 bits, found '1x{2**63}'"),
    (["--zeros-per-block", "5"], "--zeros-per-block: expected at most 4, the values of a block of 1x4, found 5"),
    (["--zeros-per-block", "-1"], "--zeros-per-block: expected all or a whole number, found '-1'"),
    (["--zeros-per-block", "some"], "--zeros-per-block: expected all or a whole number, found 'some'"),
    (["--block", "2x2", "--zeros-per-block", "5"], "expected at most 4, the values of a block of 2x2, found 5"),
    (["--norm", "l3"], "--norm: expected 'L1' or 'L2', found 'l3'"),
    (["--scope", "file"], "--scope: expected 'tensor' or 'global', found 'file'"),
    (["--scope", "a\nb"], r"--scope: expected 'tensor' or 'global', found 'a\x0ab'"),
    (["--nan", "drop"], "--nan: expected error or keep, found 'drop'"),
    (["--nm", "5:4"], "--nm: expected N:M with M of at least 1 and N from 0 to M, found 5:4"),
    (["--nm", "0:0"], "--nm: expected N:M with M of at least 1 and N from 0 to M, found 0:0"),
    (["--nm", "24"], "--nm: expected N:M, integers of 64 bits, found '24'"),
    (["--nm", "2:4", "-s", "0.5"], "cannot be used together with --sparsity-level"),
    (["--nm", "2:4", "--block", "1x4"], "cannot be used together with --block"),
    (["--nm", "2:4", "--zeros-per-block", "2"], "cannot be used together with --zeros-per-block"),
    (["--nm", "2:4", "--level", "a=0.5"], "cannot be used together with --level"),
    (["--nm", "2:4", "--scope", "global"], "cannot be used together with --scope global"),
    (["--scope", "global", "--level", "a=0.5"], "--level: a global scope has one level"),
    (["--level", "a"], "--level: expected PAT=LEVEL"),
    (["--level", "a=2"], "--level: expected a number from 0 to 1, found 2"),
    (["--level", "=0.5"], "--level: pattern '': it is empty"),
    (["--include", "re:("], "--include: pattern 're:(': not a regular expression"),
    (["--exclude", ""], "--exclude: pattern '': it is empty"),
    (["--force", "re:("], "--force: pattern 're:(': not a regular expression"),
    (["-j", "0"], "--threads: expected a number from 1 to 1024, found '0'"),
    (["-j", "x"], "--threads: expected a number from 1 to 1024, found 'x'"),
    (["-q", "-v"], "excludes"),
    (["--what"], "--what"),
    (["more"], "more"),
])
def test_usage_errors_come_before_any_file(flags, part, tmp_path):
    message = fails(2, "prune", tmp_path / "none", "-o", tmp_path / "out", *flags)
    assert part in message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("args, part", [
    ([], "inspect, prune, verify, compress or decompress"),
    (["frob"], "'frob'"),
    (["prune"], "FILE"),
    (["prune", "x"], "--output"),
    (["verify", "x"], "--against"),
    (["inspect", "x", "--sort", "age"], "--sort: expected size, name or sparsity"),
])
def test_incomplete_commands_are_usage_errors(args, part):
    assert part in fails(2, *args)


def test_version_and_help():
    assert re.fullmatch(r"winnow \d+\.\d+\.\d+\n", run("--version").stdout)
    assert "Exit codes: 0 success, 1 a check failed, 2 usage" in run("--help").stdout
    for command in ["inspect", "prune", "verify"]:
        text = run(command, "--help").stdout
        assert f"Usage: winnow {command}" in text
        assert "Examples:\n  winnow " + command in text
        for line in text.splitlines():
            assert len(line) <= 100
    for flag in ["-s,--sparsity-level", "--block", "--zeros-per-block", "--norm", "--nm", "--scope",
                 "--include", "--exclude", "--force", "--level", "--nan", "-j,--threads", "--json",
                 "--dry-run", "--overwrite", "--overwrite-blob", "-q,--quiet", "-v,--verbose",
                 "--no-progress"]:
        assert flag in run("prune", "--help").stdout


def test_prune_prints_a_table_and_totals(model, out):
    done = run("prune", model, "-o", out, "-s", "0.8", "--block", "1x1")
    assert done.stderr == ""
    assert re.search(r"^emb\.weight +F32 +50 x 16 +80 % +80\.00 %$", done.stdout, re.M)
    assert "ids" not in done.stdout
    assert f"result   {out}" in done.stdout
    assert "3 pruned, 2 kept" in done.stdout
    assert f"{os.path.getsize(model):,} read, {os.path.getsize(out):,} written" in done.stdout


def test_verbose_lists_what_is_skipped_and_why(model):
    text = run("prune", model, "--dry-run", "-v", "--exclude", "emb*").stdout
    assert re.search(r"^ids .* dtype cannot be pruned$", text, re.M)
    assert re.search(r"^enc\.0\.bias .* fewer than 2 dimensions larger than 1$", text, re.M)
    assert re.search(r"^emb\.weight .* excluded$", text, re.M)
    assert "stages   open" in text


def test_quiet_prints_nothing(model, out):
    done = run("prune", model, "-o", out, "-q")
    assert (done.stdout, done.stderr) == ("", "")
    done = run("verify", out, "--against", model, "-q")
    assert (done.stdout, done.stderr) == ("", "")


def test_a_block_may_be_as_large_as_an_integer(model, out):
    whole_row = f"1x{2**63 - 1}"
    data = report("prune", model, "-o", out, "-s", "0.5", "--block", whole_row)
    assert data["tensors"][0]["blocks"] == 50 and data["tensors"][0]["zeros_after"] == 25 * 16
    run("verify", out, "--against", model)
    run("verify", out, "--against", model, "-s", "0.5", "--block", whole_row)


def test_prune_json(model, out):
    data = report("prune", model, "-o", out, "-s", "0.5", "--block", "1x1", "-j", 2)
    assert data["command"] == "prune" and data["output"] == str(out) and not data["dry_run"]
    assert data["settings"]["level"] == 0.5 and data["settings"]["block"] == [1, 1]
    assert data["threads"] == 2
    assert data["simd_level"] in ["scalar", "sse4", "avx2", "avx512"]
    assert data["input_bytes"] == os.path.getsize(model)
    assert data["output_bytes"] == os.path.getsize(out)
    assert [t["name"] for t in data["tensors"]] == NAMES
    assert data["tensors"][0] == {
        "name": "emb.weight", "dtype": "F32", "shape": [50, 16], "values": 800, "bytes": 3200,
        "pruned": True, "sparsity_level": 0.5, "blocks": 800, "selected_blocks": 400,
        "kept_rows": 0, "zeros_before": 0, "zeros_after": 400}
    assert data["tensors"][4]["skipped"] == "dtype cannot be pruned"
    assert data["tensors"][4]["reason"] == "dtype" and data["tensors"][2]["reason"] == "vector"
    assert (data["totals"]["left_alone"], data["totals"]["kept_rows"]) == (1, 0)
    assert data["totals"]["pruned_values"] == 800 + 256 + 128
    assert data["totals"]["zeros_after"] == 400 + 128 + 64
    assert set(data["seconds"]) == {"open", "read", "select", "mask", "apply", "compare", "write",
                                    "sync", "total"}
    assert sum(v for k, v in data["seconds"].items() if k != "total") <= data["seconds"]["total"]
    assert data["peak_memory_bytes"] > 1e6 and data["bytes_per_second"] > 0


def test_inspect(model):
    text = run("inspect", model).stdout
    assert re.search(r"^enc\.1\.weight +F64 +4 x 4 x 8 +128 +1\.02 kB$", text, re.M)
    assert re.search(r"^F32 +2 +816 +3\.26 kB$", text, re.M)
    assert "format = pt" in text and "zeros" not in text
    data = report("inspect", model, "--stats")
    assert data["metadata"] == {"format": "pt"}
    assert data["tensors"][0]["stats"]["zeros"] == 0
    assert data["dtypes"]["I64"] == {"tensors": 1, "values": 6, "bytes": 48}
    emb = files.tensor(model.read_bytes(), "emb.weight")
    stats = data["tensors"][0]["stats"]
    assert stats["min"] == emb.min() and stats["max"] == emb.max()
    assert stats["mean_abs"] == pytest.approx(np.abs(emb).mean(), rel=1e-6)


def test_infinite_figures_are_told_from_none(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(files.image({
        "inf": np.array([np.inf, -np.inf, 2], np.float32), "none": np.array([], np.float32),
        "max": np.full(4, np.finfo(np.float64).max)}))
    inf, none, largest = (t["stats"] for t in report("inspect", path, "--stats")["tensors"])
    assert (inf["min"], inf["max"], inf["mean_abs"]) == ("-Infinity", "Infinity", 2)
    assert (none["min"], none["max"], none["mean_abs"]) == (0, 0, 0)
    assert largest["max"] == largest["mean_abs"] == np.finfo(np.float64).max


@pytest.mark.parametrize("count", [0, 1, 2, 20_000])
def test_json_has_one_tensor_a_line(tmp_path, count):
    path = tmp_path / "m"
    names = [f'"\n  "tensors": []{i}' for i in range(count)]
    path.write_bytes(files.image({n: np.ones((0, 1), np.float32) for n in names}))
    for command in [["inspect", path], ["prune", path, "--dry-run", "-q"]]:
        text = run(*command, "--json").stdout
        assert [t["name"] for t in json.loads(text)["tensors"]] == names
        lines = [line for line in text.splitlines() if line.startswith('    {"')]
        assert len(lines) == count and text.endswith("\n}\n")


def test_inspect_sorts(model, out):
    def names(path, order):
        return [t["name"] for t in report("inspect", path, "--sort", order)["tensors"]]
    run("prune", model, "-o", out, "--level", "enc.1*=0.9", "--level", "*=0.1")
    assert names(out, "name") == sorted(NAMES)
    assert names(out, "size")[:3] == ["emb.weight", "enc.1.weight", "enc.0.weight"]
    assert names(out, "sparsity")[0] == "enc.1.weight"
    assert names(out, "sparsity")[-1] == "ids"


def test_a_pattern_that_matches_nothing_names_the_nearest(model, out):
    message = fails(2, "prune", model, "-o", out, "--include", "enc.0.wieght")
    assert f"{model}: " in message and "nearest: 'enc.0.weight'" in message
    assert not out.exists()


@pytest.mark.parametrize("flags, pruned", [
    ([], {"emb.weight", "enc.0.weight", "enc.1.weight"}),
    (["--include", "enc.*", "--include", "ids"], {"enc.0.weight", "enc.1.weight"}),
    (["--include", "*", "--exclude", "*weight"], set()),
    (["--force", "*", "--exclude", "*weight"], {"enc.0.bias"}),
    (["--include", "emb*", "--force", "*bias"], {"emb.weight", "enc.0.bias"}),
    (["--include", "re:enc\\.[0-9]\\.weight"], {"enc.0.weight", "enc.1.weight"}),
    (["--include", "[e]mb*"], {"emb.weight"}),
    (["--exclude", "enc.?.weight"], {"emb.weight"}),
])
def test_patterns_choose_tensors(model, flags, pruned):
    tensors = report("prune", model, "--dry-run", *flags)["tensors"]
    assert {t["name"] for t in tensors if t["pruned"]} == pruned


def test_brackets_and_braces_reach_the_pattern_as_typed(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(files.image({n: np.ones((2, 2), np.float32) for n in ["a", "{}", "[a,b]"]}))
    for pattern, name in [("{}", "{}"), ("[[]a,b]", "[a,b]"), ("[a]", "a")]:
        tensors = report("prune", path, "--dry-run", "--include", pattern)["tensors"]
        assert [t["name"] for t in tensors if t["pruned"]] == [name]


def test_level_splits_at_its_last_equals_sign(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(files.image({"a=b": np.ones((2, 2), np.float32)}))
    tensors = report("prune", path, "--dry-run", "--level", "a=b=0.25")["tensors"]
    assert tensors[0]["sparsity_level"] == 0.25


@pytest.mark.parametrize("text, level", [
    ("1e-400", 0), ("0." + "0" * 400 + "1", 0), ("1e-310", 1e-310), ("4.9e-324", 4.9e-324),
    ("0e400", 0), ("0", 0), ("1", 1), ("1e0", 1)])
def test_a_level_is_the_nearest_double(model, text, level):
    for flags in [["-s", text], ["--level", f"*={text}"]]:
        tensors = report("prune", model, "--dry-run", *flags)["tensors"]
        assert {t["sparsity_level"] for t in tensors if t["pruned"]} == {level}


def test_settings_are_recorded_and_metadata_kept(model, out, tmp_path):
    run("prune", model, "-o", out, "--nm", "2:4", "--norm", "l2", "--exclude", "emb*", "-j", 1)
    metadata = files.parse(out.read_bytes())[0]["__metadata__"]
    assert metadata["format"] == "pt"
    assert set(metadata) == {"format", "winnow.version", "winnow.config"}
    assert metadata["winnow.config"] == json.dumps({
        "block": [1, 4], "exclude": ["emb*"], "force": [], "include": [], "level": 1.0,
        "levels": [], "nan": "error", "nm": "2:4", "norm": "l2", "rule": 1, "scope": "tensor", "zeros_per_block": 2},
        separators=(",", ":"))
    same = tmp_path / "same"
    run("prune", model, "-o", same, "-s", "1", "--zeros-per-block", 2, "--norm", "l2",
        "--exclude", "emb*", "--exclude", "emb*", "-j", 2)
    assert same.read_bytes() == out.read_bytes(), "equal work, equal bytes"


def test_nm_keeps_n_of_m(model, out):
    run("prune", model, "-o", out, "--nm", "2:4")
    kept = (files.tensor(out.read_bytes(), "emb.weight").reshape(-1, 4) != 0).sum(axis=1)
    assert (kept == 2).all()


def test_an_output_that_exists_is_a_usage_error(model, out):
    out.write_text("precious")
    assert "--overwrite" in fails(2, "prune", model, "-o", out)
    assert out.read_text() == "precious"
    assert "--overwrite" in fails(2, "prune", model, "-o", out, "--dry-run")
    run("prune", model, "-o", out, "--overwrite", "--dry-run")
    assert out.read_text() == "precious"
    run("prune", model, "-o", out, "--overwrite")


def test_input_as_output(model, tmp_path):
    before = model.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(model)
    for output in [model, link]:
        assert "same file" in fails(2, "prune", model, "-o", output)
    assert model.read_bytes() == before
    expected = tmp_path / "expected"
    run("prune", model, "-o", expected)
    run("prune", model, "-o", link, "--overwrite")
    assert link.is_symlink() and model.read_bytes() == expected.read_bytes()


def test_nan_is_bad_input(tmp_path):
    path, out = tmp_path / "m", tmp_path / "out"
    values = np.ones((3, 5), np.float32)
    values[1, 2] = values[2, 4] = np.nan
    path.write_bytes(files.image({"w": values}))
    message = fails(3, "prune", path, "-o", out)
    assert message == (f"winnow: {path}: tensor 'w' at [1, 2]: expected a number, found NaN "
                       "(--nan keep ranks NaN last)")
    assert os.listdir(tmp_path) == ["m"]
    run("prune", path, "-o", out, "--nan", "keep")
    assert np.isnan(files.tensor(out.read_bytes(), "w")[1, 2])


def test_errors_of_the_system(tmp_path, model):
    fails(4, "inspect", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "a folder without" in fails(4, "inspect", tmp_path / "empty")
    fails(4, "prune", model, "-o", tmp_path / "no" / "such" / "dir")
    os.mkfifo(tmp_path / "fifo")
    fails(4, "inspect", tmp_path / "fifo")
    for flags in [[], ["--overwrite"], ["--dry-run"]]:
        message = fails(4, "prune", model, "-o", tmp_path / "fifo", *flags)
        assert message.endswith("a FIFO, socket or device") and message.count("fifo") == 1
    fails(4, "prune", model, "--dry-run", "-o", tmp_path / "no" / "such" / "dir")


def test_malformed_files_are_bad_input(tmp_path):
    path = tmp_path / "m"
    for content in [b"", b"short", b"\xff" * 16, b"\x02" + bytes(7) + b"{]"]:
        path.write_bytes(content)
        for args in [["inspect", path], ["prune", path, "-o", tmp_path / "out"]]:
            assert str(path) in fails(3, *args)
    assert os.listdir(tmp_path) == ["m"]


def test_typed_text_is_printed_on_one_line_without_escapes(tmp_path):
    path, out = tmp_path / "nn\n\x1b[31mx.safetensors", tmp_path / "out\x1b[2J\n"
    shown, shown_out = (str(p).replace("\x1b", "\\x1b").replace("\n", "\\x0a") for p in (path, out))
    path.write_bytes(files.image({"w": np.array([[1, np.nan], [2, 3]], np.float32)}))
    message = fails(3, "prune", path, "-o", out)
    assert message.startswith(f"winnow: {shown}: tensor 'w' at [0, 1]: ")
    done = run("prune", path, "-o", out, "--nan", "keep")
    assert f"result   {shown_out}\n" in done.stdout
    verified = run("verify", out, "--against", path)
    assert verified.stdout.startswith(f"ok       {shown_out} is {shown}, pruned\n")
    assert f"file      {shown}: " in run("inspect", path).stdout
    for code, *args in [(2, "prune", path, "-o", out), (2, "prune", path, "-o", path),
                        (1, "verify", path, "--against", out, "-s", "1", "--nan", "keep"),
                        (2, "verify", path, "--against", path),
                        (2, "prune", path, "--dry-run", "--include", "a\x1b\n"),
                        (2, "prune", path, "--dry-run", "--include", "re:(\x1b\n"),
                        (2, "prune", path, "--dry-run", "-s", "\x1b\n"), (2, "\x1b\n"),
                        (2, "inspect", path, "\x1b\n"), (2, "inspect", path, "--sort", "\x1b\n")]:
        assert "\x1b" not in fails(code, *args)
    done = run("prune", path, "--dry-run", "--nan", "keep", "--exclude", "w")
    assert "\x1b" not in done.stderr and done.stderr.count("\n") == 1


def test_errors_as_json(tmp_path):
    done = winnow("inspect", tmp_path / "none", "--json")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == error["exit_code"] == 4
    assert error["code"] == "IoError" and str(tmp_path) in error["message"]


def test_a_full_standard_output_is_an_error_of_the_system(model):
    for flags in [[], ["--json"]]:
        with open("/dev/full", "w") as full:
            done = subprocess.run([WINNOW, "inspect", model, *flags], stdout=full,
                                  stderr=subprocess.PIPE, text=True)
        assert done.returncode == 4
        assert "standard output: No space left on device" in done.stderr


def test_an_unavailable_simd_level_is_a_usage_error(model, out):
    for command in [["prune", model, "-o", out], ["inspect", model]]:
        assert "'sse9'" in fails(2, *command, env={"WINNOW_SIMD": "sse9"})
    assert not out.exists()


def test_out_of_memory_is_an_error_of_the_system(tmp_path):
    path, out = tmp_path / "m", tmp_path / "out"
    data = np.zeros((2_000, 250_000), np.float16)  # 1 GB, a hole on the disk
    path.write_bytes(files.image({"w": ("F16", [0, 1], b"")}))
    header = json.dumps({"w": {"dtype": "F16", "shape": data.shape,
                               "data_offsets": [0, data.nbytes]}}).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + data.nbytes)
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))
    message = fails(4, "prune", path, "-o", out, "-j", 1, "--max-memory", "4G", preexec_fn=limit)
    assert message == (f"winnow: {path}: tensor 'w': expected {data.nbytes + data.size} bytes of "
                       f"memory, found fewer under a limit of {900 << 20} for the process")
    assert os.listdir(tmp_path) == ["m"]


def test_a_header_too_large_for_memory_names_its_file(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(files.image({}, {str(i): "x" * (8 << 20) for i in range(11)}))
    for megabytes in [100, 150]:  # for the text, for what it is parsed to
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
        message = fails(4, "inspect", path, "-j", 1, preexec_fn=limit)
        assert message == f"winnow: {path}: not enough memory for the header"


def test_an_include_pattern_for_what_is_left_alone_names_the_reason_and_the_flag(model, out):
    message = fails(2, "prune", model, "-o", out, "--include", "*.bias")
    assert message.endswith(
        "include pattern '*.bias' matches only what the default selection leaves alone "
        "('enc.0.bias': fewer than 2 dimensions larger than 1) (--force prunes it all the same)")
    assert not out.exists()
    run("prune", model, "-o", out, "--force", "*.bias")


def test_a_name_with_brackets_is_told_how_to_be_typed(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(files.image({"blocks[0].w": np.ones((2, 2), np.float32)}))
    message = fails(2, "prune", path, "--dry-run", "--include", "blocks[0].w")
    assert message.endswith("; '[0]' is a pattern; escape it: 'blocks\\[0\\].w'")
    escaped = message.split("'")[-2]
    assert report("prune", path, "--dry-run", "--include", escaped)["totals"]["pruned_tensors"] == 1


def test_nothing_pruned_is_worth_a_word(model):
    done = run("prune", model, "--dry-run", "--include", "ids")
    assert "no tensor was pruned" in done.stderr


def on_terminal(*args):
    """What the tool writes to a terminal on stderr."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([WINNOW, *map(str, args)], stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    text = b""
    try:
        while part := os.read(leader, 65536):
            text += part
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert process.wait() == 0
    return text.decode()


def test_progress_only_on_a_terminal(tmp_path):
    path = tmp_path / "m"
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(4000, 2500)).astype(np.float32)
    path.write_bytes(files.image({f"w{i}": weights for i in range(3)}))
    command = ["prune", path, "--dry-run", "-j", "1"]
    shown = on_terminal(*command)
    assert re.search(r"prune \[#*\.*\] +\d+ %  [\d.]+ [kMG]B/s  \d+ s left", shown)
    assert shown.endswith("\r\033[K")
    assert on_terminal(*command, "--no-progress") == ""
    assert on_terminal(*command, "-q") == ""
    assert run(*command).stderr == ""


def test_the_tool_links_no_torch():
    shown = subprocess.run(["ldd", WINNOW], capture_output=True, text=True).stdout
    libraries = re.sub(r"\(0x[0-9a-f]+\)", "", shown)  # addresses may have any digits
    assert "libtbb" in libraries and "torch" not in libraries and "c10" not in libraries
