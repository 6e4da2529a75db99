"""PRIVATE. NumPy arrays as the bytes of safetensors, without torch. _tensor_bytes is the same for torch."""

from __future__ import annotations

from typing import Any

import numpy

from ._arrays import check_array
from ._dtypes import ADDED_NAMES, CODE_OF, NUMPY_NAMES
from ._memory import Range, array_span

Array = numpy.ndarray[Any, Any]


def layout(name: str, dtype: str, shape: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """Returns the dtype and the shape here of a tensor in a file."""
    if dtype in NUMPY_NAMES:
        return numpy.dtype(NUMPY_NAMES[dtype]), shape
    hint = "load with framework='torch'"
    if dtype in ADDED_NAMES:
        try:
            import ml_dtypes  # type: ignore[import-not-found,import-untyped,unused-ignore]

            return numpy.dtype(getattr(ml_dtypes, ADDED_NAMES[dtype])), shape
        except (ImportError, AttributeError):  # of old versions, which lack some
            hint = "install a current ml_dtypes, or " + hint
    raise ValueError(f"tensor {name!r}: NumPy has no dtype for {dtype}: {hint}")


def empty(dtype: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Returns a new array, and its memory as bytes."""
    array = numpy.empty(shape, dtype)
    return array, array.reshape(-1).view(numpy.uint8)


def span(name: str, value: Any) -> tuple[str, Range] | None:
    """Returns the device and the addresses of the values, or None if there are none."""
    check_array(name, value)
    return ("cpu", array_span(value)) if value.size else None


def plain(name: str, array: Array) -> tuple[str, tuple[int, ...], Array]:
    """Returns dtype and shape in a file, and the values as bytes, copied if they are not contiguous."""
    if array.dtype.name not in CODE_OF:
        raise ValueError(f"{name}: safetensors has no dtype for {array.dtype!r}")
    dense = numpy.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return CODE_OF[array.dtype.name], array.shape, dense.reshape(-1).view(numpy.uint8)
