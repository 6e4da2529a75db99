"""squash_mask writes into the memory that the caller gave, or refuses before it writes anything."""

import multiprocessing
import subprocess
import sys

import numpy
import pytest
import torch
from torch import nn

import torchwinnow
from sparsifiers import Doubled, FirstRow, counting
from torchwinnow import _memory
from torchwinnow.data_sparsifier import DataNormSparsifier
from torchwinnow.data_sparsifier._squash import shares_places


def squashed(*data, **config):
    sparsifier = FirstRow()
    for index, each in enumerate(data):
        sparsifier.add_data(f"d{index}", each, **config)
    sparsifier.step()
    sparsifier.squash_mask()
    return sparsifier


@pytest.mark.parametrize("config", [{}, {"parametrization": Doubled}], ids=["mask", "own"])
def test_what_shares_the_memory_is_sparse_too(config):
    factor = 2 if config else 1
    flat = torch.ones(24)
    squashed(flat[:12].view(3, 4), flat[12:].view(4, 3), **config)
    assert flat.tolist() == [0.0] * 4 + [factor] * 8 + [0.0] * 3 + [factor] * 9
    fused = torch.ones(9, 3)
    squashed(*fused.chunk(3), **config)
    assert fused[::3].eq(0).all() and fused.count_nonzero() == 18
    array = numpy.ones((3, 4), "float32")
    squashed(torch.from_numpy(array), **config)
    assert not array[0].any() and (array[1:] == factor).all()
    table, head = nn.Embedding(5, 3), nn.Linear(3, 5)
    head.weight.data = table.weight.data
    squashed(table, **config)
    assert head.weight.data_ptr() == table.weight.data_ptr() and head.weight[0].eq(0).all()


def first_row(weight, answers):
    answers.put(weight[0].tolist())


def test_other_processes_see_the_zeros():
    table = nn.Embedding(4, 3).share_memory()
    squashed(table)
    assert table.weight.is_shared()
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    other = context.Process(target=first_row, args=(table.weight.detach(), answers))
    other.start()
    assert answers.get(timeout=60) == [0, 0, 0]
    other.join()


def test_some_names_are_written_and_others_are_not():
    flat = torch.ones(2, 3, 3)
    sparsifier = FirstRow([("a", flat[0]), ("b", flat[1])])
    sparsifier.step()
    sparsifier.squash_mask(names="b")
    assert flat[0].eq(1).all() and flat[1, 0].eq(0).all()
    sparsifier.squash_mask(names="a", leave_parametrized=False)
    assert flat[0].eq(1).all()


def test_leaves_and_views_of_leaves_may_be_squashed_and_stale_graphs_fail():
    for view in (lambda x: x, lambda x: x[:2], lambda x: x.split(2)[1], lambda x: x.unbind()[0][None]):
        leaf = nn.Parameter(torch.ones(4, 3))
        data = view(leaf)
        loss = leaf.square().sum()
        squashed(data)
        with torch.no_grad():
            assert data[0].eq(0).all()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.parametrize("leave", [True, False])
def test_the_values_are_those_of_the_product(leave):
    values = torch.tensor([[1.0, -1.0, float("nan"), float("inf")], [-2.0, 2.0, -0.0, 3.0]])
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        data = values.to(dtype)
        sparsifier = FirstRow([("x", data)])
        sparsifier.step()
        expected = sparsifier.get_data("x", return_original=False) if leave else data.clone()
        sparsifier.squash_mask(leave_parametrized=leave)
        assert torch.equal(data.view(torch.uint8), expected.view(torch.uint8))
        assert data.signbit()[0, 1] and data[0, 2:].isnan().all() == leave


def test_views_with_a_lazy_sign_are_squashed():
    whole = torch.complex(counting(2, 3), -counting(2, 3))
    squashed(whole.conj().imag, whole.real)
    assert whole[0].eq(0).all() and torch.equal(whole[1].imag, -counting(2, 3)[1])


