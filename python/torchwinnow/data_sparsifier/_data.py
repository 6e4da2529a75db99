"""PRIVATE. What can be sparsified, and under which names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .._arguments import class_name

EMBEDDING_TYPES = (nn.Embedding, nn.EmbeddingBag)
_NOT_SUPPORTED = (
    "specified data type {} is not supported: expected a dense tensor, a Parameter, or an Embedding "
    "or EmbeddingBag"
)
SUPPORTED_TYPES = (Tensor, nn.Parameter, *EMBEDDING_TYPES)


def weight_in(data: Any) -> Tensor | None:
    """The tensor that is meant by `data`: itself or a module's `weight`; None for other types."""
    if type(data) in (Tensor, nn.Parameter):
        return data
    if isinstance(data, EMBEDDING_TYPES) and not is_computed(data):
        return data.weight
    return None


def is_computed(module: nn.Module) -> bool:
    """Whether `weight` is not a tensor of the module's own, but computed from others."""
    return "weight" not in module._parameters and "weight" not in module._buffers


def remedy_for(module: nn.Module) -> str:
    """Says how the weight of `module` is computed, and how it is made a tensor again."""
    hooks = module._forward_pre_hooks.values()
    if any(isinstance(hook, BasePruningMethod) for hook in hooks):
        return "by torch.nn.utils.prune: call torch.nn.utils.prune.remove(module, 'weight') first"
    if any(type(hook) is WeightNorm for hook in hooks):
        return "by weight_norm: call torch.nn.utils.remove_weight_norm(module) first"
    if any(type(hook) is SpectralNorm for hook in hooks):
        return "by spectral_norm: call torch.nn.utils.remove_spectral_norm(module) first"
    if is_parametrized(module, "weight"):
        return (
            "by a parametrization: call torch.nn.utils.parametrize.remove_parametrizations(module, "
            "'weight') first, or add module.parametrizations.weight.original"
        )
    return "from other tensors: add the Parameter that it is computed from"


def checked_weight(data: Any) -> Tensor:
    """As weight_in; AssertionError for other types, and for tensors without plain memory."""
    weight = weight_in(data)
    if weight is None and isinstance(data, EMBEDDING_TYPES):
        raise AssertionError(
            f"specified data type {class_name(data)} is not supported where its weight is computed "
            + remedy_for(data)
        )
    if weight is None:
        found = class_name(data)
    elif type(weight) not in (Tensor, nn.Parameter):
        found = f"{class_name(data)} with a {class_name(weight)}"
    else:
        check_tensor(weight)
        return weight
    raise AssertionError(_NOT_SUPPORTED.format(found) + _inner_hint(data))


def _inner_hint(data: Any) -> str:
    """Where an adapter, as peft's, or a wrapper has the embedding."""
    for attribute in ("base_layer", "original_module", "module"):
        inner = getattr(data, attribute, None) if isinstance(data, nn.Module) else None
        if isinstance(inner, EMBEDDING_TYPES):
            return f"; its {attribute} is one"
    return ""


def check_tensor(weight: Tensor, prefix: str = "") -> None:
    """AssertionError, its text after `prefix`, for tensors that are not dense or have no memory."""
    if weight.is_quantized or weight.layout is not torch.strided:
        found = f"tensor of layout {weight.layout} and dtype {weight.dtype}"
    elif weight.is_nested or weight._is_zerotensor():
        found = "nested tensor" if weight.is_nested else "zero tensor without memory"
    else:
        return
    raise AssertionError(prefix + _NOT_SUPPORTED.format(found))


def check_name(name: Any) -> None:
    """TypeError unless it is a string, KeyError for names that no container can hold."""
    if not isinstance(name, str):
        raise TypeError(f"name: expected a string, found {type(name).__name__}")
    if name == "":
        raise KeyError("name can't be empty")
    if "." in name:
        raise KeyError(f"name can't contain \".\", found '{name}'")
    if name == "parametrizations":
        raise KeyError("name can't be 'parametrizations', which the container needs itself")
