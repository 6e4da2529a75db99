"""PRIVATE. First masks, and the memory that masks have."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


@functools.lru_cache(maxsize=256)
def product_dtype(mask: torch.dtype, data: torch.dtype) -> torch.dtype | None:
    """Of a mask times data; None if torch does not multiply them."""
    try:
        return (torch.empty(1, dtype=mask) * torch.empty(1, dtype=data)).dtype
    except RuntimeError:  # NotImplementedError among them
        return None


def check_product(mask: torch.dtype, data: torch.dtype) -> None:
    """ValueError unless torch multiplies such data by such a mask, and gives the data's dtype."""
    found = product_dtype(mask, data)
    if found is None:
        raise ValueError(f"torch does not multiply data of {data} by a mask of {mask}")
    if found != data:
        raise ValueError(
            f"the mask may not change the dtype of the data: {mask} times {data} is {found}"
        )


def ones_for(weight: Tensor) -> Tensor:
    """A mask that keeps all, of the data's shape and dtype. One value of memory holds them all.

    `own_memory` has to be called before it is written to. ValueError for a dtype that torch does not
    multiply.
    """
    check_product(weight.dtype, weight.dtype)
    with torch.inference_mode(False):  # or a later step could not write it
        one = torch.ones((), dtype=weight.dtype, device=weight.device)
        return one.expand(weight.shape).data


def own_memory(mask: Tensor) -> Tensor:
    """`mask`, the same object, with memory for each value: of ones_for, or expanded by a user."""
    if mask.numel() > 1 and 0 in mask.stride():
        replace_memory(mask, mask.detach().clone(memory_format=torch.contiguous_format))
    return mask


def replace_memory(mask: Tensor, values: Tensor) -> None:
    """Gives the object `mask` the memory, dtype and device of `values`."""
    with torch.inference_mode(False), torch.no_grad():
        mask.data = values.clone() if values.is_inference() else values


def own_mask(mask: Tensor) -> Tensor:
    """A mask that was given, the very object; one that was made in inference mode is copied."""
    if not isinstance(mask, Tensor) or not mask.is_inference():
        return mask
    with torch.inference_mode(False):
        return mask.detach().clone()


def is_constant(data: Tensor) -> bool:
    """Whether a matrix has one value everywhere. Most differ in two places: no more is read, then.

    False for a vector: norms and biases start so, and the default selection speaks of them.
    """
    if sum(size > 1 for size in data.shape) < 2 or data.device.type != "cpu" or not data.numel():
        return False
    first = data[(0,) * data.dim()].item()
    for place in ((-1,) * data.dim(), tuple(size // 2 for size in data.shape)):
        if data[place].item() != first:
            return False
    low, high = data.aminmax()
    return bool(low == high)


class MasksBefore:
    """The entries of some names in a state before a step, to be put back if it fails."""

    def __init__(self, state: dict[str, dict[str, Any]]) -> None:
        self._state = state
        self._before: dict[str, tuple[dict[str, Any], Tensor]] = {}

    def remember(self, name: str) -> None:
        entries = self._state[name]
        self._before[name] = dict(entries), own_memory(entries["mask"]).clone()

    def restore(self) -> None:
        for name, (entries, values) in self._before.items():
            replace_memory(entries["mask"], values)
            self._state[name] = entries
