"""torch.ops.winnow.*: masks against the reference and the golden cases, and torch's own checks."""

import random
import threading
import time

import numpy
import pytest
import torch

import reference
import torchwinnow
from golden import GOLDEN, data_of, expected_of, large_data, large_mask, settings_of
from torchwinnow import _ops

OPS = torch.ops.winnow
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
SETTINGS = (0.5, [1, 4], None, "L1")


def reference_mask(data, level, block, zeros, norm):
    values = data.detach()
    values = values.float() if values.dtype is torch.bfloat16 else values
    mask = reference.mask(
        values.contiguous().numpy(), level=level, block=tuple(block), zeros=zeros, norm=norm.lower()
    )
    return torch.from_numpy(mask.astype(numpy.int8))


@pytest.mark.filterwarnings("ignore:sparsity_level = ")
@pytest.mark.parametrize("case", GOLDEN["mask_cases"], ids=lambda case: case["id"])
def test_golden_masks(case):
    expected = expected_of(case)
    if "error" in expected:
        with pytest.raises(ValueError):
            torchwinnow.compute_mask(data_of(case), *settings_of(case))
        return
    data = data_of(case)
    mask = torchwinnow.compute_mask(data, *settings_of(case))
    assert mask.dtype is torch.int8 and mask.is_contiguous()
    assert mask.shape == data.shape
    assert mask.flatten().tolist() == expected["mask"]
    written = torch.full_like(mask, 7)
    level, block, zeros, norm = settings_of(case)
    _ops.compute_masks_([written], [data], [level], block, [zeros], norm)
    assert torch.equal(written, mask)
    pruned = torchwinnow.prune_(data.clone(), *settings_of(case))
    torch.testing.assert_close(
        pruned, torch.where(mask == 0, torch.zeros_like(data), data), equal_nan=True, rtol=0, atol=0
    )
    assert not torch.signbit(pruned[mask == 0]).any()


@pytest.mark.parametrize("case", GOLDEN["large_cases"], ids=lambda case: case["id"])
def test_golden_masks_of_the_large_cases(case):
    mask = torchwinnow.compute_mask(large_data(), *settings_of(case))
    assert mask.flatten().tolist() == large_mask(case)


def test_golden_rounding():
    for case in GOLDEN["rounding"]:
        data = torch.arange(1.0, case["num_blocks"] + 1).reshape(-1, 1)
        mask = torchwinnow.compute_mask(data, case["level"], (1, 1))
        assert (mask == 0).sum() == case["zeroed_blocks"], case


