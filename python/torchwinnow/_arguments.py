"""PRIVATE. What users pass, made plain. Types are checked here, ranges by the C++ library.

Settings that are plainly in their range make no call of the library: calls cost time, and torch.compile
cannot look into them.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from typing import Any

from . import _core

_LIMIT = 2**63  # integers of C++ are below it
_MOST_THREADS = 1024


def number(name: str, value: Any) -> float:
    """A number. NumPy's numbers are fine."""
    if type(value) is float:  # the usual case, on the way of every call
        return value
    if isinstance(value, str):
        raise TypeError(f"{name}: expected a number, found the string {value!r}")
    if isinstance(value, bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}: expected a number, found {value!r}")
    return float(value)


def sparsity_level(value: Any) -> float:
    """A finite number."""
    if type(value) is float and 0 <= value <= 1:  # the usual case
        return value
    level = number("sparsity_level", value)
    _core.check_sparsity_level(level)
    return level


# Classes of this name are in many packages, so that "expected a Tensor, found a Tensor" helps nobody.
_COMMON_NAMES = frozenset({"Tensor", "Parameter", "Embedding", "EmbeddingBag", "ndarray"})


def class_name(value: Any) -> str:
    """The class of a value, with its module if the short name is that of one we take."""
    kind = type(value)
    if kind.__name__ in _COMMON_NAMES:
        return f"{kind.__module__}.{kind.__qualname__}"
    return kind.__name__


def whole(name: str, value: Any) -> int:
    """An integer. NumPy's integers are fine."""
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected an integer, found {value!r}")
    number = operator.index(value)
    if not -_LIMIT <= number < _LIMIT:
        raise ValueError(f"{name}: expected an integer of 64 bits, found {number}")
    return number


def pair(name: str, value: Any) -> tuple[int, int]:
    """Two integers, in any sequence."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name}: expected two integers, found {value!r}")
    numbers = tuple(value)
    if len(numbers) != 2:
        raise ValueError(f"{name}: expected two integers, found {value!r}")
    return whole(name, numbers[0]), whole(name, numbers[1])


def sparse_block_shape(value: Any) -> tuple[int, int]:
    """Rows and columns of a block."""
    rows, cols = pair("sparse_block_shape", value)
    if rows < 1 or cols < 1:
        _core.check_sparse_block_shape(rows, cols)
    return rows, cols


def zeros_per_block(value: Any) -> int | None:
    """How many values of a block are dropped; None: all of them."""
    if value is None:
        return None
    count = whole("zeros_per_block", value)
    if count < 0:
        _core.check_zeros_per_block(count)
    return count


def norm(value: Any) -> str:
    """ "L1" or "L2"."""
    if not isinstance(value, str):
        raise TypeError(f"norm: expected 'L1' or 'L2', found {value!r}")
    return value if value in ("L1", "L2") else _core.norm_name(value)


def choice(name: str, value: Any, first: str, second: str) -> bool:
    """Whether the value is the second of the two."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected {first!r} or {second!r}, found {value!r}")
    if value not in (first, second):
        raise ValueError(f"{name}: expected {first!r} or {second!r}, found {value!r}")
    return value == second


def texts(name: str, value: Any) -> list[str]:
    """One text or several; None: none."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise TypeError(f"{name}: expected texts, found {value!r}")
    result = list(value)
    for text in result:
        if not isinstance(text, str):
            raise TypeError(f"{name}: expected texts, found {text!r}")
    return result


def threads(value: Any) -> int:
    """How many threads; None: as many as this process may use."""
    if value is None:
        return _core.usable_cores()
    count = whole("threads", value)
    if not 1 <= count <= _MOST_THREADS:
        raise ValueError(f"threads: expected a number from 1 to {_MOST_THREADS}, found {count}")
    return count


def max_memory(value: Any) -> int:
    """How many bytes of memory to use; None: the default."""
    if value is None:
        return _core.default_max_memory
    count = whole("max_memory", value)
    if count < 0:
        raise ValueError(f"max_memory: expected a number of bytes, found {count}")
    return count


def path(name: str, value: Any) -> bytes:
    """A path as the system takes it. TypeError: no path. ValueError: with a NUL, which would end it."""
    encoded = os.fsencode(value)
    if b"\0" in encoded:
        raise ValueError(f"{name}: embedded null byte in {value!r}")
    return encoded


def target(src: Any, dst: Any, dry_run: bool, in_place: bool) -> str | None:
    """The path that a report gives for what was written."""
    path = src if in_place else dst
    return None if dry_run or path is None else os.fspath(path)


def output_paths(
    src: Any, dst: Any, overwrite: bool, overwrite_blob: bool, dry_run: bool, in_place: bool = False
) -> tuple[bytes, bytes]:
    """Where a file is read and another is written; b"": nowhere in a dry run, or in place."""
    if in_place and dst is not None:
        raise ValueError("dst: expected none with in_place=True")
    if dst is None and not dry_run and not in_place:
        raise ValueError("dst: expected a path (or dry_run=True)")
    if overwrite_blob and not overwrite:
        raise ValueError("overwrite_blob: it needs overwrite=True")
    return path("src", src), b"" if dst is None else path("dst", dst)
