"""PRIVATE. NumPy arrays as the bytes of safetensors, without torch. _tensor_bytes is the same for torch."""

from __future__ import annotations

from typing import Any

import numpy

from ._arrays import check_array
from ._memory import Range, array_span

Array = numpy.ndarray[Any, Any]

# The names of types: safetensors', NumPy's.
_OWN = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
# Those that ml_dtypes adds to NumPy.
_ADDED = {
    "BF16": "bfloat16",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
_NAMES = {numpy_name: name for name, numpy_name in {**_OWN, **_ADDED}.items()}


def layout(name: str, dtype: str, shape: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """Returns the dtype and the shape here of a tensor in a file."""
    if dtype in _OWN:
        return numpy.dtype(_OWN[dtype]), shape
    hint = "load with framework='torch'"
    if dtype in _ADDED:
        try:
            import ml_dtypes  # type: ignore[import-not-found,import-untyped,unused-ignore]

            return numpy.dtype(getattr(ml_dtypes, _ADDED[dtype])), shape
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
    if array.dtype.name not in _NAMES:
        raise ValueError(f"{name}: safetensors has no dtype for {array.dtype!r}")
    dense = numpy.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return _NAMES[array.dtype.name], array.shape, dense.reshape(-1).view(numpy.uint8)