def layouts(generator, dtype):
    """Tensors of one dtype, laid out in every way that the operators tell apart."""

    def values(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    wide = values(14, 40)
    yield "contiguous", values(13, 22)
    yield "rows with gaps", wide[:, :31]
    yield "every other row", wide[::2]
    yield "transposed", values(19, 14).t()
    yield "every other column", wide[:, ::2]
    yield "expanded", values(1, 17).expand(9, 17)
    yield "three dimensions", values(3, 4, 6)
    yield "permuted", values(3, 4, 6).permute(2, 0, 1)
    yield "sliced in the middle", values(5, 4, 6)[:, 1:3]
    yield "one dimension", values(23)
    yield "no dimension", values(1)[0]
    yield "ones in the shape", values(1, 6, 1, 8, 1)
    yield "empty", values(0, 4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masks_of_all_layouts_equal_the_reference(dtype):
    generator = torch.Generator().manual_seed(3)
    choose = random.Random(3)
    for name, data in layouts(generator, dtype):
        for _ in range(4):
            block = [choose.randint(1, 4), choose.randint(1, 5)]
            zeros = choose.choice([None, choose.randint(0, block[0] * block[1])])
            settings = (choose.random(), block, zeros, choose.choice(["L1", "L2"]))
            if data.numel() == 0:
                assert torchwinnow.compute_mask(data, *settings).shape == data.shape
                continue
            expected = reference_mask(data, *settings)
            mask = torchwinnow.compute_mask(data, *settings)
            assert torch.equal(mask, expected), (name, settings)
            if name == "expanded":
                continue
            pruned, original = data, data.clone()
            if name in ("rows with gaps", "every other row", "every other column"):
                pruned = torch.empty_strided(data.size(), data.stride(), dtype=dtype).copy_(data)
            else:
                pruned = data.clone(memory_format=torch.preserve_format)
            assert torchwinnow.prune_(pruned, *settings) is pruned
            assert torch.equal(pruned, torch.where(mask == 0, torch.zeros_like(original), original))


def test_large_strided_tensors_are_read_in_pieces():
    data = torch.randn(600, 5000, generator=torch.Generator().manual_seed(4)).t()  # 12 MB
    for block, zeros in (([1, 4], None), ([3, 2], 4), ([7000, 1], None)):
        mask = torchwinnow.compute_mask(data, 0.7, block, zeros)
        assert torch.equal(mask, torchwinnow.compute_mask(data.contiguous(), 0.7, block, zeros))


def test_threads_do_not_change_a_mask():
    data = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(5))
    threads = torch.get_num_threads()
    masks = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            masks.append(torchwinnow.compute_mask(data, 0.3, (2, 3), 5))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("zeros, norm", [(None, "L1"), (3, "L2")])
def test_one_budget_over_tensors_of_all_layouts_equals_the_reference(zeros, norm):
    data = [each for _, each in layouts(torch.Generator().manual_seed(9), torch.float32)]
    masks = [torch.full(each.shape, 5, dtype=torch.int8) for each in data]
    _ops.compute_global_masks_(masks, data, 0.6, (2, 3), zeros, norm)
    expected = reference.masks(
        [each.contiguous().numpy() for each in data], 0.6, (2, 3), zeros, norm.lower())
    for mask, wanted in zip(masks, expected):
        assert torch.equal(mask, torch.from_numpy(wanted).to(torch.int8))


def test_one_budget_is_refused_whole():
    data, masks = [torch.randn(4, 4), torch.randn(4, 4)], [torch.full((4, 4), 5, dtype=torch.int8)] * 2
    for wrong, text in [(dict(masks=masks), "memory of its own"), (dict(data=data[:1]), "as many data"),
                        (dict(norm="L3"), "norm: expected 'L1' or 'L2', found 'L3'"),
                        (dict(zeros=5), "zeros_per_block: expected at most 4"),
                        (dict(block=(0, 4)), "sparse_block_shape: expected sides of at least 1")]:
        call = {"masks": [masks[0], masks[0].clone()], "data": data, "level": 0.5, "block": (1, 4),
                "zeros": None, "norm": "L1", **wrong}
        with pytest.raises(ValueError, match=text):
            _ops.compute_global_masks_(*call.values())
        assert all(mask.eq(5).all() for mask in call["masks"])


def test_many_masks_in_one_call():
    generator = torch.Generator().manual_seed(6)
    data = [torch.randn(7 + i, 9, generator=generator).to(DTYPES[i % 4]) for i in range(12)]
    masks = [torch.full(each.shape, 5, dtype=torch.int8) for each in data]
    levels = [i / 11 for i in range(12)]
    blocks = [side for i in range(12) for side in (1 + i % 3, 1 + i % 4)]
    zeros = [-1 if i % 2 else (1 + i % 3) * (1 + i % 4) // 2 for i in range(12)]
    versions = [mask._version for mask in masks]
    _ops.compute_masks_(masks, data, levels, blocks, zeros, "L2")
    for i, mask in enumerate(masks):
        settings = (levels[i], blocks[2 * i : 2 * i + 2], None if i % 2 else zeros[i], "L2")
        assert torch.equal(mask, torchwinnow.compute_mask(data[i], *settings))
    assert all(mask._version > version for mask, version in zip(masks, versions))
    _ops.compute_masks_([], [], [], [], [], "L1")
    OPS.compute_masks_([], [], [], [], [], "L1")


def bad_lists():
    data, mask = torch.randn(4, 4), torch.zeros(4, 4, dtype=torch.int8)
    both = torch.zeros(32, dtype=torch.int8)
    good = dict(masks=[mask], data=[data], levels=[0.5], blocks=[1, 4], zeros=[-1], norm="L1")
    yield "a count", {**good, "levels": [0.5, 0.5]}
    yield "a block's side", {**good, "blocks": [0, 4]}
    yield "zeros", {**good, "zeros": [5]}
    yield "negative zeros", {**good, "zeros": [-2]}
    yield "a norm", {**good, "norm": "L3"}
    yield "a level", {**good, "levels": [float("inf")]}
    yield "the mask's dtype", {**good, "masks": [mask.bool()]}
    yield "the mask's shape", {**good, "masks": [mask.view(16)]}
    yield "the mask's strides", {**good, "masks": [torch.zeros(4, 8, dtype=torch.int8)[:, ::2]]}
    yield "the data's dtype", {**good, "data": [data.int()]}
    yield "masks that overlap", dict(
        masks=[both[:16].view(4, 4), both[8:24].view(4, 4)], data=[data, data.clone()],
        levels=[0.5, 0.5], blocks=[1, 4, 1, 4], zeros=[-1, -1], norm="L1",
    )
    bytes_ = torch.zeros(16, dtype=torch.float32)
    yield "a mask in its data", {
        **good, "data": [bytes_.view(4, 4)], "masks": [bytes_.view(torch.int8)[:16].view(4, 4)]
    }


@pytest.mark.parametrize("bad", [pytest.param(bad, id=name) for name, bad in bad_lists()])
def test_nothing_is_written_where_one_of_many_is_refused(bad):
    first = torch.full((2, 2), 9, dtype=torch.int8)
    with pytest.raises(ValueError):
        _ops.compute_masks_(
            [first, *bad["masks"]], [torch.randn(2, 2), *bad["data"]], [0.5, *bad["levels"]],
            [1, 1, *bad["blocks"]], [-1, *bad["zeros"]], bad["norm"],
        )
    assert (first == 9).all()


@pytest.mark.parametrize(
    "arguments, error",
    [
        ((torch.ones(4, dtype=torch.int32),), ValueError),
        ((torch.ones(4, dtype=torch.complex64),), ValueError),
        ((torch.ones(4, 4).to_sparse(),), ValueError),
        (("text",), TypeError),
        ((None,), TypeError),
        ((torch.ones(4), "0.5"), TypeError),
        ((torch.ones(4), None), TypeError),
        ((torch.ones(4), float("nan")), ValueError),
        ((torch.ones(4), 0.5, 4), TypeError),
        ((torch.ones(4), 0.5, (1,)), ValueError),
        ((torch.ones(4), 0.5, (1, 0)), ValueError),
        ((torch.ones(4), 0.5, (1, 1.5)), TypeError),
        ((torch.ones(4), 0.5, (1, 4), 5), ValueError),
        ((torch.ones(4), 0.5, (1, 4), -1), ValueError),
        ((torch.ones(4), 0.5, (1, 4), None, "L3"), ValueError),
        ((torch.ones(4), 0.5, (1, 4), None, 1), TypeError),
    ],
)
def test_errors_are_those_of_python(arguments, error):
    for function in (torchwinnow.compute_mask, torchwinnow.prune_):
        with pytest.raises(error) as caught:
            function(*arguments)
        assert type(caught.value) is error


def test_expanded_tensors_are_not_written():
    expanded = torch.randn(1, 4).expand(3, 4)
    with pytest.raises(ValueError, match="a place of its own"):
        torchwinnow.prune_(expanded)
    with pytest.raises(ValueError, match="a place of its own"):
        torchwinnow.apply_mask_(expanded, torch.ones(3, 4))


def test_apply_mask_writes_plus_zero_and_keeps_all_other_bits():
    data = torch.tensor([[-1.0, float("nan"), float("inf"), -0.0], [2.0, -3.0, float("nan"), 1.0]])
    mask = torch.tensor([[0, 0, 0, 1], [1, 0, 1, 1]])
    for kind in (torch.int8, torch.bool, torch.float32, torch.int64):
        pruned = data.clone()
        assert torchwinnow.apply_mask_(pruned, mask.to(kind)) is pruned
        kept = torch.where(mask == 0, torch.zeros_like(data), data)
        assert torch.equal(pruned.view(torch.int32), kept.view(torch.int32))
    columns = data.t().contiguous().t()
    torchwinnow.apply_mask_(columns, mask.t().contiguous().t())
    assert torch.equal(columns.view(torch.int32), kept.view(torch.int32))
    for bad in (mask[:1], torch.ones(8)):
        with pytest.raises(ValueError, match="shape"):
            torchwinnow.apply_mask_(data, bad)
    with pytest.raises(TypeError):
        torchwinnow.apply_mask_(data, [[1]])


def test_views_share_what_is_pruned():
    base = torch.arange(1.0, 33.0).reshape(4, 8)
    torchwinnow.prune_(base[1:3, 2:6], 0.5, (1, 2))
    expected = torch.arange(1.0, 33.0).reshape(4, 8)
    expected[1, 2:6] = 0
    assert torch.equal(base, expected)


def test_parameters_are_pruned_and_autograd_notices():
    parameter = torch.nn.Parameter(torch.randn(4, 4))
    squared = (parameter * parameter).sum()
    version = parameter._version
    torchwinnow.prune_(parameter)
    assert parameter._version == version + 1
    assert parameter.requires_grad and parameter.is_leaf and parameter.grad_fn is None
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        squared.backward()
    assert not torchwinnow.compute_mask(parameter).requires_grad
    parameter.sum().backward()
    assert torch.equal(parameter.grad, torch.ones(4, 4))


@pytest.mark.parametrize("computed", [lambda x: x * 1, lambda x: x[1:], lambda x: x.view(16)])
def test_what_is_computed_under_gradients_is_not_written(computed):
    leaf = torch.nn.Parameter(torch.ones(4, 4))
    data = computed(leaf)
    for call in (torchwinnow.prune_, lambda each: torchwinnow.apply_mask_(each, torch.zeros_like(each))):
        with pytest.raises(ValueError, match="pass a leaf, or .detach()"):
            call(data)
        assert leaf.all() and data.all()
    torchwinnow.prune_(computed(leaf).detach())
    assert torchwinnow.compute_mask(data).shape == data.shape
    with torch.no_grad():
        torchwinnow.prune_(data)
    assert not data.all()


def test_inference_tensors():
    with torch.inference_mode():
        data = torch.randn(4, 4)
        torchwinnow.prune_(data)
        mask = torchwinnow.compute_mask(data)
    torchwinnow.prune_(data, 1.0)
    assert (data == 0).all()
    _ops.compute_masks_([mask], [data], [0.0], [1, 1], [-1], "L1")
    assert (mask == 1).all()


def test_lazy_signs_are_resolved():
    complex_ = torch.complex(torch.zeros(4, 4), torch.randn(4, 4))
    negative = complex_.conj().imag
    assert negative.is_neg()
    assert torch.equal(torchwinnow.compute_mask(negative), torchwinnow.compute_mask(complex_.imag))


def test_other_devices_go_by_a_copy():
    data = torch.randn(6, 8)
    assert torch.equal(_ops._by_copy("compute_mask")(data, *SETTINGS), OPS.compute_mask(data, *SETTINGS))
    masks = [torch.empty(6, 8, dtype=torch.int8)]
    _ops._masks_by_copy("compute_masks_")(masks, [data], [0.5], [1, 4], [-1], "L1")
    assert torch.equal(masks[0], OPS.compute_mask(data, *SETTINGS))
    masks[0].fill_(5)
    _ops._masks_by_copy("compute_global_masks_")(masks, [data], *SETTINGS)
    assert torch.equal(masks[0], OPS.compute_mask(data, *SETTINGS))
    expected, pruned, applied = (data.clone() for _ in range(3))
    OPS.prune_(expected, *SETTINGS)
    _ops._by_copy("prune_")(pruned.requires_grad_(), *SETTINGS)
    _ops._by_copy("apply_mask_")(applied, masks[0])
    assert torch.equal(pruned.detach(), expected) and torch.equal(applied, expected)
    meta = torchwinnow.compute_mask(data.to("meta"))
    assert meta.device.type == "meta" and meta.shape == data.shape and meta.dtype is torch.int8


def sample_calls():
    data = torch.randn(6, 8)
    mask = torch.ones(6, 8, dtype=torch.int8)
    lists = ([mask.clone(), mask.clone()], [data, data.clone()], [0.5, 0.2], [1, 4, 2, 2], [-1, 1], "L1")
    yield OPS.compute_mask.default, (data, *SETTINGS)
    yield OPS.compute_mask.default, (data.clone().requires_grad_(), *SETTINGS)
    yield OPS.compute_mask.default, (data.t(), 0.3, [2, 2], 3, "L2")
    yield OPS.compute_masks_.default, lists
    yield OPS.compute_global_masks_.default, (lists[0], [data, data.clone()], *SETTINGS)
    yield OPS.prune_.default, (data.clone(), *SETTINGS)
    yield OPS.prune_.default, (data.clone().requires_grad_(), *SETTINGS)
    yield OPS.apply_mask_.default, (data.clone(), mask)
    yield OPS.quantize_rows.default, (data, "exact")
    yield OPS.requantize_rows.default, (data, torch.ones(6), torch.zeros(6))


@pytest.mark.parametrize(
    "operator, arguments",
    [pytest.param(*call, id=f"{i}-{call[0].name()}") for i, call in enumerate(sample_calls())],
)
def test_torch_finds_the_operators_registered_rightly(operator, arguments):
    torch.library.opcheck(operator, arguments)


def prune_and_mask(weight):
    weight = weight * 2
    torchwinnow.prune_(weight, 0.5, (1, 2))
    return torchwinnow.compute_mask(weight, 0.75, (2, 2), 3, "L2"), weight


class PruneAndMask(torch.nn.Module):
    def forward(self, weight):
        return prune_and_mask(weight)


def test_torch_compile_takes_them_in_one_graph():
    data = torch.randn(6, 8)
    compiled = torch.compile(prune_and_mask, fullgraph=True, backend="aot_eager")
    for expected, found in zip(prune_and_mask(data), compiled(data)):
        assert torch.equal(expected, found)


def test_torch_compile_writes_into_its_input():
    def prune(weight, masks):
        torchwinnow.prune_(weight)
        _ops.compute_masks_(masks, [weight], [0.5], [1, 4], [-1], "L1")

    data, mask = torch.randn(4, 4), torch.empty(4, 4, dtype=torch.int8)
    pruned = torchwinnow.prune_(data.clone())
    torch.compile(prune, fullgraph=True, backend="aot_eager")(data, [mask])
    assert torch.equal(data, pruned)
    assert torch.equal(mask, torchwinnow.compute_mask(pruned))


def test_torch_export_takes_them():
    data = torch.randn(6, 8)
    rows = torch.export.Dim("rows", min=2, max=100)
    program = torch.export.export(PruneAndMask(), (data,), dynamic_shapes=({0: rows},))
    targets = {node.target for node in program.graph.nodes if node.op == "call_function"}
    assert OPS.compute_mask.default in targets and OPS.prune_.default in targets
    for size in (6, 9):
        data = torch.randn(size, 8)
        for expected, found in zip(prune_and_mask(data), program.module()(data)):
            assert torch.equal(expected, found)


@pytest.mark.parametrize("call", ["compute_mask", "prune_"])
def test_other_threads_run_during_a_call(call):
    data = torch.randn(3000, 4000)
    stop, ticks = threading.Event(), 0

    def tick():
        nonlocal ticks
        while not stop.is_set():
            ticks += 1
            time.sleep(0.0002)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        longest = 0
        for _ in range(5):
            before = ticks
            getattr(torchwinnow, call)(data, 0.5, (3, 5), 7)
            longest = max(longest, ticks - before)
    finally:
        stop.set()
        thread.join()
    assert longest >= 3


def lazy_views(dtype=torch.float32):
    """Views whose signs are turned when they are read, and the tensors that they are views of."""
    whole = torch.randn(4, 8, generator=torch.Generator().manual_seed(2)).to(dtype)
    yield torch._neg_view(whole), whole
    if dtype in (torch.float32, torch.float64):
        whole = torch.complex(whole, whole.flip(1))
        yield whole.conj().imag, whole.imag
        yield whole.conj().imag.t()[::2], whole.imag.t()[::2]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("call", [torchwinnow.prune_, OPS.prune_], ids=["function", "operator"])
def test_views_with_a_lazy_sign_are_pruned(dtype, call):
    for view, base in lazy_views(dtype):
        values = view.clone().resolve_neg()
        expected = torchwinnow.prune_(values.clone(), *SETTINGS)
        version = view._version
        call(view, *SETTINGS)
        assert view.is_neg() and view._version > version
        pruned = view.resolve_neg().contiguous()
        assert torch.equal(pruned.view(torch.uint8), expected.contiguous().view(torch.uint8))
        assert torch.equal(base, -expected)


def test_masks_of_views_with_a_lazy_sign_are_applied():
    for view, _ in lazy_views():
        mask = torchwinnow.compute_mask(view, *SETTINGS)
        kept = view.clone()
        torchwinnow.apply_mask_(view, mask)
        assert torch.equal(view, torch.where(mask == 0, torch.zeros_like(kept), kept))
        with pytest.raises(ValueError, match="mask: expected shape"):
            torchwinnow.apply_mask_(view, mask[:1])
    plain, mask = torch.ones(4, 8), torch._neg_view(-torch.eye(4, 8, dtype=torch.int8))
    assert torch.equal(torchwinnow.apply_mask_(plain, mask), torch.eye(4, 8))
    plain.fill_(1)
    assert torch.equal(torchwinnow.apply_mask_(plain, mask.float()), torch.eye(4, 8))


@pytest.mark.parametrize("call", [
    torchwinnow.prune_, lambda x: torchwinnow.apply_mask_(x, torch.ones(4, 8)),
    lambda x: OPS.prune_(x, *SETTINGS), lambda x: OPS.apply_mask_(x, torch.ones(4, 8).char()),
])
def test_what_cannot_be_written_to_is_refused_in_plain_words(call):
    with pytest.raises(ValueError, match="a zero tensor has no memory"):
        call(torch._efficientzerotensor((4, 8)))
    with pytest.raises(ValueError, match="expected dtype float32.*found.*[Cc]omplex"):
        call(torch.randn(4, 8, dtype=torch.complex64).conj())


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e8m0fnu", "float4_e2m1fn_x2", "complex64",
                                  "int32", "bool", "bits8"])
