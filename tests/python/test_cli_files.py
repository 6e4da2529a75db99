"""What the tool says of files that other programs made, and what it does to places that others use."""

import hashlib
import itertools
import json
import os
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest

import files
from tool import WINNOW, fails, report, run


def mlx_image(tensors, metadata=None):
    """A file as MLX 0.32 writes it: null for no metadata, keys sorted, data in an order of its own,
    nothing padded."""
    header, data = {"__metadata__": metadata}, b""
    for name in sorted(tensors, key=lambda name: name[::-1]):
        dtype, shape, raw = tensors[name]
        header[name] = {"data_offsets": [len(data), len(data) + len(raw)], "dtype": dtype,
                        "shape": list(shape)}
        data += raw
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture
def mlx_model(tmp_path):
    path = tmp_path / "mlx.safetensors"
    weight = np.random.default_rng(1).normal(size=(8, 8)).astype(np.float32)
    path.write_bytes(mlx_image({"a.weight": ("F32", [8, 8], weight.tobytes()),
                                "flag": ("BOOL", [3], b"\1\0\1"),
                                "b.weight": files.bf16(weight[:3])}))
    return path


def test_files_of_mlx_are_inspected_pruned_and_verified(mlx_model, tmp_path):
    content = mlx_model.read_bytes()
    assert b'"__metadata__":null' in content
    entries = {t["name"]: t for t in report("inspect", mlx_model, "--stats")["tensors"]}
    assert entries["a.weight"]["data_offsets"][0] % 4 != 0, "unaligned"
    assert report("inspect", mlx_model)["metadata"] == {}
    out = tmp_path / "out.safetensors"
    run("prune", mlx_model, "-o", out, "-s", "0.5", "--block", "1x1")
    run("verify", out, "--against", mlx_model)
    pruned = out.read_bytes()
    assert (files.tensor(pruned, "a.weight") == 0).sum() == 32
    assert (files.tensor(pruned, "b.weight") == 0).sum() == 12
    header, _ = files.parse(pruned)
    assert set(header["__metadata__"]) == {"winnow.version", "winnow.config"}, "no null is left"
    for name in entries:
        assert header[name] == files.parse(content)[0][name]


@pytest.fixture
def cached(tmp_path):
    """A model in Hugging Face's cache: (the link in the snapshot, the blob, its content)."""
    content = files.image({"w": np.arange(64, dtype=np.float32).reshape(8, 8)})
    blob = tmp_path / "hub" / "blobs" / hashlib.sha256(content).hexdigest()
    link = tmp_path / "hub" / "snapshots" / "rev" / "model.safetensors"
    blob.parent.mkdir(parents=True)
    link.parent.mkdir(parents=True)
    blob.write_bytes(content)
    link.symlink_to(f"../../blobs/{blob.name}")
    return link, blob, content


def test_a_blob_of_a_cache_is_not_rewritten(cached):
    link, blob, content = cached
    for output in [link, blob]:
        for flags in [[], ["--overwrite"], ["--overwrite", "--dry-run"]]:
            message = fails(2, "prune", link, "-o", output, *flags)
            assert message.startswith(f"winnow: {output}: ")
            assert "hash of its content" in message and "Write to another file" in message
            assert "--overwrite-blob" in message
    assert str(blob) in fails(2, "prune", link, "-o", link, "--overwrite")
    assert blob.read_bytes() == content
    assert os.listdir(link.parent) == [link.name] and os.listdir(blob.parent) == [blob.name]


def test_a_blob_is_rewritten_where_that_is_asked_for(cached):
    link, blob, content = cached
    assert "--overwrite" in fails(2, "prune", link, "-o", link, "--overwrite-blob")
    run("prune", link, "-o", link, "--overwrite", "--overwrite-blob", "--dry-run")
    assert blob.read_bytes() == content
    run("prune", link, "-o", link, "--overwrite", "--overwrite-blob")
    assert blob.read_bytes() != content and link.is_symlink()


def test_the_result_names_the_file_that_was_written(cached, tmp_path):
    model, _, _ = cached
    target, link, plain = (tmp_path / name for name in ["target", "link", "plain"])
    target.write_text("old")
    link.symlink_to("target")
    done = run("prune", model, "-o", link, "--overwrite")
    assert f"result   {link}, a link to {target.resolve()}\n" in done.stdout
    data = report("prune", model, "-o", link, "--overwrite")
    assert (data["output"], data["written"]) == (str(link), str(target.resolve()))
    data = report("prune", model, "-o", plain)
    assert (data["output"], data["written"]) == (str(plain), str(plain))
    data = report("prune", model, "-o", link, "--overwrite", "--dry-run")
    assert (data["output"], data["written"]) == (None, None)


# Fronts of files that are no safetensors files, and what is said. All kinds: tests/io/file/file_kind_test.cc.
@pytest.mark.parametrize("content, part", [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90868376\n",
     "this is a Git LFS pointer, no safetensors file; run `git lfs pull`"),
    (b"<!doctype html>\n<html>", "this is a web page"),
    (b"GGUF\3" + bytes(100), "this is a GGUF file"),
    (b'{"metadata": {}, "weight_map": {}}', "this is the index of a checkpoint in shards"),
    (b"", "the file is empty"),
    (bytes(5000), "NUL bytes"),
])
def test_a_file_of_another_kind_is_named(tmp_path, content, part):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    for args in [["inspect", path], ["prune", path, "-o", tmp_path / "out"],
                 ["verify", path, "--against", path]]:
        message = fails(3, *args)
        assert message.startswith(f"winnow: {path}: ") and part in message
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_headers_padded_with_nul_say_so(tmp_path):
    content = files.image({"w": np.ones((1, 4), np.float32)})
    text = content[8:8 + int.from_bytes(content[:8], "little")] + bytes(3)
    path = tmp_path / "m"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    assert "is a NUL: headers are padded with spaces only" in fails(3, "inspect", path)


CLOSED = [" ".join(flags) for count in range(1, 4)
          for flags in itertools.combinations(["0<&-", "1>&-", "2>&-"], count)]


@pytest.mark.parametrize("flags", CLOSED)
def test_closed_streams_change_no_byte_of_a_file(mlx_model, tmp_path, flags):
    expected, out = tmp_path / "expected", tmp_path / "out"
    run("prune", mlx_model, "-o", expected)
    shell = ["sh", "-c", f'exec "$@" {flags}', "sh", WINNOW, "prune", mlx_model, "-o", out]
    done = subprocess.run(shell, capture_output=True)
    assert done.returncode == (4 if "1>&-" in flags else 0), "a result that cannot be printed"
    assert out.read_bytes() == expected.read_bytes()
    os.remove(out)
    assert subprocess.run([*shell, "-q"]).returncode == 0
    assert out.read_bytes() == expected.read_bytes()
    assert subprocess.run([*shell, "--what"], capture_output=True).returncode == 2


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("flags", CLOSED)
def test_no_file_is_written_as_a_standard_stream(mlx_model, tmp_path, flags):
    log = tmp_path / "log"
    subprocess.run(["strace", "-f", "-o", log, "-e", "trace=write,pwrite64",
                    "sh", "-c", f'exec "$@" {flags}', "sh",
                    WINNOW, "prune", mlx_model, "-o", tmp_path / "out", "-q"])
    written = {int(fd) for fd in re.findall(r"write(?:64)?\((\d+),", log.read_text())}
    assert written and min(written) > 2