OVERLAPPING = {
    "expanded": lambda: torch.ones(1, 4).expand(3, 4),
    "windows": lambda: torch.ones(8).unfold(0, 4, 2),
    "one place twice": lambda: torch.ones(9).as_strided((3, 3), (2, 2)),
    "too hard for torch": lambda: torch.ones(22).as_strided((3, 4), (6, 3)),
}


@pytest.mark.parametrize("make", OVERLAPPING.values(), ids=OVERLAPPING)
def test_data_that_cannot_be_written_to_are_refused(make):
    good, bad = torch.ones(3, 4), make()
    sparsifier = FirstRow([("good", good), ("bad", bad)])
    sparsifier.step()
    with pytest.raises(ValueError, match="'bad' have several values in one place"):
        sparsifier.squash_mask()
    assert good.eq(1).all() and sparsifier.get_data("good") is good
    sparsifier.squash_mask(names="bad", leave_parametrized=False)
    sparsifier.squash_mask(names="good")
    assert good[0].eq(0).all() and bad.eq(1).all()


def test_views_without_overlap_are_told_from_those_with():
    for sizes, strides, expected in [
        ((2, 3), (3, 2), False), ((3, 2), (2, 3), False), ((3, 3), (2, 3), False), ((4, 3), (2, 3), True),
        ((2, 2), (1, 1), True), ((1, 5), (0, 1), False), ((5, 1), (0, 7), True), ((0, 4), (0, 0), False),
        ((2, 2, 2), (1, 2, 4), False), ((2, 2, 2), (1, 3, 4), True), ((), (), False),
    ]:
        tensor = torch.zeros(64).as_strided(sizes, strides)
        places = [sum(i * s for i, s in zip(index, strides)) for index in numpy.ndindex(*sizes)]
        assert (len(set(places)) < len(places)) == expected == shares_places(tensor), (sizes, strides)


def test_a_file_that_is_mapped_for_reading_is_refused(tmp_path):
    path = tmp_path / "table.bin"
    path.write_bytes(numpy.ones(12, "float32").tobytes())
    good, array = torch.ones(3, 4), numpy.memmap(path, "float32", "r", shape=(3, 4))
    with pytest.warns(UserWarning, match="not writable"):
        mapped = torch.from_numpy(array)
    sparsifier = FirstRow([("good", good), ("mapped", mapped)])
    sparsifier.step()
    with pytest.raises(ValueError, match="'mapped' lie in memory that is read-only"):
        sparsifier.squash_mask()
    assert good.eq(1).all() and sparsifier.get_data("mapped") is mapped
    private = torch.from_numpy(numpy.memmap(path, "float32", "c", shape=(3, 4)))
    squashed(private)
    assert private[0].eq(0).all()


def test_names_that_share_memory_drop_what_any_of_them_drops():
    weight = counting(4, 4)
    sparsifier = DataNormSparsifier(sparsity_level=0.25)
    sparsifier.add_data("whole", weight)
    sparsifier.add_data("again", weight, sparse_block_shape=(4, 1))
    sparsifier.add_data("end", weight[2:], sparsity_level=0.5)
    sparsifier.step()
    assert sparsifier.get_data("again") is weight
    sparsifier.squash_mask()
    assert weight.tolist() == [[0, 0, 0, 0], [0, 6, 7, 8], [0, 0, 0, 0], [0, 14, 15, 16]]


def test_a_parametrization_that_changes_the_shape_squashes_nothing():
    class Shrinking(Doubled):
        wide = True

        def forward(self, x):
            return super().forward(x) if self.wide else super().forward(x)[1:]

    good, bad = torch.ones(2, 2), torch.ones(2, 2)
    sparsifier = FirstRow([("good", good)])
    sparsifier.add_data("bad", bad, parametrization=Shrinking)
    sparsifier.step()
    sparsifier._container.parametrizations.bad[0].wide = False
    with pytest.raises(ValueError, match=r"parametrization of 'bad' gives \(1, 2\)"):
        sparsifier.squash_mask()
    assert good.eq(1).all() and bad.eq(1).all()


