"""Files: the same results and errors as the tool that the wheel brings along."""

import argparse
import dataclasses
import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import load_file, save_file

import torchwinnow
from torchwinnow._tool import WINNOW


@pytest.fixture
def model(tmp_path):
    generator = numpy.random.default_rng(1)
    tensors = {
        "emb.users": generator.standard_normal((50, 16)).astype(numpy.float32),
        "emb.items": generator.standard_normal((30, 8, 4)).astype(numpy.float64),
        "half": generator.standard_normal((8, 8)).astype(numpy.float16),
        "bias": generator.standard_normal(16).astype(numpy.float32),
        "ids": numpy.arange(12).reshape(3, 4),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata={"format": "np"})
    return path


def tool_json(*arguments):
    done = subprocess.run(
        [WINNOW, *map(str, arguments), "--json"], capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout)


# Arguments of the functions, and the tool's flags that mean the same.
SETTINGS = [
    ({}, []),
    (dict(sparsity_level=0.8, sparse_block_shape=(1, 1)), ["-s", "0.8", "--block", "1x1"]),
    (dict(sparse_block_shape=[2, 3], zeros_per_block=4, norm="l2"),
     ["--block", "2x3", "--zeros-per-block", "4", "--norm", "l2"]),
    (dict(nm="2:4"), ["--nm", "2:4"]),
    (dict(nm=(1, 4), norm="L2"), ["--nm", "1:4", "--norm", "l2"]),
    (dict(scope="global", sparsity_level=0.9), ["--scope", "global", "-s", "0.9"]),
    (dict(include=["emb.*"], exclude="*items"), ["--include", "emb.*", "--exclude", "*items"]),
    (dict(force="bias", levels={"b*": 0.25, "*": 1}),
     ["--force", "bias", "--level", "b*=0.25", "--level", "*=1"]),
    (dict(include="emb.*", force=["b*"]), ["--include", "emb.*", "--force", "b*"]),
    (dict(nan="keep"), ["--nan", "keep"]),
]


@pytest.mark.parametrize("settings, flags", SETTINGS, ids=[" ".join(f) or "-" for _, f in SETTINGS])
def test_prune_file_is_winnow_prune(model, tmp_path, settings, flags):
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    report = torchwinnow.prune_file(model, ours, **settings)
    expected = tool_json("prune", model, "-o", theirs, *flags)
    assert ours.read_bytes() == theirs.read_bytes()
    assert report.settings == expected["settings"]
    assert (report.src, report.dst, report.dry_run) == (str(model), str(ours), False)
    assert report.input_bytes == expected["input_bytes"] == model.stat().st_size
    assert report.output_bytes == expected["output_bytes"] == ours.stat().st_size
    assert set(report.seconds) == set(expected["seconds"])
    for tensor, other in zip(report.tensors, expected["tensors"], strict=True):
        fields = dataclasses.asdict(tensor)
        fields["shape"] = list(tensor.shape)
        assert other.pop("pruned") == (tensor.skipped is None)
        assert {name: fields[name] for name in other} == other
    totals = expected["totals"]
    assert len(report.tensors) == totals.pop("tensors")
    assert {name: getattr(report, name) for name in totals} == totals

    checked = torchwinnow.verify_file(ours, model)
    assert checked == dataclasses.replace(
        torchwinnow.verify_file(ours, model, **settings), seconds=checked.seconds
    )
    expected = tool_json("verify", ours, "--against", model)
    assert checked.settings == expected["settings"]
    totals = expected["totals"]
    assert (checked.tensors, checked.pruned_tensors, checked.left_alone, checked.kept_rows,
            checked.values, checked.dropped_values, checked.bytes) == (
        totals["tensors"], totals["pruned_tensors"], totals["left_alone"], totals["kept_rows"],
        totals["pruned_values"], totals["dropped_values"], totals["bytes"])


def test_masks_of_files_are_those_of_arrays(model, tmp_path):
    torchwinnow.prune_file(model, tmp_path / "out", sparsity_level=0.7, sparse_block_shape=(2, 2))
    before, after = load_file(model), load_file(tmp_path / "out")
    for name in ("emb.users", "emb.items", "half"):
        assert numpy.array_equal(after[name], torchwinnow.prune_(before[name], 0.7, (2, 2)))
    assert numpy.array_equal(after["bias"], before["bias"])


