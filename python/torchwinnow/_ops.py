"""The torch operators `torch.ops.winnow.*`. Importing this module imports torch.

The operators are C++ (`_torch_ops.so`, through torch's stable ABI). Here is what surrounds them:
results of fake tensors, tensors that are not on the CPU, and autograd's bookkeeping. There is no
algorithm in this file.

    compute_mask(data, sparsity_level, sparse_block_shape, zeros_per_block, norm) -> mask
    compute_masks_(masks, data, sparsity_levels, sparse_block_shapes, zeros_per_block, norm)
    compute_global_masks_(masks, data, sparsity_level, sparse_block_shape, zeros_per_block, norm)
    prune_(data, sparsity_level, sparse_block_shape, zeros_per_block, norm)
    apply_mask_(data, mask)
    quantize_rows(weight, zero_policy) -> codes, scales, zero_points
    requantize_rows(weight, scales, zero_points) -> codes

All of them accept tensors of any rank and strides. If rows have one stride, CPU tensors are read
and written in place; other layouts are read in pieces of some MiB. Tensors of another device are
copied to the CPU, and what came out is copied back. The operators are not differentiable: they run
as under `torch.no_grad()`, so a leaf that requires grad may be pruned, and they raise the version
counter of what they write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from ._arguments import class_name
from ._memory import first_read_only, tensor_range

_LIBRARY = Path(__file__).parent / "_torch_ops.so"
torch.ops.load_library(str(_LIBRARY))

_registrations = torch.library.Library("winnow", "FRAGMENT")
_after_inplace = torch._C._after_ADInplaceOrView_keyset


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, or the tensor itself if it is there. What has no plain memory is refused here."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        kind = "quantized" if tensor.is_quantized else "nested" if tensor.is_nested else tensor.layout
        raise ValueError(f"expected a strided tensor, found a {kind} one")
    return tensor.detach().cpu()


DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)  # of data that have a norm


def _check_dtype(name: str, tensor: torch.Tensor) -> None:
    """ValueError for a dtype without a norm. Of the newest, torch's stable ABI knows no number."""
    if tensor.dtype not in DTYPES:
        raise ValueError(
            f"{name}: expected dtype float32, float64, float16 or bfloat16, found {tensor.dtype}"
        )


def _check_dtypes(data: Sequence[torch.Tensor]) -> None:
    for i, tensor in enumerate(data):
        if tensor.dtype not in DTYPES:
            _check_dtype(f"data[{i}]", tensor)


# --- Shapes without values: fake and meta tensors -------------------------------------------------


def _fake_compute_mask(data: torch.Tensor, *_settings: Any) -> torch.Tensor:
    _check_dtype("data", data)
    return torch.empty(data.shape, dtype=torch.int8, device=data.device)


def _fake_quantize_rows(
    weight: torch.Tensor, _zero_policy: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    codes = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
    scales = torch.empty(weight.shape[:1], dtype=torch.float32, device=weight.device)
    return codes, scales, torch.empty_like(scales)


def _fake_requantize_rows(
    weight: torch.Tensor, _scales: torch.Tensor, _zero_points: torch.Tensor
) -> torch.Tensor:
    return torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)


def _fake_write(data: torch.Tensor, *_arguments: Any) -> None:
    _check_dtype("data", data)


def _fake_compute_masks(
    _masks: Sequence[torch.Tensor], data: Sequence[torch.Tensor], *_settings: Any
) -> None:
    _check_dtypes(data)


# --- Other devices: by a copy on the CPU ----------------------------------------------------------


def _by_copy(name: str, has_norm: bool = True) -> Callable[..., Any]:
    """The kernel of an operator whose first tensor is read, or written if its name ends with "_"."""
    operator = getattr(torch.ops.winnow, name)

    def kernel(data: torch.Tensor, *arguments: Any) -> Any:
        if has_norm:
            _check_dtype("data", data)
        copy = _on_cpu(data)
        others = [_on_cpu(each) if isinstance(each, torch.Tensor) else each for each in arguments]
        results = operator(copy, *others)
        if results is None:
            data.detach().copy_(copy)
            return None
        if isinstance(results, torch.Tensor):
            return results.to(data.device)
        return tuple(result.to(data.device) for result in results)

    return kernel


def _masks_by_copy(name: str) -> Callable[..., None]:
    """The kernel of an operator that writes a list of masks."""

    def kernel(
        masks: Sequence[torch.Tensor], data: Sequence[torch.Tensor], *settings: Any
    ) -> None:
        if not masks and not data:  # no tensor says which kernel is meant
            return
        _check_dtypes(data)
        copies = [torch.empty(mask.shape, dtype=mask.dtype) for mask in masks]
        getattr(torch.ops.winnow, name)(copies, [_on_cpu(each) for each in data], *settings)
        for mask, copy in zip(masks, copies):
            mask.copy_(copy)

    return kernel


# --- Autograd -------------------------------------------------------------------------------------