@pytest.mark.parametrize("shape", [(3_000_000,), (1, 1, 1_100_000), (2, 600_000), (1100, 1000)])
def test_large_data_are_squashed_in_pieces(shape):
    data = torch.randn(shape[::-1]).permute(*reversed(range(len(shape))))
    sparsifier = DataNormSparsifier([("x", data)], sparsity_level=0.7)
    sparsifier.step()
    expected = sparsifier.get_data("x", return_original=False)
    sparsifier.squash_mask()
    assert torch.equal(data.contiguous().view(torch.uint8), expected.contiguous().view(torch.uint8))


def test_formats_of_memory_stay():
    values = torch.randn(16, 8, 3, 3)
    for weight in (values.clone(), nn.Parameter(values.to(memory_format=torch.channels_last))):
        strides = weight.stride()
        sparsifier = DataNormSparsifier([("x", weight)], sparsity_level=0.7)
        sparsifier.step()
        sparsifier.squash_mask()
        assert sparsifier.get_data("x", return_original=False) is weight and weight.stride() == strides
        assert torch.equal(weight, values * torchwinnow.compute_mask(values, 0.7))


WRITES = """
import sys, warnings
import numpy, torch, torchwinnow
from torchwinnow import DataNormSparsifier, _memory

warnings.filterwarnings("ignore")
if sys.argv[2] == "no madvise":
    _memory._madvise = lambda: None
elif sys.argv[2] == "no madvise that knows it":
    _memory._madvise = lambda: lambda *_: -1
good = torch.from_numpy(numpy.load(sys.argv[1]))
mapped = torch.from_numpy(numpy.load(sys.argv[1], mmap_mode="r"))
sparsifier = DataNormSparsifier([("good", good), ("mapped", mapped)])
sparsifier.step()
mask = torch.zeros(64, 64, dtype=torch.int8)
refused = 0
for call in (
    lambda: torchwinnow.prune_(mapped),
    lambda: torchwinnow.prune_(torch.nn.Parameter(mapped)[3:].detach()),
    lambda: torchwinnow.apply_mask_(mapped, mask),
    lambda: torchwinnow.prune_(mapped.numpy()),
    lambda: torchwinnow.apply_mask_(mapped.numpy()[::-1], mask.numpy()),
    sparsifier.squash_mask,
):
    try:
        call()
    except ValueError as error:
        assert "read-only" in str(error), error
        refused += 1
assert good.eq(1).all() and mapped.eq(1).all()
torchwinnow.prune_(good)
torchwinnow.prune_(torch.from_numpy(numpy.load(sys.argv[1], mmap_mode="c")))
print(refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells")
@pytest.mark.parametrize("system", ["madvise", "no madvise", "no madvise that knows it"])
def test_a_write_to_a_file_that_is_mapped_for_reading_does_not_end_the_process(tmp_path, system):
    numpy.save(tmp_path / "a.npy", numpy.ones((64, 64), "float32"))
    command = [sys.executable, "-c", WRITES, str(tmp_path / "a.npy"), system]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr
    assert numpy.load(tmp_path / "a.npy").all()


def test_memory_of_torchs_own_is_not_asked_about(monkeypatch):
    monkeypatch.setattr(_memory, "_is_writable", None)
    torchwinnow.prune_(nn.Parameter(torch.ones(8, 8)))
    torchwinnow.prune_(numpy.ones((8, 8), "float32")[::-1])
    squashed(torch.ones(8, 8)[2:])


def test_ranges_of_arrays_are_those_of_their_values(tmp_path):
    numpy.ones(24, "float32").tofile(tmp_path / "a")
    array = numpy.memmap(tmp_path / "a", "float32", "c", shape=(4, 6))
    begin = array.ctypes.data
    assert _memory.array_range(array) == (begin, begin + 96)
    assert _memory.array_range(array[::-1, 1:3]) == (begin + 4, begin + 84)
    assert _memory.array_range(array[:0]) is None
    tensor = torch.from_numpy(array)
    assert _memory.tensor_range(tensor[1:, ::2]) == (begin + 24, begin + 92)
    assert _memory.tensor_range(tensor[:0]) is None
    assert _memory.tensor_range(torch.ones(3).to_sparse()) is None
