"""PRIVATE. Tensors of torch as the bytes of safetensors. _array_bytes is the same for NumPy."""

from __future__ import annotations

from typing import Any

import torch

from . import _arguments
from ._dtypes import ALL_NAMES
from ._memory import Range, tensor_span

# torch packs two values of F4 into one.
_TYPES = {**ALL_NAMES, "F4": "float4_e2m1fn_x2"}
_NAMES = {getattr(torch, torch_name): name for name, torch_name in _TYPES.items()}


def layout(name: str, dtype: str, shape: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """Returns the dtype and the shape here of a tensor in a file."""
    if dtype not in _TYPES:
        raise ValueError(f"tensor {name!r}: torch has no dtype for {dtype}")
    if dtype == "F4":
        if not shape or shape[-1] % 2:
            raise ValueError(f"tensor {name!r}: torch packs two values of F4, found shape {shape}")
        shape = (*shape[:-1], shape[-1] // 2)
    return getattr(torch, _TYPES[dtype]), shape


def empty(dtype: Any, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a new tensor, and its memory as bytes."""
    try:
        tensor = torch.empty(shape, dtype=dtype, device="cpu")
    except RuntimeError as error:  # of the allocator
        raise MemoryError(str(error)) from None
    return tensor, tensor.reshape(-1).view(torch.uint8)


def span(name: str, value: Any) -> tuple[str, Range] | None:
    """Returns the device and the addresses of the values, or None if there are none."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor or an array, found {_arguments.class_name(value)}")
    if value.layout is not torch.strided or value.is_quantized or value.is_nested:
        kind = "quantized" if value.is_quantized else "nested" if value.is_nested else value.layout
        raise ValueError(f"{name}: expected a dense tensor, found {kind}")
    if not value.numel():
        return None
    if value.is_meta or not value.data_ptr():  # a wrapper of other tensors has none
        raise ValueError(f"{name}: expected a tensor with values of its own, found none")
    return str(value.device), tensor_span(value)


def plain(name: str, tensor: torch.Tensor) -> tuple[str, tuple[int, ...], torch.Tensor]:
    """Returns dtype and shape in a file, and the values as bytes, copied if they are not contiguous."""
    if tensor.dtype not in _NAMES:
        raise ValueError(f"{name}: safetensors has no dtype for {tensor.dtype}")
    dtype, shape = _NAMES[tensor.dtype], tuple(tensor.shape)
    if dtype == "F4":
        if not shape:
            raise ValueError(f"{name}: a scalar holds two values of {tensor.dtype}")
        shape = (*shape[:-1], shape[-1] * 2)
    dense = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return dtype, shape, dense.reshape(-1).view(torch.uint8)