def test_other_dtypes_are_refused_in_plain_words(name):
    data = torch.zeros(4, 32, dtype=torch.uint8).view(getattr(torch, name))
    text = f"data: expected dtype float32, float64, float16 or bfloat16, found torch.{name}$"
    mask, fake = torch.ones(data.shape, dtype=torch.int8), torch._subclasses.FakeTensorMode()
    for tensor in (data, data.to("meta"), fake.from_tensor(data)):
        with pytest.raises(ValueError, match=text):
            torchwinnow.compute_mask(tensor)
        with pytest.raises(ValueError, match=text):
            torchwinnow.prune_(tensor)
        with pytest.raises(ValueError, match=text):
            torchwinnow.apply_mask_(tensor, mask)
    with pytest.raises(ValueError, match=text.replace("data", r"data\[0\]")):
        _ops.compute_masks_([mask], [data], [0.5], [1, 4], [-1], "L1")
    for call in (OPS.compute_mask, OPS.prune_):  # through the operators' own fake kernels
        with pytest.raises(ValueError, match=text):
            call(fake.from_tensor(data), *SETTINGS)


@pytest.mark.parametrize("make", [torch.ones, numpy.ones], ids=["tensors", "arrays"])
@pytest.mark.parametrize("level, text", [(90, "write 0.9 for 90 %"), (-0.1, "drops nothing")])
def test_levels_that_are_no_shares_are_warned_of(make, level, text):
    for call in (torchwinnow.compute_mask, torchwinnow.prune_):
        with pytest.warns(UserWarning, match=text) as seen:
            call(make((4, 4)), level)
        assert seen[0].filename == __file__
    with pytest.raises(TypeError, match="found the string '0.5'"):
        torchwinnow.prune_(make((4, 4)), "0.5")


def test_masks_of_inference_mode_are_written_in_any_mode():
    data = torch.randn(4, 8, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        mask, view = torch.ones(4, 8, dtype=torch.int8), data.clone()
    for mode in (False, True):
        with torch.inference_mode(mode):
            _ops.compute_masks_([mask], [view], [0.5], [1, 4], [-1], "L1")
        assert torch.equal(mask, torchwinnow.compute_mask(data))