def _bumping(name: str) -> Callable[..., Any]:
    """A kernel that raises the version counters of the first argument, then calls the real one."""
    operator = getattr(torch.ops.winnow, name).default

    def kernel(keyset: Any, written: Any, *arguments: Any) -> Any:
        if isinstance(written, torch.Tensor) and written._is_zerotensor():
            raise ValueError("data: a zero tensor has no memory to write to; .clone() has")
        torch.autograd.graph.increment_version(written)
        return operator.redispatch(keyset & _after_inplace, written, *arguments)

    return kernel


def _register(name: str, fake: Callable[..., Any], by_copy: Callable[..., Any]) -> None:
    torch.library.register_fake(f"winnow::{name}", fake, lib=_registrations)
    _registrations.impl(name, by_copy, "CompositeExplicitAutograd")
    # Nothing is differentiated, and nothing has to be said about it in the backward pass.
    _registrations.impl(name, torch.library.fallthrough_kernel, "Autograd")
    if name.endswith("_"):
        _registrations.impl(name, _bumping(name), "ADInplaceOrView", with_keyset=True)


_register("compute_mask", _fake_compute_mask, _by_copy("compute_mask"))
for _name in ("compute_masks_", "compute_global_masks_"):
    _register(_name, _fake_compute_masks, _masks_by_copy(_name))
for _name in ("prune_", "apply_mask_"):
    _register(_name, _fake_write, _by_copy(_name))
_register("quantize_rows", _fake_quantize_rows, _by_copy("quantize_rows", has_norm=False))
_register("requantize_rows", _fake_requantize_rows, _by_copy("requantize_rows", has_norm=False))


# --- Views with a lazy sign -----------------------------------------------------------------------
# torch's own fallback takes operators that write into an argument and return nothing for others.


def _prune_lazy(data: torch.Tensor, *settings: Any) -> None:
    mask = torch.ops.winnow.compute_mask(data.detach(), *settings)
    data.detach().masked_fill_(mask == 0, 0)


def _apply_mask_lazy(data: torch.Tensor, mask: torch.Tensor) -> None:
    if data.shape != mask.shape or data.device != mask.device:
        raise ValueError(
            f"mask: expected shape {list(data.shape)} on {data.device}, found {list(mask.shape)} on "
            f"{mask.device}"
        )
    data.detach().masked_fill_(mask == 0, 0)


_registrations.impl("prune_", _prune_lazy, "Negative")
_registrations.impl("apply_mask_", _apply_mask_lazy, "Negative")


# --- What other modules call ----------------------------------------------------------------------

_compute_mask = torch.ops.winnow.compute_mask.default
_prune_ = torch.ops.winnow.prune_.default


def compute_mask(
    data: torch.Tensor,
    sparsity_level: float,
    sparse_block_shape: Sequence[int],
    zeros_per_block: int | None,
    norm: str,
) -> torch.Tensor:
    """The mask of a tensor; see tensors.compute_mask. TypeError for anything but a tensor."""
    _check_tensor("tensor", data)
    _check_dtype("data", data)
    mask: torch.Tensor = _compute_mask(
        data, sparsity_level, sparse_block_shape, zeros_per_block, norm
    )
    return mask


def prune_(
    data: torch.Tensor,
    sparsity_level: float,
    sparse_block_shape: Sequence[int],
    zeros_per_block: int | None,
    norm: str,
) -> None:
    """Prunes a tensor in place; see tensors.prune_. TypeError for anything but a tensor."""
    _check_tensor("tensor", data)
    _check_written(data)
    _prune_(data, sparsity_level, sparse_block_shape, zeros_per_block, norm)


def _check_tensor(name: str, value: Any) -> None:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, found {class_name(value)}")


def check_values(name: str, tensor: torch.Tensor) -> None:
    """ValueError for a tensor of the meta device, which any result would be a mere form of."""
    if tensor.is_meta and not isinstance(tensor, FakeTensor) and not torch.compiler.is_compiling():
        raise ValueError(
            f"{name}: no values, on the meta device: load or materialize it first (to_empty, "
            "load_state_dict(assign=True)), or take accelerate's hooks off "
            "(remove_hook_from_module(module, recurse=True))"
        )


def _check_written(data: torch.Tensor) -> None:
    """ValueError for what cannot be written to, or would be behind autograd's back."""
    _check_dtype("data", data)
    if torch.compiler.is_compiling():
        return
    check_values("data", data)
    if data.requires_grad and not data.is_leaf and torch.is_grad_enabled():
        raise ValueError(
            "data: computed from tensors that require grad, whose gradient would go through dropped "
            "values too: pass a leaf, or .detach()"
        )
    if first_read_only([tensor_range(data)]) is not None:
        raise ValueError(
            "data: in memory that is read-only, such as a file mapped for reading: pass a .clone()"
        )


