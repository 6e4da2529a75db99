"""Checkpoints that are folders, through the tool."""

import json
import shutil

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from folders import COMPANIONS, INDEX, FolderScene, content, make, shard_name
from tool import fails, report, run


@pytest.fixture
def model(tmp_path):
    return make(tmp_path / "model")


def loaded(directory):
    """All tensors, read as transformers does: every shard that the index names."""
    index = json.loads((directory / INDEX).read_text())
    tensors = {}
    for name in sorted(set(index["weight_map"].values())):
        tensors.update(load_file(directory / name))
    assert set(tensors) == set(index["weight_map"])
    return tensors


def test_a_folder_is_pruned_to_a_folder_that_loads(model, tmp_path):
    out = tmp_path / "out"
    found = report("prune", model, "-o", out, "-s", "0.8", "--block", "1x1")
    assert (found["output"], found["written"]) == (str(out), str(out))
    assert "left_out" not in found and not found["in_place"]
    before, after = loaded(model), loaded(out)
    for name, values in before.items():
        kept = after[name] != 0
        assert np.array_equal(after[name][kept], values[kept])
        assert np.mean(~kept) == pytest.approx(0.8 if values.ndim == 2 else 0, abs=1e-3)
    with safe_open(out / shard_name(1, 3), "np") as shard:
        assert shard.metadata()["format"] == "pt" and "winnow.config" in shard.metadata()
    unchanged = {INDEX, *COMPANIONS}
    assert {name: content(out)[name] for name in unchanged} == \
        {name: content(model)[name] for name in unchanged}
    run("verify", out, "--against", model)


def test_every_command_takes_the_index_instead_of_the_folder(model, tmp_path):
    by_folder, by_index = report("inspect", model), report("inspect", model / INDEX)
    assert by_folder["tensors"] == by_index["tensors"]
    assert by_folder["file_bytes"] == sum((model / shard_name(n, 3)).stat().st_size for n in [1, 2, 3])
    run("prune", model / INDEX, "-o", tmp_path / "a", "-s", "0.5")
    run("prune", model, "-o", tmp_path / "b", "-s", "0.5")
    assert content(tmp_path / "a") == content(tmp_path / "b")
    run("verify", tmp_path / "a" / INDEX, "--against", model / INDEX)


def test_compressed_folders_come_back_byte_for_byte(model, tmp_path):
    run("prune", model, "-o", tmp_path / "pruned", "-s", "0.9")
    run("compress", tmp_path / "pruned", "-o", tmp_path / "small")
    run("verify", tmp_path / "small", "--against", model)
    assert report("inspect", tmp_path / "small")["compressed"]
    small = sum(len(data) for data in content(tmp_path / "small").values())
    assert small < 0.5 * sum(len(data) for data in content(model).values())
    run("decompress", tmp_path / "small", "-o", tmp_path / "back")
    assert content(tmp_path / "back") == content(tmp_path / "pruned")
    run("prune", model, "-o", tmp_path / "both", "-s", "0.9", "--compress")
    assert content(tmp_path / "both") == content(tmp_path / "small")


def test_the_report_names_what_is_left_out(model, tmp_path):
    (model / "pytorch_model.bin").write_bytes(b"twins")
    (model / ".gitattributes").write_text("*.bin")
    lines = run("prune", model, "-o", tmp_path / "out").stdout.splitlines()
    at = lines.index("left out .gitattributes")
    assert lines[at + 1] == "         pytorch_model.bin"
    assert report("compress", model, "-o", tmp_path / "small")["left_out"] == [".gitattributes", "pytorch_model.bin"]
    assert set(content(tmp_path / "out")) == set(content(tmp_path / "small"))
    assert set(content(tmp_path / "out")) == {INDEX, *COMPANIONS, *(shard_name(n, 3) for n in [1, 2, 3])}


def test_subdirectories_go_with_the_folder_and_stay_in_place(model, tmp_path):
    pooling = model / "1_Pooling"
    pooling.mkdir()
    (pooling / "config.json").write_text('{"word_embedding_dimension": 96}')
    (pooling / "pytorch_model.bin").write_bytes(b"twins")
    for command in ["prune", "compress"]:
        out = tmp_path / command
        assert report(command, model, "-o", out)["left_out"] == ["1_Pooling/pytorch_model.bin"]
        assert content(out / "1_Pooling") == {"config.json": (pooling / "config.json").read_bytes()}
    before = content(pooling)
    assert "left_out" not in report("prune", model, "--in-place")
    assert content(pooling) == before


