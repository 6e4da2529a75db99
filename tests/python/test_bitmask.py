"""Files of compressed-tensors' sparse formats through the tool; bitmask_test.cc has the faults."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tool import ROOT, fails, report, run

GOLDEN = ROOT / "tests" / "data" / "bitmask"
FORMATS = ["sparse-bitmask", "sparse-24-bitmask"]


def bits(tensor):
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("name", FORMATS)
def test_decompress_gives_the_dense_file(name, tmp_path):
    out = tmp_path / "out.safetensors"
    run("decompress", GOLDEN / f"{name}.safetensors", "-o", out)
    expected, found = load_file(GOLDEN / f"{name}.dense.safetensors"), load_file(out)
    assert sorted(found) == sorted(expected)
    for key in expected:
        assert bits(found[key]) == bits(expected[key]), key
    with safe_open(out, "np") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("name", FORMATS)
def test_inspect_shows_weights_and_how_they_are_stored(name):
    path = GOLDEN / f"{name}.safetensors"
    tensors = {t["name"]: t for t in report("inspect", path)["tensors"]}
    assert "f32.weight" in tensors and not any(".bitmask" in key for key in tensors)
    assert tensors["f32.weight"]["encoding"] == name
    with safe_open(path, "np") as file:
        parts = [key for key in file.keys() if key.startswith("f32.") and key != "f32.bias"]
        stored = sum(file.get_tensor(key).nbytes for key in parts)
    assert tensors["f32.weight"]["stored_bytes"] == stored


@pytest.mark.parametrize("name", FORMATS)
def test_stats_are_those_of_the_dense_file(name):
    compressed = report("inspect", GOLDEN / f"{name}.safetensors", "--stats")["tensors"]
    dense = report("inspect", GOLDEN / f"{name}.dense.safetensors", "--stats")["tensors"]
    def stats(tensors):
        return {t["name"]: t.get("stats") for t in tensors}
    assert repr(stats(compressed)) == repr({t["name"]: stats(dense)[t["name"]] for t in compressed})


@pytest.mark.parametrize("name", FORMATS)
def test_pruned_and_verified_as_the_dense_file_is(name, tmp_path):
    path, out = GOLDEN / f"{name}.safetensors", tmp_path / "pruned.safetensors"
    flags = ["--force", "f32.weight", "-s", "0.8", "--block", "1x1"]
    run("prune", path, "-o", out, "--nan", "keep", *flags)
    run("verify", out, "--against", path)
    assert np.count_nonzero(load_file(out)["f32.weight"].numpy()) < 100


def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = tmp_path / "damaged.safetensors"
    image = (GOLDEN / "sparse-24-bitmask.safetensors").read_bytes()
    path.write_bytes(image[:-1] + b"\x07")  # in the last bitmask, 3 of 4
    out = tmp_path / "out.safetensors"
    message = fails(3, "decompress", path, "-o", out)
    assert str(path) in message and ".weight'" in message and "2 bits of every 4" in message
    assert not out.exists()


@pytest.fixture(params=FORMATS)
def folder(request, tmp_path):
    """The weights in two shards, as the model's own tools lay a folder out."""
    path = tmp_path / "model"
    path.mkdir()
    tensors = load_file(GOLDEN / f"{request.param}.safetensors")
    prefixes = sorted({name.split(".")[0] for name in tensors})
    shards = {name: f"model-{1 + prefixes.index(name.split('.')[0]) % 2:05}-of-00002.safetensors"
              for name in tensors}
    for shard in set(shards.values()):
        part = {name: tensors[name] for name in tensors if shards[name] == shard}
        save_file(part, path / shard, {"format": "pt"})
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": shards}
    (path / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    sparsity = {"quant_method": "compressed-tensors", "sparsity_config": {"format": request.param}}
    (path / "config.json").write_text(json.dumps({"quantization_config": sparsity}, indent=2))
    return path, load_file(GOLDEN / f"{request.param}.dense.safetensors")


@pytest.mark.parametrize("in_place", [False, True])
def test_decompress_of_a_folder_gives_the_dense_one(folder, tmp_path, in_place):
    path, expected = folder
    out = path if in_place else tmp_path / "out"
    run("decompress", path, *(["--in-place"] if in_place else ["-o", out]))
    config = json.loads((out / "config.json").read_text())
    assert config == {"quantization_config": {"quant_method": "compressed-tensors"}}
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": sum(t.nbytes for t in expected.values())}
    found = {}
    for name, shard in index["weight_map"].items():
        found[name] = load_file(out / shard)[name]
    assert {k: bits(v) for k, v in found.items()} == {k: bits(v) for k, v in expected.items()}
    assert sum(len(load_file(shard)) for shard in out.glob("*.safetensors")) == len(expected)


def test_a_config_of_another_format_stops_the_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(GOLDEN / "sparse-bitmask.safetensors", folder / "model.safetensors")
    text = json.dumps({"quantization_config": {"sparsity_config": {"format": "marlin-24"}}})
    (folder / "config.json").write_text(text)
    assert "config.json" in fails(3, "decompress", folder, "-o", tmp_path / "dense")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
