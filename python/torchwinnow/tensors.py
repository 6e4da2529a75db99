"""Masks of tensors in memory: tensors of torch, and arrays of NumPy without torch being imported.

    mask = compute_mask(weight, sparsity_level=0.8)              # int8, 1 = kept
    prune_(weight, sparsity_level=0.8, sparse_block_shape=(1, 1))

A tensor of any shape is seen as a matrix: dimensions of size 1 are dropped; of the others the last
is the columns, and the rest fold into rows. Of its blocks the share `sparsity_level` with the lowest
mean scores is pruned, ties to the lowest index, NaN last. The result depends on nothing else: not on
threads (torch.set_num_threads for tensors, all cores for arrays), strides or the machine.

Tensors whose rows have one stride are read in place; other layouts are read in pieces of about
4 MiB. Tensors that are not on the CPU are copied there, and the result is copied back. Nothing is
differentiated: the functions run as under `torch.no_grad()`, so that a leaf that requires grad may be
pruned in place, and a backward pass that saved its old values fails instead of using the new. What was
computed from such a leaf, a view of it too, is refused while gradients are recorded.

On Linux, memory that may not be written to is noticed before a write: a file mapped for reading that
became a tensor by `from_numpy`, which elsewhere ends the process as any write of torch does.

torch.compile and torch.export take these functions as `torch.ops.winnow.*`. The GIL is released;
a call on one tensor is not interrupted by Ctrl-C, which is raised when it returns.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from . import _arguments, _core

if TYPE_CHECKING:
    import numpy
    import torch

    Tensor = TypeVar("Tensor", torch.Tensor, numpy.ndarray[Any, Any])


WHOLE_DIMENSION = _core.WHOLE_DIMENSION  # as a block's width or height: the whole row or column


def nm_config(n: int, m: int) -> dict[str, Any]:
    """Settings that keep the `n` largest of every `m` consecutive values along a row.

    For compute_mask and prune_, and for a DataNormSparsifier and its add_data:
    `DataNormSparsifier(**nm_config(2, 4))`.

    TypeError, ValueError: not integers, or not 0 <= n <= m and m >= 1.
    """
    n, m = _arguments.whole("nm", n), _arguments.whole("nm", m)
    _core.check_nm(n, m)
    return {"sparsity_level": 1.0, "sparse_block_shape": (1, m), "zeros_per_block": m - n}


def compute_mask(
    tensor: Tensor,
    sparsity_level: float = 0.5,
    sparse_block_shape: Sequence[int] = (1, 4),
    zeros_per_block: int | None = None,
    norm: str = "L1",
) -> Tensor:
    """The mask of a tensor: 1 = kept, 0 = dropped.

    Args:
        tensor: float32, float64, float16 or bfloat16 (for arrays, that of ml_dtypes), of any shape
            and strides; not changed. Of a tensor on the meta device, the mask is there too.
        sparsity_level: share of the blocks that are pruned; 0 and less: none, 1 and more: all.
            Below 0 and above 1 with a warning.
        sparse_block_shape: rows and columns of a block, in elements.
        zeros_per_block: how many values are dropped in a pruned block; None: all of them.
        norm: "L1" or "L2": a value's score is |x| or x * x.

    Returns:
        int8, contiguous, of the tensor's shape and device; an array for an array.

    Raises:
        TypeError: for anything but a tensor or an array, for a masked array of NumPy, and for
            settings of another type.
        ValueError: for another dtype or layout, and for settings out of their range.
    """
    settings = _checked(sparsity_level, sparse_block_shape, zeros_per_block, norm)
    mask: Tensor = _home(tensor).compute_mask(tensor, *settings)
    return mask


def prune_(
    tensor: Tensor,
    sparsity_level: float = 0.5,
    sparse_block_shape: Sequence[int] = (1, 4),
    zeros_per_block: int | None = None,
    norm: str = "L1",
) -> Tensor:
    """Sets the values of a tensor that matter least to +0, in place; all others keep their bits.

    Allocates one byte for each value while it runs.

    Args:
        tensor: as of compute_mask, but with each value in a place of its own (not expanded).
        sparsity_level, sparse_block_shape, zeros_per_block, norm: as of compute_mask.

    Returns:
        The tensor itself.

    Raises:
        As compute_mask, and ValueError for memory that is read-only, a tensor on the meta device,
        and one that is computed from others that require grad; nothing is written then.
    """
    settings = _checked(sparsity_level, sparse_block_shape, zeros_per_block, norm)
    _home(tensor).prune_(tensor, *settings)
    return tensor


def apply_mask_(tensor: Tensor, mask: Tensor) -> Tensor:
    """Sets a tensor to +0 wherever the mask is 0, in place; all other values keep their bits.

    A product with the mask leaves -0 where the value was negative, and NaN where it was NaN or
    infinite; this does not.

    Args:
        tensor: as of prune_.
        mask: of the tensor's shape and device, of any dtype. Memory that it shares with the tensor is
            an error for arrays and for contiguous int8 masks; other masks of torch are copied first.

    Returns:
        The tensor itself.

    Raises:
        TypeError, ValueError: for anything else; nothing is written then.
    """
    _home(tensor).apply_mask_(tensor, mask)
    return tensor


def _checked(
    level: Any, block: Any, zeros: Any, norm: Any
) -> tuple[float, tuple[int, int], int | None, str]:
    level = _arguments.sparsity_level(level)
    if not 0 <= level <= 1:
        warnings.warn(_core.sparsity_level_hint(level), stacklevel=3)
    return (
        level,
        _arguments.sparse_block_shape(block),
        _arguments.zeros_per_block(zeros),
        _arguments.norm(norm),
    )


def _home(tensor: Any) -> Any:
    """The module for such a tensor: _arrays, or _ops, which imports torch."""
    if hasattr(tensor, "__array_interface__"):  # which torch's tensors do not have
        from . import _arrays

        return _arrays
    try:
        from . import _ops
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise TypeError(
            "expected an array of NumPy, or with torch installed a tensor, found "
            + _arguments.class_name(tensor)
        ) from None
    return _ops
