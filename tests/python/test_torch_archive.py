"""Our reader and writer of torch archives against torch itself.

What torch.save writes, we read as the same values; what we write, torch.load(weights_only=True)
reads, also mapped. What is not plain data we refuse. test_torch_archive_mutants.py has files that
are damaged.
"""

import collections
import struct
import zipfile

import pytest

torch = pytest.importorskip("torch")

from torch_archives import (CASES, copy, describe, dump, load, shared_values,  # noqa: E402
                            views, without_storages)


@pytest.fixture(params=CASES)
def saved(request, tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "case.pt"
    torch.save(CASES[request.param](), path)
    return path


def test_we_read_what_torch_saves(saved):
    assert without_storages(dump(saved)) == describe(load(saved))


def test_torch_loads_what_we_write(saved, tmp_path):
    target = tmp_path / "copy.pt"
    copy(saved, target)
    expected = describe(load(saved))
    assert describe(load(target)) == expected
    assert describe(load(target, mmap=True)) == expected
    assert without_storages(dump(target)) == expected


def test_pythons_zipfile_finds_our_files_whole(saved, tmp_path):
    target = tmp_path / "copy.pt"
    copy(saved, target)
    with zipfile.ZipFile(target) as file:
        assert file.testzip() is None
        ends = [info.header_offset + len(info.FileHeader()) for info in file.infolist()]
        assert ends == sorted(ends)
        names = [name.removeprefix("archive/") for name in file.namelist()]
    with zipfile.ZipFile(saved) as file:
        assert names == [name.split("/", 1)[1] for name in file.namelist()]


def test_writing_is_deterministic(saved, tmp_path):
    first, second = tmp_path / "1.pt", tmp_path / "2.pt"
    copy(saved, first)
    copy(first, second)
    assert first.read_bytes() == second.read_bytes()


def test_payloads_are_aligned_to_64_bytes(saved, tmp_path):
    target = tmp_path / "copy.pt"
    copy(saved, target)
    with zipfile.ZipFile(target) as file:
        for info in file.infolist():
            header = target.read_bytes()[info.header_offset :][:30]
            name, extra = struct.unpack("<HH", header[26:])
            assert (info.header_offset + 30 + name + extra) % 64 == 0


def test_views_of_one_storage_stay_views(tmp_path):
    source, target = tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save(views()[:5], source)
    copy(source, target)
    loaded = load(target)
    assert len({t.untyped_storage().data_ptr() for t in loaded}) == 1


def test_shared_objects_stay_shared(tmp_path):
    source, target = tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save(shared_values(), source)
    copy(source, target)
    loaded = load(target)
    assert loaded["a"][2] is loaded["b"]
    assert loaded["c"][0] is loaded["c"][1]


REFUSED = {
    "legacy": (lambda path: torch.save({}, path, _use_new_zipfile_serialization=False),
               "LegacyArchive"),
    "script": (lambda path: torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path),
               "TorchScript"),
    "default dict": (lambda path: torch.save(collections.defaultdict(int), path), "PickleGlobal"),
    "module": (lambda path: torch.save(torch.nn.Linear(1, 1), path), "PickleGlobal"),
    "csr": (lambda path: torch.save(torch.eye(2).to_sparse_csr(), path), "SparseLayout"),
    "complex128": (lambda path: torch.save(torch.ones(1, dtype=torch.complex128), path),
                   "StorageDtype"),
    "quantized": (lambda path: torch.save(
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), path), "PickleGlobal"),
    "conjugate": (lambda path: torch.save(torch.ones(2, dtype=torch.complex64).conj(), path),
                  "PickleCall"),
    "float4": (lambda path: torch.save(
        torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), path), "StorageDtype"),
    "sparse index": (lambda path: torch.save(torch.sparse_coo_tensor(
        torch.tensor([[3]]), torch.ones(1), (3,), check_invariants=False), path), "SparseIndex"),
    "big integer": (lambda path: torch.save([2**63], path), "PickleInt"),
    "bytes": (lambda path: torch.save([b"x"], path), "PickleGlobal"),
    "tuple keys": (lambda path: torch.save({(1, 2): 3}, path), "PickleKey"),
    "uncoalesced": (lambda path: torch.save(torch.sparse_coo_tensor(
        torch.tensor([[1, 1]]), torch.ones(2), (3,)), path), "SparseDuplicate"),
    "protocol 4": (lambda path: torch.save({}, path, pickle_protocol=4), "PickleProtocol"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_plain_data_is_refused(what, tmp_path):
    save, code = REFUSED[what]
    path = tmp_path / "refused.pt"
    save(path)
    assert dump(path) == code


@pytest.fixture
def saved_without_checksums(tmp_path):
    path = tmp_path / "no_checksums.pt"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.randn(3, 4), "s": torch.eye(3).to_sparse(), "e": torch.empty(0)}, path)
    finally:
        torch.serialization.set_crc32_options(before)
    return path


def test_an_archive_without_checksums_is_read_only_where_that_is_allowed(saved_without_checksums):
    path = saved_without_checksums
    assert dump(path) == "NoChecksums"
    assert without_storages(dump(path, "--no-checksums")) == describe(load(path))
