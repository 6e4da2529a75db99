"""PRIVATE. The three values of a DataNormSparsifier's configuration, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import _arguments, _core

FIELDS = ("sparsity_level", "sparse_block_shape", "zeros_per_block")
WHOLE_BLOCK = -1  # as zeros_per_block of _ops.compute_masks_
_CHECKS = {field: getattr(_arguments, field) for field in FIELDS}


class Settings(NamedTuple):
    level: float
    rows: int
    cols: int
    zeros: int  # WHOLE_BLOCK: all of the block


def check_fields(config: Mapping[str, Any]) -> None:
    """Checks those of the three that `config` has, each by itself."""
    for field, check in _CHECKS.items():
        if field in config:
            check(config[field])


def settings_of(sparsity_level: Any, sparse_block_shape: Any, zeros_per_block: Any) -> Settings:
    """TypeError and ValueError, naming the field; zeros_per_block may not exceed the block."""
    level = _arguments.number("sparsity_level", sparsity_level)
    rows, cols = _arguments.pair("sparse_block_shape", sparse_block_shape)
    if zeros_per_block is not None:
        zeros_per_block = _arguments.whole("zeros_per_block", zeros_per_block)
    zeros = _core.partial_zeros(level, rows, cols, zeros_per_block)
    return Settings(level, rows, cols, WHOLE_BLOCK if zeros is None else zeros)