def compute_masks_(
    masks: Sequence[torch.Tensor],
    data: Sequence[torch.Tensor],
    sparsity_levels: Sequence[float],
    sparse_block_shapes: Sequence[int],
    zeros_per_block: Sequence[int],
    norm: str,
) -> None:
    """Writes the mask of each of `data` into `masks`, in one call for all of them.

    Everything is checked before any mask is written.

    Args:
        masks: int8, contiguous, each of the shape and device of its data; 1 = kept, 0 = dropped. They
            share no memory with each other nor with any data. Their version counters are raised.
        data: float32, float64, float16 or bfloat16, of any rank and strides.
        sparsity_levels: for each tensor the share of its blocks that are pruned.
        sparse_block_shapes: for each tensor two numbers, rows and columns of a block.
        zeros_per_block: for each tensor the values that are dropped in a pruned block; -1: all.
        norm: "L1" or "L2".

    Raises:
        ValueError: for anything else, naming it; no mask was written.
    """
    arguments = (masks, data, sparsity_levels, sparse_block_shapes, zeros_per_block, norm)
    if torch.compiler.is_compiling() or not masks:
        torch.ops.winnow.compute_masks_(*arguments)
        return
    _check_dtypes(data)
    # What the kernel for ADInplaceOrView does, without handing a thousand tensors to Python and back.
    torch.autograd.graph.increment_version(masks)
    with torch._C._AutoDispatchBelowADInplaceOrView():
        torch.ops.winnow.compute_masks_(*arguments)


def compute_global_masks_(
    masks: Sequence[torch.Tensor],
    data: Sequence[torch.Tensor],
    sparsity_level: float,
    sparse_block_shape: Sequence[int],
    zeros_per_block: int | None,
    norm: str,
) -> None:
    """Spends one budget on all of `data`: the lowest blocks of all of them together are dropped.

    Ties go to the earlier tensor, then to the lower index.

    Args:
        masks, data: as of compute_masks_. Data that are not contiguous are copied meanwhile.
        sparsity_level: share of all blocks that are selected.
        sparse_block_shape: rows and columns of a block.
        zeros_per_block: the values that are dropped in a selected block; None: all of them.
        norm: "L1" or "L2".

    Raises:
        ValueError: for anything else, naming it; no mask was written.
    """
    _check_dtypes(data)
    torch.ops.winnow.compute_global_masks_(
        masks, data, sparsity_level, sparse_block_shape, zeros_per_block, norm
    )


def apply_mask_(data: torch.Tensor, mask: torch.Tensor) -> None:
    """Sets `data` to +0 wherever `mask` is 0, in place; all other values keep their bits.

    Args:
        data: float32, float64, float16 or bfloat16, of any rank and strides, but not expanded.
        mask: of data's shape and device, of any dtype. One that is int8 and contiguous shares no
            memory with `data`; others are copied.

    Raises:
        TypeError: for anything but tensors.
        ValueError: for other dtypes, shapes and layouts, naming them; nothing was written.
    """
    _check_tensor("tensor", data)
    _check_tensor("mask", mask)
    _check_written(data)
    if mask.dtype is not torch.int8:
        mask = mask.ne(0).to(torch.int8)
    torch.ops.winnow.apply_mask_(data, mask.contiguous())


def quantize_rows(
    weight: torch.Tensor, zero_policy: str = "exact"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Encodes each row of a weight in bytes.

    Args:
        weight: [rows, cols], of any floating dtype (rounded to float32) and any strides.
        zero_policy: "exact" gives 0 a code of its own; "upstream" computes as torch.ao does, where 0
            may be off by half a step, or by more if it lies outside the row's range.

    Returns:
        codes, uint8 [rows, cols]; scales, float32 [rows]; zero_points, float32 [rows]. The value of a
        code is `(code - zero_point) * scale`.

    Raises:
        ValueError: for another weight or policy; under "exact" also for a row that holds NaN or
            infinite values, naming it.
    """
    codes, scales, zero_points = torch.ops.winnow.quantize_rows(_as_float(weight), zero_policy)
    return codes, scales, zero_points


def requantize_rows(
    weight: torch.Tensor, scales: torch.Tensor, zero_points: torch.Tensor
) -> torch.Tensor:
    """Encodes each row of a weight by the scale and the zero point that are given.

    Args:
        weight: [rows, cols], of any floating dtype (rounded to float32) and any strides.
        scales: float32 [rows].
        zero_points: float32 [rows].

    Returns:
        codes, uint8 [rows, cols]. Values outside a row's range become the nearest end of it.

    Raises:
        ValueError: for other shapes or dtypes.
    """
    parameters = (scales.detach().contiguous(), zero_points.detach().contiguous())
    codes: torch.Tensor = torch.ops.winnow.requantize_rows(_as_float(weight), *parameters)
    return codes


def _as_float(weight: torch.Tensor) -> torch.Tensor:
    _check_tensor("weight", weight)
    check_values("weight", weight)
    if not weight.is_floating_point():
        raise ValueError(f"weight: expected a floating dtype, found {weight.dtype}")
    return weight.detach().to(torch.float32)
