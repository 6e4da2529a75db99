"""PRIVATE. The functions of tensors.py for NumPy arrays, whose memory the C++ library reads in place."""

from __future__ import annotations

from typing import Any

import numpy

from . import _arguments, _core
from ._dtypes import CODE_OF
from ._memory import array_range, first_read_only

Array = numpy.ndarray[Any, Any]

# The dtypes that have a norm, as C++ names them.
_CODES = {name: CODE_OF[name] for name in ("float32", "float64", "float16", "bfloat16")}


def _plain(array: Array) -> tuple[Array, str]:
    """Returns the array's memory as unsigned integers, and the name of its type."""
    check_array("tensor", array)
    if array.dtype.name not in _CODES or not array.dtype.isnative:
        raise ValueError(
            "expected dtype float32, float64, float16 or bfloat16 in the machine's byte order, "
            f"found {array.dtype!r}"
        )
    # NumPy itself has no bfloat16, so arrays are passed as integers of the same size.
    return array.view(f"u{array.itemsize}"), _CODES[array.dtype.name]


def check_array(name: str, value: Any) -> None:
    if not isinstance(value, numpy.ndarray):
        raise TypeError(
            f"{name}: expected a numpy.ndarray, found {_arguments.class_name(value)}"
        )
    if isinstance(value, numpy.ma.MaskedArray):
        raise TypeError(
            f"{name}: expected an array without a mask of its own, which would be ignored, found "
            f"{type(value).__name__}: pass .filled(0), or .data for all values"
        )


def _check_writable(array: Array) -> None:
    check_array("tensor", array)
    if not array.flags.writeable:
        raise ValueError("expected an array that may be written, found a read-only one")
    if first_read_only([array_range(array)]) is not None:  # through a tensor, which forgets it
        raise ValueError(
            "expected an array that may be written, found one in memory that is read-only, such as "
            "a file mapped for reading: pass a .copy()"
        )


def compute_mask(
    array: Array, level: float, block: tuple[int, int], zeros: int | None, norm: str
) -> Array:
    values, dtype = _plain(array)
    mask = numpy.empty(array.shape, numpy.int8)
    threads = _arguments.threads(None)
    _core.write_mask(values, dtype, mask.view(numpy.uint8), level, block, zeros, norm, threads)
    return mask


def prune_(
    array: Array, level: float, block: tuple[int, int], zeros: int | None, norm: str
) -> None:
    _check_writable(array)
    values, dtype = _plain(array)
    mask = compute_mask(array, level, block, zeros, norm)
    _core.drop_values(values, dtype, mask.view(numpy.uint8))


def apply_mask_(array: Array, mask: Any) -> None:
    _check_writable(array)
    values, dtype = _plain(array)
    check_array("mask", mask)
    if mask.shape != array.shape:
        raise ValueError(f"mask: expected the array's shape {array.shape}, found {mask.shape}")
    if numpy.may_share_memory(array, mask):
        raise ValueError("mask: expected memory of its own, found that of the array")
    kept = numpy.ascontiguousarray(mask != 0).reshape(mask.shape)  # which makes 0-d arrays 1-d
    _core.drop_values(values, dtype, kept.view(numpy.uint8))
