"""PRIVATE. Masks written into the tensors that they are of: the end of squash_mask.

The values go into the memory that the caller gave, so that whatever shares it is sparse too: slices
of one buffer, an array of NumPy, other processes. Everything is checked before any is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import _ops
from .._memory import first_read_only, tensor_range
from . import _container as containers
from .fake_sparsity import check_shape

_PIECE = 1 << 20  # values


def write_masks(container: nn.Module, names: Sequence[str]) -> None:
    """Each original of `names`, which are masked, becomes its masked read, in place.

    Names that share memory: a value is dropped if any of their masks drops it.

    ValueError naming data that have no values or cannot be written to, AssertionError and ValueError
    naming data that their mask does not fit, and what a parametrization of the user's own raises.
    Nothing is written then.
    """
    masked = {name: containers.masked_lists(container)[containers.slot_of(name)] for name in names}
    plain = [name for name, links in masked.items() if containers.is_plain(links)]
    originals = {name: containers.original_in(links) for name, links in masked.items()}
    for name, original in originals.items():
        _ops.check_values(f"the data '{name}'", original)
        _check_places(name, original)
    _check_protection(originals)
    for name in plain:
        _check_mask(name, masked[name][0].mask, originals[name])
    reads = {name: _read(name, masked[name]) for name in masked if name not in plain}
    for name, read in reads.items():
        _write(originals[name], read)
    for name in plain:
        _write(originals[name], masked[name][0].mask, times=True)


def _write(original: Tensor, values: Tensor, times: bool = False) -> None:
    # Inference tensors may be written to in inference mode alone; others have their version raised.
    with torch.inference_mode(original.is_inference()), torch.no_grad():
        if times:
            _multiply(original, values)
        else:
            original.copy_(values)


def _multiply(target: Tensor, mask: Tensor) -> None:
    """`target.mul_(mask)` in pieces: torch converts the mask to the data's dtype first."""
    if target.numel() <= _PIECE:
        target.mul_(mask)
        return
    dim = max(range(target.dim()), key=lambda each: target.shape[each])
    step = max(1, _PIECE * target.shape[dim] // target.numel())
    for piece, part in zip(target.split(step, dim), mask.split(step, dim)):
        piece.mul_(part)


def _read(name: str, links: nn.Module) -> Tensor:
    with torch.no_grad():
        read = links()
    original = containers.original_in(links)
    if read.shape != original.shape or read.dtype != original.dtype:
        raise ValueError(
            f"the parametrization of '{name}' gives {tuple(read.shape)} {read.dtype} for data of "
            f"{tuple(original.shape)} {original.dtype}, which cannot be written into them"
        )
    return read


def _check_mask(name: str, mask: Tensor, original: Tensor) -> None:
    try:
        check_shape(mask, original)
    except AssertionError as error:
        raise AssertionError(f"'{name}': {error}") from None
    if mask.device != original.device:
        raise ValueError(
            f"the mask of '{name}' is on {mask.device}, its data on {original.device}: move one of "
            "them"
        )


# ---- whether memory can be written to


def shares_places(tensor: Tensor) -> bool:
    """Whether two elements of `tensor` are one place in memory, as in expanded views.

    Allocates one byte a place if sizes and strides leave it open, which is rare.
    """
    if tensor.numel() < 2:
        return False
    dims = sorted((stride, size) for size, stride in zip(tensor.shape, tensor.stride()) if size > 1)
    reach, nested = 0, True  # the farthest place of the dimensions before
    for stride, size in dims:
        if stride == 0:
            return True
        nested = nested and stride > reach
        reach += (size - 1) * stride
    if nested:
        return False
    places = torch.zeros(reach + 1, dtype=torch.bool)
    places.as_strided(tensor.shape, tensor.stride()).fill_(True)
    return int(places.count_nonzero()) != tensor.numel()


def _check_places(name: str, original: Tensor) -> None:
    if shares_places(original):
        raise ValueError(
            f"the data '{name}' have several values in one place of memory (shape "
            f"{tuple(original.shape)}, strides {tuple(original.stride())}), so that the mask cannot "
            "be written into them: give a .clone() to add_data, or leave_parametrized=False"
        )


def _check_protection(originals: dict[str, Tensor]) -> None:
    """A write into a file that is mapped read-only would end the process."""
    names = list(originals)
    index = first_read_only([tensor_range(tensor) for tensor in originals.values()])
    if index is not None:
        raise ValueError(
            f"the data '{names[index]}' lie in memory that is read-only, such as a file mapped for "
            "reading: give a .clone() to add_data, or leave_parametrized=False"
        )
