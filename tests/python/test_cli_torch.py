"""Torch archives through the tool: files of torch.save go in, and what comes out is compared by torch."""

import argparse
import collections
import hashlib
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import torch_archives
from tool import fails, report, run

ALL = ["-s", "0.5", "--block", "1x1"]


class Unknown:
    """A class that only the file's writer has."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


def load(path):
    """Of files that the tests wrote themselves."""
    return torch.load(path, weights_only=False)


def names(path):
    return [t["name"] for t in report("inspect", path)["tensors"]]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def records(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {i.filename: (i.header_offset, archive.read(i)) for i in archive.infolist()}


def changed_records(before, after):
    """The names of the records that differ; all places are the same, and all checksums right."""
    old, new = records(before), records(after)
    assert {n: r[0] for n, r in old.items()} == {n: r[0] for n, r in new.items()}
    assert before.stat().st_size == after.stat().st_size
    return sorted(name.split("/", 1)[1] for name in old if old[name][1] != new[name][1])


def assert_pruned(old, new, level=0.5):
    """`new` is `old` without the smallest values of that share."""
    old, new = old.detach().double().reshape(-1), new.detach().double().reshape(-1)
    dropped = round(level * old.numel())
    gone = new == 0
    assert int(gone.sum()) == dropped
    assert torch.equal(old[~gone], new[~gone])
    assert old[gone].abs().max() <= old[~gone].abs().min()


@pytest.fixture
def save(tmp_path):
    def to(value, name="model.pt", **options):
        torch.save(value, tmp_path / name, **options)
        return tmp_path / name

    torch.manual_seed(0)
    return to


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.pt"


def test_a_state_dict_is_pruned_in_place_of_its_payloads(save, out):
    model = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.BatchNorm1d(30),
                                torch.nn.Embedding(50, 20))
    path = save(model.state_dict())
    assert names(path) == list(model.state_dict())
    run("prune", path, "-o", out, *ALL)
    old, new = load(path), load(out)
    assert list(old) == list(new) and old._metadata == new._metadata
    for name in old:
        if name in ["0.weight", "2.weight"]:
            assert_pruned(old[name], new[name])
        else:
            assert torch.equal(old[name], new[name])
    assert len(changed_records(path, out)) == 2
    torch.load(out, weights_only=True, mmap=True)
    run("verify", out, "--against", path, *ALL)


def test_nothing_pruned_is_the_same_file(save, out):
    path = save({"w": torch.randn(30, 30), "b": torch.randn(30), "n": 3})
    for flags in [["-s", "0", "--block", "1x1"], [*ALL, "--exclude", "*"]]:
        run("prune", path, "-o", out, *flags, "--overwrite")
        assert digest(out) == digest(path)
    run("decompress", path, "-o", out, "--overwrite")
    assert digest(out) == digest(path)


def test_names_are_paths(save):
    w = torch.randn(2, 2)
    path = save({"model": {"layers": [w, {"x": w + 1}]}, 5: (w + 2,), "n": 1, "t": torch.nn.Parameter(w + 3)})
    assert names(path) == ["model.layers.0", "model.layers.1.x", "5.0", "t"]
    assert report("inspect", path)["plain_values"] == 1
    assert names(save(w, "root.pt")) == ["tensor"]
    assert names(save([w, w + 1], "list.pt")) == ["0", "1"]


def test_two_tensors_of_one_name_are_refused(save):
    path = save({"a.b": torch.ones(2), "a": {"b": torch.zeros(2)}})
    assert 'two tensors have the path "a.b"' in fails(3, "inspect", path)


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt"])
def test_a_lightning_checkpoint(save, tmp_path, suffix):
    model = torch.nn.Linear(40, 30)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 40)).sum().backward()
    optimizer.step()
    path = save({"epoch": 1, "pytorch-lightning_version": "2.5", "state_dict": model.state_dict(),
                 "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [],
                 "hyper_parameters": argparse.Namespace(lr=0.1)}, f"a.{suffix}")
    out = tmp_path / f"out.{suffix}"
    pruned = report("prune", path, "-o", out, *ALL)
    reasons = {t["name"]: t.get("reason") for t in pruned["tensors"]}
    assert reasons["state_dict.weight"] is None
    assert reasons["optimizer_states.0.state.0.exp_avg"] == "optimizer"
    old, new = load(path), load(out)
    assert_pruned(old["state_dict"]["weight"], new["state_dict"]["weight"])
    assert new["hyper_parameters"] == argparse.Namespace(lr=0.1)
    assert len(changed_records(path, out)) == 1
    run("prune", path, "-o", out, *ALL, "--force", "*.0.exp_avg", "--overwrite")
    assert len(changed_records(path, out)) == 2


def test_what_is_not_known_is_listed_and_carried(save, out):
    quantized = torch.quantize_per_tensor(torch.randn(4, 4), 0.1, 0, torch.qint8)
    shared = torch.randn(8, 8)
    path = save({"args": argparse.Namespace(lr=1, seen={"w": shared}), "w": shared,
                 "v": torch.randn(8, 8), "q": quantized, "o": Unknown(a=[1], me=None),
                 "s": torch.eye(5).to_sparse(), "c": torch.ones(2, dtype=torch.complex128),
                 "d": collections.defaultdict(list, x=[1]), ("a", 1): 2, "np": np.arange(3),
                 "big": 1 << 100, "type": torch.nn.Linear, "dev": torch.device("cpu")})
    # A dict with a key that has no name is opaque itself.
    assert report("inspect", path)["opaque"] == [{"path": "", "class": "dict"}]
    content = load(path)
    del content[("a", 1)]
    content["me"] = content["o"].me = content["o"]
    path = save(content)
    found = report("inspect", path)
    assert {o["path"]: o["class"] for o in found["opaque"]} == {
        "args": "argparse.Namespace", "q": "torch.QInt8Storage",
        "o": "test_cli_torch.Unknown", "me": "test_cli_torch.Unknown",
        "s": "torch.Tensor (sparse_coo)", "c": "torch.ComplexDoubleStorage",
        "d": "collections.defaultdict", "np": "numpy.ndarray", "big": "int",
        "type": "torch.nn.modules.linear.Linear", "dev": "torch.device"}
    assert [t["name"] for t in found["tensors"]] == ["w", "v"]
    text = run("inspect", path).stdout
    assert "opaque    args: argparse.Namespace" in text
    pruned = report("prune", path, "-o", out, *ALL)
    assert {t["name"]: t.get("reason") for t in pruned["tensors"]} == {"w": "opaque_use", "v": None}
    assert len(changed_records(path, out)) == 1
    old, new = load(path), load(out)
    assert_pruned(old["v"], new["v"])
    assert torch.equal(old["w"], new["w"]) and new["args"].seen["w"].equal(old["w"])
    assert torch.equal(old["q"].dequantize(), new["q"].dequantize())


def test_shared_storages_are_pruned_once(save, out):
    w, base, tied = torch.randn(20, 20), torch.randn(10, 40), torch.randn(30, 10)
    path = save({"w": w, "row": w[3], "w.t": w.t(), "left": base[:, :15], "right": base[:, 15:],
                 "a": tied, "b": tied, "wide": torch.randn(1).expand(3, 4)})
    found = report("inspect", path)
    aliases = {t["name"]: t.get("aliases", []) for t in found["tensors"]}
    assert aliases == {"w": ["row", "w.t"], "left": [], "right": [], "a": ["b"], "wide": []}
    pruned = report("prune", path, "-o", out, *ALL)
    assert {t["name"]: t.get("reason") for t in pruned["tensors"]}["wide"] == "expanded"
    old, new = load(path), load(out)
    for name in ["w", "left", "right", "a"]:
        assert_pruned(old[name], new[name])
    assert new["a"].data_ptr() == new["b"].data_ptr()
    assert torch.equal(new["row"], new["w"][3]) and torch.equal(new["w.t"], new["w"].t())
    assert torch.equal(new["wide"], old["wide"])
    run("verify", out, "--against", path, *ALL)


def test_overlapping_views_are_kept(save, out):
    base = torch.randn(100)
    path = save({"a": base[:60].view(6, 10), "b": base[30:].view(7, 10), "c": torch.randn(4, 4)})
    pruned = report("prune", path, "-o", out, *ALL)
    assert {t["name"]: t.get("reason") for t in pruned["tensors"]} == {
        "a": "overlapping", "b": "overlapping", "c": None}
    assert len(changed_records(path, out)) == 1


@pytest.mark.parametrize("make", [
    lambda: torch.randn(30, 20).t(), lambda: torch.randn(4, 6, 8).permute(2, 0, 1),
    lambda: torch.randn(20, 30)[::2, ::3], lambda: torch.randn(20, 30)[5:],
    lambda: torch.randn(400, 2000).t()])
def test_views_are_written_back_by_their_strides(save, out, make):
    view = make()
    path = save({"w": view})
    run("prune", path, "-o", out, *ALL)
    assert_pruned(view, load(out)["w"])
    assert load(out)["w"].stride() == load(path)["w"].stride()
    # The mask is that of the values in their logical order.
    dense = save({"w": view.contiguous()}, "dense.pt")
    run("prune", dense, "-o", out.with_name("dense_out.pt"), *ALL)
    assert torch.equal(load(out)["w"], load(out.with_name("dense_out.pt"))["w"])
    # What lies between the values stays.
    whole = lambda path: load(path)["w"].untyped_storage().tolist()
    if view.numel() * 4 < len(whole(path)):
        assert sum(a == b for a, b in zip(whole(path), whole(out))) >= len(whole(path)) - 2 * view.numel()


@pytest.mark.parametrize("dtype", torch_archives.DTYPES, ids=str)
def test_every_type(save, out, dtype):
    values = torch_archives.fill(dtype, 8, 8)
    if dtype.is_floating_point and dtype.itemsize > 1:
        values = torch.randn(8, 8).to(dtype)
    path = save([values, torch_archives.fill(dtype), torch_archives.fill(dtype, 0)])
    found = report("inspect", path)["tensors"]
    assert [(t["dtype"], t["shape"]) for t in found] == [
        (torch_archives.DTYPES[dtype], shape) for shape in [[8, 8], [], [0]]]
    pruned = report("prune", path, "-o", out, *ALL)["totals"]["pruned_tensors"]
    assert len(changed_records(path, out)) == pruned
    assert pruned == (dtype in [torch.float16, torch.bfloat16, torch.float32, torch.float64])


def test_a_safetensors_file_is_made_of_it(save, tmp_path):
    w = torch.randn(64, 64)
    path = save({"model": {"w": w, "tied": w, "h": torch.randn(9, 9).half()}, "epoch": 3,
                 "args": argparse.Namespace(lr=1)})
    out, small = tmp_path / "out.safetensors", tmp_path / "small.safetensors"
    left_out = report("prune", path, "-o", out, *ALL)["left_out_values"]
    assert left_out == 2  # the epoch and the arguments
    assert_pruned(w, load_file(out)["model.w"])
    assert report("inspect", out)["tensors"][0]["aliases"] == ["model.tied"]
    run("verify", out, "--against", path)
    assert "left out 2 values that are no tensors" in run("compress", path, "-o", small).stdout
    run("decompress", small, "-o", out, "--overwrite")
    assert torch.equal(load_file(out)["model.w"], w)
    run("prune", path, "-o", small, *ALL, "--compress", "--overwrite")
    run("verify", small, "--against", path)


def test_what_cannot_be_is_said(save, tmp_path):
    w = torch.randn(8, 8)
    plain, part = save({"w": w}), save({"w": w, "row": w[2]}, "part.pt")
    opaque = save({"w": w, "args": argparse.Namespace(x=torch.ones(3))}, "opaque.pt")
    out, safe = tmp_path / "out.pt", tmp_path / "out.safetensors"
    for args in [("compress", plain), ("prune", plain, "--compress")]:
        assert "cannot hold compressed tensors" in fails(2, *args, "-o", out)
    assert "tensor 'row' is a part" in fails(2, "compress", part, "-o", safe)
    assert "'args', of the class argparse.Namespace, has tensors" in fails(2, "prune", opaque, "-o", safe)
    assert "has tensors" in fails(2, "prune", opaque, "-o", safe, "--dry-run")
    run("decompress", plain, "-o", safe)
    for name in ["x.pt", "x.pth", "x.ckpt"]:
        assert "a torch archive is only made of a torch archive" in fails(
            2, "prune", safe, "-o", tmp_path / name)
    run("prune", plain, "-o", out, *ALL)
    assert "give the flags" in fails(2, "verify", out, "--against", plain)
    assert "same file" in fails(2, "prune", plain, "-o", plain)
    assert not (tmp_path / "x.pt").exists()


def test_onto_itself(save):
    path = save({"w": torch.randn(40, 40)})
    old = load(path)["w"].clone()
    run("prune", path, "-o", path, *ALL, "--overwrite")
    assert_pruned(old, load(path)["w"])


def test_damage_is_found_before_it_gets_a_right_checksum(save, out):
    path = save({"w": torch.randn(40, 40), "b": torch.randn(500)})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = content.index(archive.read("model/data/1"))
    content[at] ^= 1
    path.write_bytes(content)
    for args in [("prune", path, "-o", out), ("prune", path, "-o", out, "--exclude", "*"),
                 ("inspect", path, "--stats"), ("verify", path, "--against", path, "-s", "0")]:
        assert 'record "data/1": its CRC-32 is' in fails(3, *args)
    assert not out.exists()


def test_older_files_and_programs_are_refused(save, tmp_path):
    legacy = save({"w": torch.ones(2, 2)}, "old.pt", _use_new_zipfile_serialization=False)
    assert "the format before torch 1.6; save it again with torch.save(torch.load(" in fails(
        3, "inspect", legacy)
    script = tmp_path / "script.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(script)
    assert "TorchScript" in fails(3, "prune", script, "-o", tmp_path / "out.pt")
