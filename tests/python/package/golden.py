"""tests/data/golden_data.json: what upstream produced, and ours where we differ."""

import json
from pathlib import Path

import torch

GOLDEN = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "golden_data.json").read_text()
)


def data_of(case):
    """The data of a mask case, as a tensor of its dtype."""
    numbers = [float(number) for number in case["data"]]  # "nan" and "inf" are texts
    return torch.tensor(numbers, dtype=torch.float64).reshape(case["shape"]).to(
        getattr(torch, case["dtype"])
    )


def settings_of(case):
    """sparsity_level, sparse_block_shape, zeros_per_block and norm of a mask case."""
    return float(case["level"]), case["block"], case["zeros_per_block"], case["norm"]


def expected_of(case):
    """Ours where it differs from upstream."""
    return case.get("recommended", case["upstream"])


def large_data():
    """The data of the large cases."""
    i = torch.arange(24 * 40, dtype=torch.int64)
    numbers = (7919 * i * i + 389 * i + 77) % 100003 - 50001
    return (numbers.double() / 4096).float().reshape(24, 40)


def large_mask(case):
    return [int(digit) for row in case["rows"] for digit in row]