@pytest.mark.parametrize("stats", [False, True])
def test_inspect_file_is_winnow_inspect(model, stats):
    found = torchwinnow.inspect_file(model, stats=stats)
    expected = tool_json("inspect", model, *["--stats"] * stats)
    assert found.path == str(model)
    assert found.file_bytes == expected["file_bytes"]
    assert found.header_bytes == expected["header_bytes"]
    assert found.metadata == expected["metadata"] == {"format": "np"}
    assert {k: dataclasses.asdict(v) for k, v in found.dtypes.items()} == expected["dtypes"]
    for tensor, other in zip(found.tensors, expected["tensors"], strict=True):
        fields = {k: v for k, v in dataclasses.asdict(tensor).items() if v not in (None, ())}
        fields |= {"shape": list(tensor.shape), "data_offsets": list(tensor.data_offsets)}
        assert fields == other


def test_reports_list_the_names_of_tied_weights(tmp_path):
    path = tmp_path / "tied"
    tensors = {"emb": numpy.ones((4, 4), numpy.float32), "fc": numpy.ones((4, 4), numpy.float32)}
    save_file(tensors, path, metadata={"lm_head": "emb", "decoder": "emb", "format": "np"})
    report = torchwinnow.prune_file(path, dry_run=True, exclude="lm_*")
    names = {"emb": {"lm_head", "decoder"}, "fc": set()}
    assert {t.name: set(t.aliases) for t in report.tensors} == names
    assert {t.name: t.reason for t in report.tensors} == {"emb": "excluded", "fc": None}
    assert {t.name: set(t.aliases) for t in torchwinnow.inspect_file(path).tensors} == names
    assert all(isinstance(t.aliases, tuple) for t in report.tensors)
    with pytest.raises(torchwinnow.UnknownTensorError, match="2 tensors and 2 aliases.*'lm_head'"):
        torchwinnow.prune_file(path, dry_run=True, include="lmhead")


def test_a_dry_run_writes_nothing(model, tmp_path):
    report = torchwinnow.prune_file(model, dry_run=True, sparsity_level=0.8)
    assert report.dst is None and report.dry_run and report.zeros_after > 0
    assert os.listdir(tmp_path) == ["model.safetensors"]
    with pytest.raises(ValueError, match="dst"):
        torchwinnow.prune_file(model)


