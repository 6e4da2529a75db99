"""PRIVATE. What can be sparsified, and under which names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

EMBEDDING_TYPES = (nn.Embedding, nn.EmbeddingBag)
SUPPORTED_TYPES = (Tensor, nn.Parameter, *EMBEDDING_TYPES)


def weight_in(data: Any) -> Tensor | None:
    """The tensor that is meant by `data`: itself or a module's `weight`; None for other types."""
    if type(data) in (Tensor, nn.Parameter):
        return data
    if isinstance(data, EMBEDDING_TYPES) and not is_parametrized(data):
        return data.weight
    return None


def checked_weight(data: Any) -> Tensor:
    """As weight_in; AssertionError for other types and for sparse and quantized tensors."""
    weight = weight_in(data)
    if weight is None:
        found = type(data).__name__
    elif type(weight) not in (Tensor, nn.Parameter):
        found = f"{type(data).__name__} with a {type(weight).__name__}"
    elif weight.layout is not torch.strided or weight.is_quantized:
        found = f"tensor of layout {weight.layout} and dtype {weight.dtype}"
    else:
        return weight
    raise AssertionError(
        f"specified data type {found} is not supported: expected a dense tensor, a Parameter, or "
        "an Embedding or EmbeddingBag that is not parametrized"
    )


def check_name(name: Any) -> None:
    """TypeError for what is no string, KeyError for names that no container can hold."""
    if not isinstance(name, str):
        raise TypeError(f"name: expected a string, got {type(name).__name__}")
    if name == "":
        raise KeyError("name can't be empty")
    if "." in name:
        raise KeyError(f"name can't contain \".\", got '{name}'")
    if name == "parametrizations":
        raise KeyError("name can't be 'parametrizations', which the container needs itself")
