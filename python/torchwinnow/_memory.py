"""PRIVATE. Tells if memory may be written. Writing to a file that is mapped for reading ends the process.

torch's tensors do not know it: `torch.from_numpy(numpy.load(path, mmap_mode="r"))` looks like any other.
Linux does; on other systems everything counts as writable. Imports neither torch nor NumPy.
"""

from __future__ import annotations

import bisect
import ctypes
import functools
import mmap
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_PAGE = mmap.PAGESIZE
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE: fails if the page may not be written
_MAPS = Path("/proc/self/maps")
_READ_ONLY = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) .-", re.MULTILINE)

Range = tuple[int, int]


def tensor_range(tensor: Any) -> Range | None:
    """Returns the range of addresses, or None if torch allocated the memory or there is none.

    A storage that torch allocated is resizable, unless it was shared with NumPy; any other is not.
    """
    try:
        if tensor.device.type != "cpu" or tensor.untyped_storage().resizable() or not tensor.numel():
            return None
        return tensor_span(tensor)
    except RuntimeError:  # NotImplementedError among them: layouts and wrappers without a storage
        return None


def tensor_span(tensor: Any) -> Range:
    """Returns the addresses from the first value to behind the last of a tensor that has values."""
    begin: int = tensor.data_ptr()
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return begin, begin + (reach + 1) * tensor.element_size()


def array_range(array: Any) -> Range | None:
    """Returns the range of addresses, or None if NumPy allocated the memory."""
    owner = array
    while owner is not None and hasattr(owner, "flags"):
        if owner.flags.owndata or not array.size:
            return None
        owner = owner.base
    return array_span(array)


def array_span(array: Any) -> Range:
    """Returns the addresses from the first value to behind the last of an array that has values."""
    begin = array.__array_interface__["data"][0]
    steps = [(size - 1) * stride for size, stride in zip(array.shape, array.strides)]
    first = begin + sum(step for step in steps if step < 0)
    return first, begin + sum(step for step in steps if step > 0) + array.itemsize


def first_read_only(ranges: Sequence[Range | None]) -> int | None:
    """Returns the index of the first range that is known not to be writable, or None."""
    doubtful = [i for i, each in enumerate(ranges) if each is not None and not _is_writable(*each)]
    if not doubtful:
        return None
    protected = _protected()
    starts = [first for first, _ in protected]
    for i in doubtful:
        begin, end = ranges[i] or (0, 0)
        before = bisect.bisect_left(starts, end) - 1
        if before >= 0 and protected[before][1] > begin:
            return i
    return None


@functools.cache
def _madvise() -> Callable[[int, int, int], int] | None:
    """Returns the system's madvise, or None if there is none or it may mean something else."""
    try:
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError, TypeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function.restype = ctypes.c_int
    return function if _MAPS.exists() else None  # the number is Linux's


def _is_writable(begin: int, end: int) -> bool:
    """Returns True if the first and the last page are surely writable.

    This takes 2 us; reading /proc/self/maps takes some hundred.
    """
    madvise = _madvise()
    if madvise is None:
        return False
    pages = {begin - begin % _PAGE, (end - 1) - (end - 1) % _PAGE}
    return all(madvise(page, _PAGE, _POPULATE_WRITE) == 0 for page in pages)


def _protected() -> list[Range]:
    """Returns the ranges of addresses that this process may not write, in order; [] if unknown."""
    try:
        text = _MAPS.read_bytes()
    except OSError:
        return []
    return [(int(first, 16), int(last, 16)) for first, last in _READ_ONLY.findall(text)]
