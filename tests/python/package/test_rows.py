"""Rows as bytes: golden cases, and torch's own quantization."""

import pytest
import torch

import torchwinnow
from golden import GOLDEN
from torchwinnow import _ops


def dequantized(codes, scales, zero_points):
    return (codes.float() - zero_points[:, None]) * scales[:, None]


@pytest.mark.parametrize("case", GOLDEN["quant_cases"], ids=lambda case: case["id"])
def test_golden_codes(case):
    weight = torch.tensor(case["weight"]).reshape(case["shape"])
    if case["id"].endswith("sparsify_first"):
        torchwinnow.prune_(weight, case["level"], case["block"])
    codes, scales, zero_points = _ops.quantize_rows(weight, "upstream")
    if case["id"].endswith("quantize_first"):
        values = torchwinnow.prune_(
            dequantized(codes, scales, zero_points), case["level"], case["block"]
        )
        codes = _ops.requantize_rows(values, scales, zero_points)
    upstream = case["upstream"]
    assert codes.dtype is torch.uint8 and codes.flatten().tolist() == upstream["int_repr"]
    assert scales.tolist() == upstream["scales"]
    assert zero_points.tolist() == upstream["zero_points"]


def upstream_codes(weight):
    """By torch's own operators, as torch.ao's observer and quantizer call them."""
    low, high = weight.aminmax(dim=1)
    scales = (high - low) / 255
    scales[scales <= torch.finfo(torch.float32).eps] = 1
    zero_points = -low / scales
    quantized = torch.quantize_per_channel(weight, scales, zero_points, 0, torch.quint8)
    return quantized.int_repr(), scales, zero_points


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (300, 129), (2, 100_000)], ids=str)
def test_the_upstream_policy_is_torchs(shape):
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(*shape, generator=generator) * 3
    found = _ops.quantize_rows(weight, "upstream")
    for ours, theirs in zip(found, upstream_codes(weight)):
        assert torch.equal(ours, theirs)
    assert torch.equal(_ops.requantize_rows(weight, *found[1:]), found[0])


def test_zeros_stay_zeros_under_the_exact_policy():
    weight = torch.randn(50, 40, generator=torch.Generator().manual_seed(8)) + 1
    torchwinnow.prune_(weight, 0.5, (1, 1))
    codes, scales, zero_points = _ops.quantize_rows(weight)
    values = dequantized(codes, scales, zero_points)
    assert (values[weight == 0] == 0).all()
    assert ((values - weight).abs() <= scales[:, None] * (0.5 + 2**-14)).all()


def test_layouts_and_dtypes():
    weight = torch.randn(9, 14, generator=torch.Generator().manual_seed(9))
    expected = _ops.quantize_rows(weight)
    wide = torch.zeros(9, 20)
    wide[:, :14] = weight
    for other in (weight.t().contiguous().t(), wide[:, :14], weight.clone().requires_grad_()):
        for ours, theirs in zip(_ops.quantize_rows(other), expected):
            assert torch.equal(ours, theirs) and not ours.requires_grad
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        for ours, theirs in zip(
            _ops.quantize_rows(weight.to(dtype)), _ops.quantize_rows(weight.to(dtype).float())
        ):
            assert torch.equal(ours, theirs)
    for shape in ((0, 4), (4, 0)):
        codes, scales, zero_points = _ops.quantize_rows(torch.empty(shape))
        assert codes.shape == shape and scales.tolist() == [1.0] * shape[0]
    quantized = _ops._by_copy("quantize_rows", has_norm=False)(weight, "exact")
    assert all(map(torch.equal, quantized, expected))
    requantize = _ops._by_copy("requantize_rows", has_norm=False)
    assert torch.equal(requantize(weight, *expected[1:]), expected[0])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((torch.ones(4),), "2 dimensions"),
        ((torch.ones(4, 4, dtype=torch.int32),), "floating dtype"),
        ((torch.ones(4, 4), "nearest"), "exact or upstream"),
        ((torch.tensor([[1.0], [float("nan")]]),), "row 1 "),
        ((torch.tensor([[1.0], [float("inf")]]),), "row 1 "),
    ],
)
def test_errors_name_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        _ops.quantize_rows(*arguments)


def test_parameters_have_to_fit():
    weight, good = torch.ones(4, 4), torch.ones(4)
    for scales, zero_points in ((good[:3], good), (good, good.double()), (good[None], good)):
        with pytest.raises(ValueError):
            _ops.requantize_rows(weight, scales, zero_points)
    with pytest.raises(TypeError):
        _ops.quantize_rows([[1.0]])
