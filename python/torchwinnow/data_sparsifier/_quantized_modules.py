"""PRIVATE. torch.ao's quantized embeddings, made from codes and behaving as the float ones do."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


def quantized_modules() -> types.ModuleType:
    """torch.ao.nn.quantized. ImportError if this torch has none."""
    try:
        import torch.ao.nn.quantized
    except ImportError as error:
        raise ImportError(
            f"torch {torch.__version__} has no torch.ao.nn.quantized, whose Embedding and "
            "EmbeddingBag hold the tables of bytes"
        ) from error
    return torch.ao.nn.quantized


def quantized_module(
    float_module: Any, codes: Tensor, scales: Tensor, zero_points: Tensor
) -> nn.Module:
    """A quantized module in the place of `float_module`, with its training flag and hooks.

    Lookups have the dtype of the float weight. torch's modules give float32; if that is another
    one, hooks convert, so that the class stays the one that programs ask for.

    Args:
        codes: [num_embeddings, embedding_dim], uint8
        scales, zero_points: [num_embeddings], float32
    """
    modules = quantized_modules()
    weight = torch._make_per_channel_quantized_tensor(codes, scales, zero_points, 0)
    sizes = (float_module.num_embeddings, float_module.embedding_dim)
    if isinstance(float_module, nn.EmbeddingBag):
        module = modules.EmbeddingBag(
            *sizes,
            mode=float_module.mode,
            include_last_offset=float_module.include_last_offset,
            _weight=weight,
        )
        if (
            float_module.mode != "sum"
            or float_module.padding_idx is not None
            or float_module.include_last_offset
        ):
            module.register_forward_hook(_pool_as_float_bag, with_kwargs=True)
    else:
        module = modules.Embedding(*sizes, _weight=weight)
    module.padding_idx = float_module.padding_idx
    module.train(float_module.training)
    dtype = float_module.weight.dtype
    if dtype is not torch.float32:
        module.float_dtype = dtype
        module.register_forward_hook(_in_float_dtype)
    for hooks in _HOOKS:
        getattr(module, hooks).update(getattr(float_module, hooks))
    if dtype is not torch.float32 and isinstance(float_module, nn.EmbeddingBag):
        module.register_forward_pre_hook(_weights_in_float32, with_kwargs=True)
    return module


def _in_float_dtype(module: Any, _args: tuple[Any, ...], output: Tensor) -> Tensor:
    """A forward hook: before those of the float module, which see what that gave."""
    return output.to(module.float_dtype)


def _weights_in_float32(
    _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A forward pre-hook: a quantized bag takes per_sample_weights of float32 alone."""

    def converted(value: Any) -> Any:
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(torch.float32) if is_float else value

    return tuple(map(converted, args)), {key: converted(each) for key, each in kwargs.items()}


def _arguments(
    input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None, *_: Any
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    return input, offsets, per_sample_weights


def _pool_as_float_bag(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
) -> Tensor:
    """A forward hook: torch's quantized bag sums, whatever its mode, and knows no padding_idx.

    With include_last_offset it loses the last row of indices of two dimensions.
    """
    named = {"input" if key == "indices" else key: value for key, value in kwargs.items()}
    named.pop("compressed_indices_mapping", None)
    indices, offsets, weights = _arguments(*args, **named)
    if weights is not None and module.mode != "sum":
        raise NotImplementedError(
            f"per_sample_weights is supported for mode='sum' only, not for '{module.mode}'"
        )
    loses_row = indices.dim() == 2 and module.include_last_offset
    if module.mode == "max" or module.padding_idx is not None or loses_row:
        return _pooled_rows(module, indices, offsets, weights)
    if module.mode == "mean":
        return output / _bag_sizes(indices, offsets, module.include_last_offset)
    return output


def _bag_sizes(indices: Tensor, offsets: Tensor | None, last_offset: bool) -> Tensor | int:
    """The numbers that the sums are divided by: [bags, 1], at least 1."""
    if indices.dim() == 2:
        return max(indices.shape[1], 1)
    if not last_offset:
        end = offsets.new_full((1,), indices.numel())
        offsets = torch.cat([offsets, end])
    return offsets.diff().clamp(min=1).unsqueeze(1)


def _pooled_rows(
    module: Any, indices: Tensor, offsets: Tensor | None, weights: Tensor | None
) -> Tensor:
    """The bag of the rows that were looked up, by torch's float bag."""
    flat = indices.reshape(-1)
    rows = torch.ops.quantized.embedding_byte(module._packed_params._packed_weight, flat)
    rows = functional.pad(rows, (0, 0, 0, 1))  # the last one stands for padding_idx
    places = torch.arange(flat.numel(), dtype=indices.dtype, device=indices.device)
    if module.padding_idx is not None:
        places = places.masked_fill(flat == module.padding_idx, flat.numel())
    return functional.embedding_bag(
        places.view_as(indices),
        rows,
        offsets,
        mode=module.mode,
        per_sample_weights=weights,
        include_last_offset=module.include_last_offset,
        padding_idx=flat.numel(),
    )
