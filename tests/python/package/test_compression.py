"""Compressed files: the same results and errors as the tool that the wheel brings along."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy
import pytest
import torch
from compressed_files import damage, header_of, pruned, write_model
from safetensors.numpy import save_file
from safetensors.torch import load_file

import torchwinnow
from torchwinnow._tool import WINNOW


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    write_model(path)
    return path


@pytest.fixture
def small(model, tmp_path):
    path = tmp_path / "small.safetensors"
    torchwinnow.compress_file(model, path)
    return path


def tool_json(*arguments):
    done = subprocess.run(
        [WINNOW, *map(str, arguments), "--json"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def check_report(report, expected):
    assert report.input_bytes == expected["input_bytes"]
    assert report.output_bytes == expected["output_bytes"]
    assert set(report.seconds) == set(expected["seconds"])
    for tensor, other in zip(report.tensors, expected["tensors"], strict=True):
        fields = dataclasses.asdict(tensor) | {"shape": list(tensor.shape)}
        assert {name: value for name, value in fields.items() if value is not None} == other


SETTINGS = [
    ({}, []),
    (dict(include="emb.*"), ["--include", "emb.*"]),
    (dict(include=["emb.*", "half"], exclude="h*"),
     ["--include", "emb.*", "--include", "half", "--exclude", "h*"]),
]


@pytest.mark.parametrize("settings, flags", SETTINGS, ids=[" ".join(f) or "-" for _, f in SETTINGS])
def test_compress_file_is_winnow_compress(model, tmp_path, settings, flags):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    report = torchwinnow.compress_file(model, ours, **settings)
    check_report(report, tool_json("compress", model, "-o", theirs, *flags))
    assert ours.read_bytes() == theirs.read_bytes()
    assert (report.src, report.dst, report.written, report.dry_run) == (
        str(model), str(ours), str(ours), False)
    stored = {tensor.name: tensor for tensor in report.tensors}
    assert stored["emb.weight"].encoding and stored["noise"].encoding is None
    assert stored["emb.weight"].stored_bytes < stored["emb.weight"].bytes / 5
    assert stored["noise"].stored_bytes == stored["noise"].bytes == 1000
    assert (stored["half"].encoding is None) == bool(settings)


def test_decompress_file_gives_the_file_back(model, small, tmp_path):
    out = tmp_path / "out"
    report = torchwinnow.decompress_file(small, out)
    assert out.read_bytes() == model.read_bytes()
    assert report.output_bytes == model.stat().st_size
    check_report(report, tool_json("decompress", small, "-o", tmp_path / "theirs"))
    assert (report.src, report.dst, report.written) == (str(small), str(out), str(out))


def test_pruning_to_a_compressed_file_is_pruning_and_then_compressing(model, small, tmp_path):
    report = torchwinnow.prune_file(model, tmp_path / "pruned", sparsity_level=0.95)
    torchwinnow.compress_file(tmp_path / "pruned", tmp_path / "then")
    once = torchwinnow.prune_file(model, tmp_path / "once", sparsity_level=0.95, compress=True)
    assert (tmp_path / "once").read_bytes() == (tmp_path / "then").read_bytes()
    assert once.output_bytes == (tmp_path / "once").stat().st_size < report.output_bytes
    assert once.tensors == report.tensors
    torchwinnow.prune_file(small, tmp_path / "again", sparsity_level=0.95, compress=True)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "once").read_bytes()
    assert torchwinnow.verify_file(tmp_path / "once", small).pruned_tensors == 2


def test_inspect_file_says_how_tensors_are_stored(model, small):
    plain, packed = torchwinnow.inspect_file(model), torchwinnow.inspect_file(small, stats=True)
    assert not plain.compressed and packed.compressed
    assert packed.file_bytes == small.stat().st_size
    assert (packed.metadata, packed.header_bytes) == (plain.metadata, plain.header_bytes)
    assert all(t.stored_bytes == t.bytes and t.encoding is None for t in plain.tensors)
    expected = tool_json("inspect", small)
    assert expected["compressed"]
    for tensor, other in zip(packed.tensors, expected["tensors"], strict=True):
        assert (tensor.stored_bytes, tensor.encoding) == (other["stored_bytes"], other.get("encoding"))
    named = {tensor.name: tensor for tensor in packed.tensors}
    assert named["emb.weight"].stats.zeros == named["emb.weight"].values * 9 // 10


def test_no_other_loader_takes_a_compressed_file_for_the_model(tmp_path):
    """Not even one whose tensors are as large as the compressed ones, or that does not check names."""
    save_file({"table.weight": pruned((3000, 16))}, tmp_path / "model")
    torchwinnow.compress_file(tmp_path / "model", tmp_path / "small")
    state = load_file(tmp_path / "small")
    assert state["table.weight"].dim() == 3
    module = torch.nn.ModuleDict({"table": torch.nn.Embedding(3000, 16)})
    before = module["table"].weight.clone()
    for strict in (True, False):
        with pytest.raises(RuntimeError, match="size mismatch for table.weight"):
            module.load_state_dict(state, strict=strict)
    assert torch.equal(module["table"].weight, before)


def test_a_dry_run_writes_nothing(model, small, tmp_path):
    before = set(os.listdir(tmp_path))
    for call, src in ((torchwinnow.compress_file, model), (torchwinnow.decompress_file, small)):
        for dst in (None, tmp_path / "new"):
            report = call(src, dst, dry_run=True)
            assert report.dst is None and report.written is None and report.dry_run
            assert (report.input_bytes, report.output_bytes) == (src.stat().st_size, 0)
        with pytest.raises(ValueError, match="dst"):
            call(src)
        with pytest.raises(FileExistsError):
            call(src, model, dry_run=True)
    assert set(os.listdir(tmp_path)) == before


def test_overwriting_is_asked_for(model, small, tmp_path):
    original = model.read_bytes()
    for call, src, dst in ((torchwinnow.compress_file, model, small),
                           (torchwinnow.decompress_file, small, model)):
        for out, code in ((dst, "AlreadyExists"), (src, "SameFile")):
            with pytest.raises(FileExistsError, match="overwrite=True") as caught:
                call(src, out)
            assert caught.value.code == code
        with pytest.raises(ValueError, match="overwrite_blob: it needs overwrite=True"):
            call(src, dst, overwrite_blob=True)
    torchwinnow.compress_file(model, model, overwrite=True)
    assert model.read_bytes() == small.read_bytes()
    torchwinnow.decompress_file(model, model, overwrite=True)
    assert model.read_bytes() == original


def test_a_blob_of_a_cache_is_not_rewritten_unless_asked_for(model, tmp_path):
    blob = tmp_path / "blobs" / ("0123456789abcdef" * 4)
    blob.parent.mkdir()
    model.rename(blob)
    model.symlink_to(f"blobs/{blob.name}")
    with pytest.raises(FileExistsError, match="overwrite_blob=True") as caught:
        torchwinnow.compress_file(model, model, overwrite=True)
    assert caught.value.code == "NamedByHash"
    report = torchwinnow.compress_file(model, model, overwrite=True, overwrite_blob=True)
    assert report.written == str(blob.resolve()) and model.is_symlink()


@pytest.mark.parametrize(
    "settings, error, message",
    [
        (dict(include=[1]), TypeError, "include"),
        (dict(exclude="re:("), ValueError, "re:"),
        (dict(include="emb.weigth"), torchwinnow.UnknownTensorError, "emb.weight"),
        (dict(threads=0), ValueError, "threads"),
    ],
    ids=str,
)
def test_errors_of_arguments(model, tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        torchwinnow.compress_file(model, tmp_path / "out", **settings)
    assert os.listdir(tmp_path) == [model.name]


def test_errors_of_files(model, small, tmp_path):
    out = tmp_path / "out"
    for call in (torchwinnow.compress_file, torchwinnow.decompress_file):
        with pytest.raises(FileNotFoundError):
            call(tmp_path / "missing", out)
        with pytest.raises(torchwinnow.WinnowError) as caught:
            call(tmp_path, out)  # a folder with two files
        assert caught.value.code == "AmbiguousFolder"
    with pytest.raises(ValueError, match="not compressed, found a compressed one"):
        torchwinnow.compress_file(small, out)
    damage(small, "emb.weight")
    for dry_run in (True, False):
        with pytest.raises(torchwinnow.WinnowError, match="emb.weight") as caught:
            torchwinnow.decompress_file(small, out, dry_run=dry_run)
        assert caught.value.code == "SparseStoredChecksum"
    small.write_bytes(small.read_bytes()[:-1])
    with pytest.raises(torchwinnow.WinnowError):
        torchwinnow.decompress_file(small, out)
    assert not out.exists()


def test_an_ordinary_file_is_copied(model, tmp_path):
    report = torchwinnow.decompress_file(model, tmp_path / "copy")
    assert report.input_bytes == report.output_bytes
    assert (tmp_path / "copy").read_bytes() == model.read_bytes()


def test_threads_change_no_byte(model, small, tmp_path):
    for threads in (1, 2, 7):
        torchwinnow.compress_file(model, tmp_path / f"{threads}", threads=threads)
        assert (tmp_path / f"{threads}").read_bytes() == small.read_bytes()


def test_progress_is_a_bar_on_standard_error(model, small, capsys):
    torchwinnow.compress_file(model, dry_run=True)
    assert capsys.readouterr().err == ""  # no terminal
    torchwinnow.compress_file(model, dry_run=True, progress=True)
    assert "check" in capsys.readouterr().err
    torchwinnow.decompress_file(small, dry_run=True, progress=True)
    assert "%|" in capsys.readouterr().err


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """80 MB that take some seconds to compress."""
    path = tmp_path_factory.mktemp("large") / "large.safetensors"
    table = pruned((1000, 4000), zeros=0.5)
    save_file({f"w{i}": table + numpy.float32(i) for i in range(5)}, path)
    yield path
    path.unlink()


CALLS = {
    "compress": "torchwinnow.compress_file(src, dst, overwrite=True, threads=1)",
    "prune": "torchwinnow.prune_file(src, dst, overwrite=True, threads=1, compress=True)",
    "save": "torchwinnow.save_file(tensors, dst, overwrite=True, threads=1, compress=True)",
    "load": "torchwinnow.load_file(small, threads=1, framework='numpy')",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_ctrl_c_stops_a_call_and_leaves_nothing(large, tmp_path, call):
    script = textwrap.dedent(f"""
        import sys, torchwinnow
        src, dst, small = sys.argv[1:]
        tensors = torchwinnow.load_file(src, framework="numpy")
        torchwinnow.save_file({{name: tensors[name] for name in ("w0", "w1")}}, small, compress=True)
        print("ready", flush=True)
        try:
            for _ in range(1000):
                {call}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    out, small = tmp_path / "out.safetensors", tmp_path / "small.safetensors"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(large), str(out), str(small)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == "interrupted\n"
    assert process.stderr.read() == ""  # nanobind complains there of what leaks
    assert process.wait() == 0
    assert time.perf_counter() - start < 5
    assert set(os.listdir(tmp_path)) <= {out.name, small.name}


def test_the_names_of_a_compressed_file_are_those_of_the_model(model, small):
    before, after = header_of(model)[0], header_of(small)[0]
    assert set(before) - {"__metadata__"} == set(after) - {"__metadata__", "__winnow_header__"}
    assert after["__metadata__"]["format"] == "np"