def test_paths_may_be_anything_that_names_a_file(model, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff \xc3\xa4.safetensors")
    torchwinnow.prune_file(str(model), odd)
    assert torchwinnow.verify_file(odd, model).pruned == odd
    torchwinnow.prune_file(Path(odd), odd, overwrite=True, sparsity_level=0.9)


def test_a_path_with_a_nul_names_no_other_file(model, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    longer = f"{victim}\0.safetensors"
    for call in (lambda: torchwinnow.prune_file(model, longer, overwrite=True),
                 lambda: torchwinnow.inspect_file(f"{model}\0x"),
                 lambda: torchwinnow.verify_file(f"{model}\0x", model)):
        with pytest.raises(ValueError, match="embedded null byte"):
            call()
    assert victim.read_text() == "mine"


def test_no_pattern_may_be_none(model):
    none = torchwinnow.prune_file(model, dry_run=True, include=None, exclude=None, force=None)
    assert none.tensors == torchwinnow.prune_file(model, dry_run=True).tensors


def test_overwriting_is_asked_for(model, tmp_path):
    out = tmp_path / "out.safetensors"
    torchwinnow.prune_file(model, out)
    for dst, code in ((out, "AlreadyExists"), (model, "SameFile")):
        with pytest.raises(FileExistsError, match="overwrite=True") as caught:
            torchwinnow.prune_file(model, dst)
        assert caught.value.code == code
    torchwinnow.prune_file(model, out, overwrite=True)


def test_nothing_to_prune_is_warned_of(model, tmp_path):
    with pytest.warns(UserWarning, match="no tensor was pruned"):
        torchwinnow.prune_file(model, tmp_path / "out", include="ids")


@pytest.mark.parametrize(
    "settings, error, message",
    [
        (dict(sparsity_level=1.5), ValueError, "sparsity_level: expected a"),
        (dict(sparsity_level=float("nan")), ValueError, "sparsity_level: expected a"),
        (dict(sparsity_level="0.5"), TypeError, "sparsity_level"),
        (dict(sparse_block_shape=(0, 4)), ValueError, "sparse_block_shape"),
        (dict(sparse_block_shape=(-1, 4)), ValueError, "sparse_block_shape"),
        (dict(sparse_block_shape=4), TypeError, "sparse_block_shape"),
        (dict(sparse_block_shape="1x4"), TypeError, "sparse_block_shape"),
        (dict(sparse_block_shape=(1, 4, 4)), ValueError, "sparse_block_shape"),
        (dict(zeros_per_block=5), ValueError, "zeros_per_block"),
        (dict(zeros_per_block=1.5), TypeError, "zeros_per_block"),
        (dict(norm="l3"), ValueError, "norm"),
        (dict(scope="file"), ValueError, "scope"),
        (dict(nan="drop"), ValueError, "nan"),
        (dict(nm="5:4"), ValueError, "nm"),
        (dict(nm="2-4"), ValueError, "nm"),
        (dict(nm="2:4", sparsity_level=0.5), ValueError, "nm.*sparsity_level"),
        (dict(nm="2:4", scope="global"), ValueError, "nm.*scope"),
        (dict(scope="global", levels={"*": 0.5}), ValueError, "scope"),
        (dict(levels={"*": 2}), ValueError, "level"),
        (dict(levels=["*"]), TypeError, "levels"),
        (dict(include="re:("), ValueError, "re:"),
        (dict(include=[1]), TypeError, "include"),
        (dict(force=[1]), TypeError, "force"),
        (dict(force="nothing*"), torchwinnow.UnknownTensorError, "nothing"),
        (dict(include="bias"), ValueError, "larger than 1.*force prunes it all the same"),
        (dict(include="nothing*"), torchwinnow.UnknownTensorError, "nothing"),
        (dict(include="emb.user"), KeyError, "emb.users"),
        (dict(threads=0), ValueError, "threads"),
        (dict(threads="2"), TypeError, "threads"),
    ],
    ids=str,
)
def test_errors_of_arguments(model, tmp_path, settings, error, message):
    with pytest.raises(error, match=message) as caught:
        torchwinnow.prune_file(model, tmp_path / "out", **settings)
    assert not isinstance(caught.value, (RuntimeError, torchwinnow.WinnowError))
    assert not (tmp_path / "out").exists()
    if not {"threads", "include", "force"} & set(settings):
        with pytest.raises(error, match=message):
            torchwinnow.verify_file(model, model, **settings)


def test_rows_of_weight_norm_are_kept_and_reported(tmp_path):
    direction = numpy.random.default_rng(3).standard_normal((8, 4)).astype(numpy.float32)
    direction[:2] *= 1e-3
    save_file({"weight_g": numpy.ones((8, 1), numpy.float32), "weight_v": direction}, tmp_path / "in")
    report = torchwinnow.prune_file(tmp_path / "in", tmp_path / "out", sparse_block_shape=(1, 1))
    assert report.kept_rows == 2
    assert [tensor.reason for tensor in report.tensors] == ["magnitude", None]
    checked = torchwinnow.verify_file(tmp_path / "out", tmp_path / "in")
    assert (checked.kept_rows, checked.left_alone) == (2, 1)


def test_a_file_of_another_rule_is_not_called_wrong(model, tmp_path):
    torchwinnow.prune_file(model, tmp_path / "out")
    content = (tmp_path / "out").read_bytes().replace(b'\\"rule\\":1', b'\\"rule\\":2')
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(torchwinnow.WinnowError, match="found rule 2.*winnow.version names") as caught:
        torchwinnow.verify_file(tmp_path / "other", model)
    assert caught.value.code == "OtherRule"


def test_errors_of_the_system(model, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        torchwinnow.inspect_file(tmp_path / "missing")
    assert caught.value.code == "IoError" and "missing" in str(caught.value)
    with pytest.raises(FileNotFoundError):
        torchwinnow.prune_file(model, tmp_path / "no" / "folder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="a folder without") as caught:
        torchwinnow.inspect_file(tmp_path / "empty")
    assert caught.value.code == "UnsupportedFile"
    with pytest.raises(TypeError):
        torchwinnow.inspect_file(None)
    if os.getuid() != 0:
        model.chmod(0)
        with pytest.raises(PermissionError):
            torchwinnow.inspect_file(model)


def test_a_full_disk_is_an_error_of_the_system(model):
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError):
            torchwinnow.prune_file(model, "/dev/full", overwrite=True)


def test_malformed_files_have_a_code(tmp_path):
    path = tmp_path / "bad.safetensors"
    for data, code in ((b"", "FileTooShort"), (struct.pack("<Q", 2) + b"[]", "HeaderNotObject")):
        path.write_bytes(data)
        with pytest.raises(torchwinnow.WinnowError) as caught:
            torchwinnow.inspect_file(path)
        assert isinstance(caught.value, ValueError) and caught.value.code == code


def test_a_nan_is_named(tmp_path):
    save_file({"w": numpy.array([[1, numpy.nan], [2, 3]], numpy.float32)}, tmp_path / "in")
    with pytest.raises(torchwinnow.WinnowError, match="nan='keep'") as caught:
        torchwinnow.prune_file(tmp_path / "in", tmp_path / "out")
    assert caught.value.code == "NanValue"
    torchwinnow.prune_file(tmp_path / "in", tmp_path / "out", nan="keep")


def test_verify_file_finds_a_difference(model, tmp_path):
    torchwinnow.prune_file(model, tmp_path / "out", sparsity_level=0.5)
    with pytest.raises(torchwinnow.VerificationError) as caught:
        torchwinnow.verify_file(tmp_path / "out", model, sparsity_level=0.6)
    assert caught.value.code == "CheckFailed"
    with pytest.raises(ValueError):
        torchwinnow.verify_file(model, model)  # which records no settings


def test_threads_change_no_byte(model, tmp_path):
    for threads in (1, 2, 7):
        torchwinnow.prune_file(model, tmp_path / f"{threads}", threads=threads)
    contents = {(tmp_path / f"{threads}").read_bytes() for threads in (1, 2, 7)}
    assert len(contents) == 1


def test_progress_is_a_bar_on_standard_error(model, capsys):
    torchwinnow.prune_file(model, dry_run=True)
    assert capsys.readouterr().err == ""  # no terminal
    torchwinnow.prune_file(model, dry_run=True, progress=True)
    assert "%|" in capsys.readouterr().err
    torchwinnow.inspect_file(model, progress=False)
    assert capsys.readouterr().err == ""


def test_warnings_of_tests_are_errors_of_none(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torchwinnow.prune_file(model, dry_run=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """400 MB in one file, which takes a second or so."""
    path = tmp_path_factory.mktemp("large") / "large.safetensors"
    block = numpy.random.default_rng(2).standard_normal((2500, 4000)).astype(numpy.float32)
    save_file({f"w{i}": block + i for i in range(10)}, path)
    yield path
    path.unlink()


def test_other_threads_run_during_a_call(large):
    stop, ticks = threading.Event(), 0

    def tick():
        nonlocal ticks
        while not stop.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    try:
        torchwinnow.prune_file(large, dry_run=True, threads=1)
    finally:
        stop.set()
        thread.join()
    assert ticks >= (time.perf_counter() - start) / 0.1  # at least ten times a second


def test_ctrl_c_stops_a_call_and_leaves_nothing(large, tmp_path):
    script = textwrap.dedent("""
        import sys, torchwinnow
        print("ready", flush=True)
        try:
            for _ in range(100):
                torchwinnow.prune_file(sys.argv[1], sys.argv[2], overwrite=True, threads=1, sparse_block_shape=(3, 5))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    out = tmp_path / "out.safetensors"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(large), str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.7)
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == "interrupted\n"
    assert process.stderr.read() == ""  # nanobind complains there of what leaks
    assert process.wait() == 0
    assert time.perf_counter() - start < 5
    assert set(os.listdir(tmp_path)) <= {"out.safetensors"}


def test_an_error_of_the_progress_bar_stops_the_call(large, monkeypatch):
    from torchwinnow import _progress

    def fail(_self, _bytes):
        raise LookupError("the bar broke")

    monkeypatch.setattr(_progress.ProgressBar, "advance", fail)
    with pytest.raises(LookupError, match="the bar broke"):
        torchwinnow.prune_file(large, dry_run=True)


@pytest.fixture
def cached(model, tmp_path):
    """The model as it lies in Hugging Face's cache: a link, and the file that it leads to."""
    blob = tmp_path / "blobs" / ("0123456789abcdef" * 4)
    blob.parent.mkdir()
    model.rename(blob)
    model.symlink_to(f"blobs/{blob.name}")
    return model, blob


def test_a_blob_of_a_cache_is_not_rewritten_unless_asked_for(cached):
    link, blob = cached
    before = blob.read_bytes()
    for options in (dict(), dict(overwrite=True), dict(overwrite=True, dry_run=True)):
        with pytest.raises(FileExistsError, match="overwrite_blob=True") as error:
            torchwinnow.prune_file(link, link, **options)
        assert error.value.code == "NamedByHash" and str(blob) in str(error.value)
    with pytest.raises(ValueError, match="overwrite_blob: it needs overwrite=True"):
        torchwinnow.prune_file(link, link, overwrite_blob=True)
    assert blob.read_bytes() == before
    report = torchwinnow.prune_file(link, link, overwrite=True, overwrite_blob=True)
    assert (report.dst, report.written) == (str(link), str(blob.resolve()))
    assert blob.read_bytes() != before and link.is_symlink()


def test_the_report_names_the_file_that_was_written(model, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to("target")
    assert torchwinnow.prune_file(model, link, overwrite=True).written == str(target.resolve())
    assert torchwinnow.prune_file(model, tmp_path / "new").written == str(tmp_path / "new")
    assert torchwinnow.prune_file(model, tmp_path / "no", dry_run=True).written is None


def write_shards(folder, count=3):
    """A model of `count` shards with an index, and its tensors."""
    folder.mkdir()
    generator, names, tensors = numpy.random.default_rng(2), {}, {}
    for i in range(count):
        shard = f"model-{i + 1:05}-of-{count:05}.safetensors"
        values = {f"layers.{i}.weight": generator.standard_normal((64, 32)).astype(numpy.float32)}
        save_file(values, folder / shard)
        names.update(dict.fromkeys(values, shard))
        tensors.update(values)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "config.json").write_text("{}")
    return tensors


def values_in(folder):
    return {name: value for path in sorted(folder.glob("*.safetensors"))
            for name, value in load_file(path).items()}


def test_a_folder_is_pruned_to_a_folder_or_in_place(tmp_path):
    tensors = write_shards(tmp_path / "model")
    report = torchwinnow.prune_file(tmp_path / "model", tmp_path / "pruned", sparse_block_shape=(1, 1))
    assert (report.pruned_tensors, report.left_out) == (3, ())
    pruned = values_in(tmp_path / "pruned")
    assert pruned.keys() == tensors.keys()
    for name, value in pruned.items():
        assert (value == 0).mean() == 0.5
        assert (value[value != 0] == tensors[name][value != 0]).all()
    assert (tmp_path / "pruned/config.json").read_text() == "{}"
    torchwinnow.verify_file(tmp_path / "pruned", tmp_path / "model")
    torchwinnow.prune_file(tmp_path / "model", in_place=True, sparse_block_shape=(1, 1))
    for name, value in values_in(tmp_path / "model").items():
        assert value.tobytes() == pruned[name].tobytes()


def test_a_torch_archive_is_pruned_and_shown(tmp_path):
    torch = pytest.importorskip("torch")
    weight = torch.randn(64, 32)
    state = {"model": {"w": weight}, "epoch": 3, "args": argparse.Namespace(lr=1)}
    torch.save(state, tmp_path / "a.pt")
    torchwinnow.prune_file(tmp_path / "a.pt", tmp_path / "b.pt", sparse_block_shape=(1, 1))
    found = torch.load(tmp_path / "b.pt", weights_only=False)
    assert (found["model"]["w"] == 0).float().mean() == 0.5 and found["args"] == state["args"]
    inspection = torchwinnow.inspect_file(tmp_path / "b.pt")
    assert inspection.opaque == (("args", "argparse.Namespace"),) and inspection.plain_values == 1
    report = torchwinnow.compress_file(tmp_path / "b.pt", tmp_path / "b.safetensors")
    assert report.left_out_values == 2


def test_little_memory_changes_no_byte(tmp_path):
    table = numpy.random.default_rng(3).standard_normal((4096, 2048)).astype(numpy.float32)
    save_file({"table": table}, tmp_path / "in")
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    torchwinnow.prune_file(tmp_path / "in", whole, threads=1)
    torchwinnow.prune_file(tmp_path / "in", pieces, threads=1, max_memory=40 << 20)
    assert whole.read_bytes() == pieces.read_bytes()
    with pytest.raises(ValueError, match="memory"):
        torchwinnow.prune_file(tmp_path / "in", tmp_path / "out", max_memory=1 << 20)
    assert not (tmp_path / "out").exists()
