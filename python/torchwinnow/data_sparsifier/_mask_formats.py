"""PRIVATE. Masks as states hold them.

    dense     `mask`: the tensor, one byte a value once a step was made
    packed    `mask_bits` (uint8, the lowest bit first), `mask_shape`, `mask_dtype`: one bit a value,
              what C++ writes. A mask with other values than 0 and 1 stays dense.
    torch_ao  `mask`: sparse COO, coalesced, in row-major order; 17 bytes a kept value. Pickles hold
              it as the dense one.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

from .. import _core
from .._arguments import whole
from .._dtypes import NUMPY_NAMES

KEYS = ("mask", "mask_bits", "mask_shape", "mask_dtype")
_DTYPES = {code: getattr(torch, name) for code, name in NUMPY_NAMES.items() if code != "C64"}
_DTYPES["BF16"] = torch.bfloat16
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class SparseEntries(dict[str, Any]):
    """The entries of a state for a name with a sparse mask. A pickle of it is a dict with the dense one.

    torch 2.14 warns of every file with a sparse tensor that torch.load reads with weights_only, and
    scans its indices; torch.ao loads either mask.
    """

    def __reduce_ex__(self, protocol: Any) -> Any:
        entries = {**self, "mask": self["mask"].to_dense()} if self._is_sparse() else dict(self)
        return OrderedDict, (), None, None, iter(entries.items())

    def _is_sparse(self) -> bool:
        mask = self.get("mask")
        return isinstance(mask, Tensor) and mask.layout is torch.sparse_coo

    def __copy__(self) -> SparseEntries:
        return SparseEntries(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> SparseEntries:
        return SparseEntries(copy.deepcopy(dict(self), memo))


def _dense(mask: Tensor) -> dict[str, Any]:
    return {"mask": mask.detach().clone(memory_format=torch.contiguous_format)}


def _sparse(mask: Tensor) -> dict[str, Any]:
    return SparseEntries(mask=mask.detach().to_sparse().coalesce())


def _packed(mask: Tensor) -> dict[str, Any]:
    kept = mask.detach().ne(0)
    if mask.dtype not in _NAMES or not torch.equal(kept, mask.eq(1)):
        return _dense(mask)
    bits = numpy.packbits(kept.cpu().flatten().numpy(), bitorder="little")
    return {
        "mask_bits": torch.from_numpy(bits),
        "mask_shape": tuple(mask.shape),
        "mask_dtype": _NAMES[mask.dtype],
    }


_WRITERS = {"dense": _dense, "packed": _packed, "torch_ao": _sparse}


def written(mask: Tensor, mask_format: str) -> dict[str, Any]:
    """The entries of a state for a mask, a copy. ValueError for another format."""
    if mask_format not in _WRITERS:
        known = ", ".join(map(repr, _WRITERS))
        raise ValueError(f"mask_format: expected one of {known}, found {mask_format!r}")
    return _WRITERS[mask_format](mask)


def read(name: str, entries: Mapping[str, Any]) -> Tensor:
    """The mask in any of the formats, dense, a copy.

    KeyError 'mask' if there is none, TypeError if it is not a tensor, RuntimeError naming a packed one
    that does not fit together or stands beside another.
    """
    if "mask_bits" in entries:
        if "mask" in entries:  # which of the two is meant?
            raise RuntimeError(f"Error loading {name}: it has both a packed mask and a 'mask'")
        return _unpacked(name, entries)
    mask = entries["mask"]
    if not isinstance(mask, Tensor):
        raise TypeError(f"the mask of '{name}': expected a tensor, found {type(mask).__name__}")
    if mask.layout is not torch.strided:
        return mask.detach().to_dense()
    return mask.detach().clone(memory_format=torch.contiguous_format)


def _unpacked(name: str, entries: Mapping[str, Any]) -> Tensor:
    bits, shape, dtype = (entries.get(key) for key in ("mask_bits", "mask_shape", "mask_dtype"))
    try:
        if not isinstance(bits, Tensor) or bits.dtype is not torch.uint8 or bits.dim() != 1:
            raise TypeError("mask_bits: expected one dimension of bytes")
        if dtype not in _DTYPES:
            raise ValueError(f"mask_dtype: expected a dtype, found {dtype!r}")
        if not isinstance(shape, (tuple, list)):
            raise TypeError(f"mask_shape: expected a tuple, found {shape!r}")
        sizes = [whole("mask_shape", size) for size in shape]
        count = _core.packed_mask_numel(sizes, bits.numel())
    except (TypeError, ValueError) as error:
        raise RuntimeError(f"Error loading {name}: {error}") from None
    values = numpy.unpackbits(bits.cpu().numpy(), count=count, bitorder="little")
    return torch.from_numpy(values).view(torch.int8).reshape(sizes).to(_DTYPES[dtype])