def test_shards_become_one_file_if_the_output_is_named_so(model, tmp_path):
    one = tmp_path / "one.safetensors"
    run("prune", model, "-o", one, "-s", "0.5")
    run("prune", model, "-o", tmp_path / "out", "-s", "0.5")
    merged, shards = load_file(one), loaded(tmp_path / "out")
    assert merged.keys() == shards.keys()
    assert all(np.array_equal(merged[name], shards[name]) for name in shards)
    run("verify", one, "--against", model)


def test_outputs_that_would_harm_or_confuse_are_refused(model, tmp_path):
    before = content(model)
    assert "--in-place replaces" in fails(2, "prune", model, "-o", model)
    assert "--overwrite" not in fails(2, "prune", tmp_path / "model", "-o", tmp_path / "model" / ".." / "model")\
        .removesuffix("(--in-place replaces its shards)")
    assert INDEX in fails(2, "prune", model, "-o", model / "model.safetensors")
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes").write_text("mine")
    message = fails(2, "prune", model, "-o", full, "--overwrite")
    assert '"notes"' in message and "--overwrite" not in message
    assert "--in-place" in fails(2, "prune", model, "-o", tmp_path / "out", "--in-place")
    assert content(model) == before and [path.name for path in full.iterdir()] == ["notes"]


def test_a_folder_with_a_file_and_an_index_is_refused_until_one_is_named(model, tmp_path):
    save_file({"w": np.ones((8, 8), np.float32)}, model / "model.safetensors")
    message = fails(3, "inspect", model)
    assert "model.safetensors" in message and INDEX in message
    assert len(report("inspect", model / INDEX)["tensors"]) == 9
    assert len(report("inspect", model / "model.safetensors")["tensors"]) == 1
    assert report("prune", model / INDEX, "-o", tmp_path / "out")["left_out"] == ["model.safetensors"]
    assert "model.safetensors" not in content(tmp_path / "out")


def test_a_cache_of_links_to_blobs_is_read(model, tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for number, path in enumerate(sorted(model.iterdir())):
        shutil.copy(path, blobs / f"{number:064x}")
        (snapshot / path.name).symlink_to(blobs / f"{number:064x}")
    run("prune", snapshot, "-o", tmp_path / "out", "-s", "0.5")
    run("prune", model, "-o", tmp_path / "same", "-s", "0.5")
    assert content(tmp_path / "out") == content(tmp_path / "same")
    before = content(snapshot)
    assert "--overwrite" not in fails(2, "prune", snapshot, "--in-place")
    assert content(snapshot) == before and len(list(blobs.iterdir())) == len(before)


def test_in_place_gives_the_bytes_of_a_new_folder(model, tmp_path):
    run("prune", model, "-o", tmp_path / "out", "-s", "0.7")
    found = report("prune", model, "--in-place", "-s", "0.7")
    assert (found["output"], found["in_place"]) == (str(model), True)
    assert content(model) == content(tmp_path / "out")
    run("compress", model, "--in-place")
    run("decompress", model, "--in-place")
    assert content(model) == content(tmp_path / "out")


@pytest.fixture(scope="module", params=[False, True], ids=["folder", "in_place"])
def scene(request, tmp_path_factory):
    return FolderScene(tmp_path_factory.mktemp("shards") / "d", request.param)


def few_points(scene):
    """The last call of each kind that gives files their names, and some between."""
    calls = scene.calls()
    names = [name for name in calls if name.startswith("rename") or name in ["unlinkat", "unlink"]]
    assert names, calls
    points = [(name, nth) for name in names for nth in range(1, calls[name] + 1)]
    return points + [("write", 2), ("fsync", 1), ("fsync", calls["fsync"]), ("fsync", calls["fsync"] - 1)]


def test_a_killed_run_leaves_old_shards_or_new_ones(scene):
    for syscall, nth in few_points(scene):
        scene.kill_at(syscall, nth)


def test_a_failing_call_leaves_old_shards_or_new_ones(scene):
    for syscall, nth in few_points(scene):
        scene.fail_at(syscall, nth, "ENOSPC")
