"""PRIVATE. The three values of a DataNormSparsifier's configuration, checked."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)  # of data that have a norm
FIELDS = ("sparsity_level", "sparse_block_shape", "zeros_per_block")
WHOLE_BLOCK = -1  # as zeros_per_block of _ops.compute_masks_


class Settings(NamedTuple):
    level: float
    rows: int
    cols: int
    zeros: int  # WHOLE_BLOCK: all of the block


def checked_level(value: Any) -> float:
    """TypeError: no number. ValueError: not finite."""
    if isinstance(value, str):
        raise TypeError(f"sparsity_level: expected a number, got the string {value!r}")
    if isinstance(value, bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"sparsity_level: expected a number, got {value!r}")
    level = float(value)
    if not math.isfinite(level):
        raise ValueError(f"sparsity_level: expected a finite number, got {value!r}")
    return level


def checked_block(value: Any) -> tuple[int, int]:
    """TypeError: no integers. ValueError: not two of them, each at least 1."""
    try:
        sides = tuple(operator.index(side) for side in value)
    except TypeError:
        raise TypeError(f"sparse_block_shape: expected two integers, got {value!r}") from None
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(
            f"sparse_block_shape: expected rows and columns, each at least 1, got {value!r}"
        )
    return sides


def checked_zeros(value: Any) -> int | None:
    """None is the whole block. TypeError: no integer. ValueError: negative."""
    if value is None:
        return None
    try:
        zeros = operator.index(value)
    except TypeError:
        raise TypeError(f"zeros_per_block: expected an integer or None, got {value!r}") from None
    if zeros < 0:
        raise ValueError(f"zeros_per_block: should be positive or 0, got {value!r}")
    return zeros


_CHECKS = dict(zip(FIELDS, (checked_level, checked_block, checked_zeros)))


def check_fields(config: Mapping[str, Any]) -> None:
    """Checks those of the three that `config` has, each by itself."""
    for field, check in _CHECKS.items():
        if field in config:
            check(config[field])


def settings_of(sparsity_level: Any, sparse_block_shape: Any, zeros_per_block: Any) -> Settings:
    """TypeError and ValueError, naming the field; zeros_per_block may not exceed the block."""
    rows, cols = checked_block(sparse_block_shape)
    zeros = checked_zeros(zeros_per_block)
    if zeros is not None and zeros > rows * cols:
        raise ValueError(
            f"zeros_per_block = {zeros} cannot be more than the total number of elements in a "
            f"block, sparse_block_shape = {tuple(sparse_block_shape)} has {rows * cols}; data with "
            "a block of its own inherits zeros_per_block as a number: set it too, or to None"
        )
    whole = zeros is None or zeros == rows * cols
    return Settings(checked_level(sparsity_level), rows, cols, WHOLE_BLOCK if whole else zeros)
