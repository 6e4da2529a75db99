"""Prunes the embeddings of a trained model and turns them into tables of bytes, in one call.

    post_training_sparse_quantize(
        model, DataNormSparsifier, sparsity_level=0.8, sparse_block_shape=(1, 1)
    )
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import _ops
from .._arguments import class_name
from ._data import EMBEDDING_TYPES, is_computed, remedy_for
from ._quantized_modules import quantized_module, quantized_modules

__all__ = ["post_training_sparse_quantize"]

_POLICIES = ("exact", "upstream")


@dataclass
class _Target:
    """An embedding to convert, and all places where it hangs."""

    module: nn.Module
    name: str = ""  # for the sparsifier
    places: list[tuple[nn.Module, str]] = field(default_factory=list)


def _is_embedding(module: nn.Module) -> bool:
    """Whether the class is exactly torch's: a replacement of a derived one would lose its forward."""
    return type(module) in EMBEDDING_TYPES


def _places(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Parent, attribute and child, for every place below the model.

    In upstream's order: the children of a module, then those of its children, the last one first.
    """
    stack, entered = [model], {model}
    while stack:
        parent = stack.pop()
        for name, child in parent._modules.items():
            if child is None:
                continue
            yield parent, name, child
            if not _is_embedding(child) and child not in entered:
                entered.add(child)
                stack.append(child)


def _all_embeddings(model: nn.Module) -> list[nn.Module]:
    """All embeddings below the model, each once."""
    found = (child for _, _, child in _places(model) if _is_embedding(child))
    return list(dict.fromkeys(found))


def _selected(model: nn.Module, select_embeddings: list[nn.Module] | None) -> list[nn.Module]:
    if select_embeddings is None:
        if _is_embedding(model):
            raise KeyError("the model itself is an embedding, which has no name in a model")
        return _all_embeddings(model)
    if not isinstance(select_embeddings, list):
        raise AssertionError(
            f"select_embeddings must be a list of embeddings, found {type(select_embeddings).__name__}"
        )
    inside = {child for _, _, child in _places(model)}
    for module in select_embeddings:
        if not isinstance(module, nn.Module) or not _is_embedding(module):
            raise AssertionError(
                "select_embeddings must be an embedding or embedding bags, found "
                f"{class_name(module)}"
            )
        if module is model:
            raise KeyError("the model itself cannot be selected, for it has no name")
        if module not in inside:
            raise AssertionError("select_embeddings must be part of input model")
    return list(dict.fromkeys(select_embeddings))


def _unique_name(fqn: str, taken: set[str]) -> str:
    """`fqn` with "_" for ".", and if that is taken the first free of _1, _2 ... behind it."""
    name = base = fqn.replace(".", "_")
    suffix = 0
    while name in taken:
        suffix += 1
        name = f"{base}_{suffix}"
    taken.add(name)
    return name


def _targets(model: nn.Module, modules: list[nn.Module]) -> list[_Target]:
    targets = {module: _Target(module) for module in modules}
    for parent, name, child in _places(model):
        if child in targets:
            targets[child].places.append((parent, name))
    fqns = {module: fqn for fqn, module in model.named_modules()}
    taken: set[str] = set()
    for target in targets.values():
        target.name = _unique_name(fqns[target.module], taken)
        if target.module.max_norm is not None:
            raise ValueError(
                f"'{fqns[target.module]}' has a max_norm, which changes its weight at every lookup: "
                "set it to None first"
            )
        if is_computed(target.module):
            raise ValueError(
                f"'{fqns[target.module]}' has a weight that is computed {remedy_for(target.module)}"
            )
        _ops.check_values(f"'{fqns[target.module]}'", target.module.weight)
    return list(targets.values())


def _masked(sparsifier: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights, pruned by one step; the given ones stay as they are."""
    for name, weight in weights.items():
        sparsifier.add_data(name, weight)
    sparsifier.step()
    return {name: sparsifier.get_data(name, return_original=False) for name in weights}


def _tables(
    sparsifier: Any, weights: dict[str, Tensor], sparsify_first: bool, zero_policy: str
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """name -> codes, scales and zero points."""
    if sparsify_first:
        pruned = _masked(sparsifier, weights)
        return {name: _ops.quantize_rows(pruned[name], zero_policy) for name in weights}
    tables = {name: _ops.quantize_rows(weight, zero_policy) for name, weight in weights.items()}
    rounded = {
        name: (codes - zero_points[:, None]) * scales[:, None]
        for name, (codes, scales, zero_points) in tables.items()
    }
    pruned = _masked(sparsifier, rounded)
    return {
        name: (_ops.requantize_rows(pruned[name], scales, zero_points), scales, zero_points)
        for name, (_, scales, zero_points) in tables.items()
    }


@torch.no_grad()
def post_training_sparse_quantize(
    model: nn.Module,
    data_sparsifier_class: type,
    sparsify_first: bool = True,
    select_embeddings: list[nn.Module] | None = None,
    *,
    zero_policy: Literal["exact", "upstream"] = "exact",
    **sparse_config: Any,
) -> None:
    """Prunes embeddings and embedding bags by one step of a sparsifier and quantizes them.

    Each is replaced, wherever it hangs, by torch.ao.nn.quantized's module of its kind, which has a
    byte for each value and a scale and a zero point for each row. Training flags, hooks, the mode
    and padding_idx of bags stay, and lookups have the dtype of the float weight (computed in
    float32). The float tensors are left as they are.

    Args:
        model: changed in place; on the CPU
        data_sparsifier_class: made with `sparse_config`. It knows each embedding by its name in
            the model with "_" for "."; if that is taken, with "_1", "_2" ... behind it.
        sparsify_first: False: quantized first, and the rounded values are pruned; a row keeps the
            scale of its dense values.
        select_embeddings: which, in this order; None: all below the model.
        zero_policy: "exact": all that is pruned is exactly 0 in the tables and in lookups, in
            either order. "upstream": scales, zero points and codes are torch.ao's, bit for bit.

    Raises, and has changed nothing then:
        AssertionError: select_embeddings is not a list, or has an item that is not an embedding of
            the model.
        KeyError: the model itself is an embedding.
        ValueError: a max_norm, a weight that is computed (torch.nn.utils.prune, weight_norm,
            spectral_norm), another zero_policy; what the sparsifier and quantize_rows refuse.
        ImportError: this torch has no quantized modules.

    Differs from torch.ao: the default zero_policy; all or nothing; mode, padding_idx and dtype are
    kept, a max_norm is refused; a shared embedding stays shared; float weights are not masked; other
    modules with a qconfig are left alone.
    """
    sparsifier = data_sparsifier_class(**sparse_config)
    if zero_policy not in _POLICIES:
        raise ValueError(f"zero_policy: expected 'exact' or 'upstream', found {zero_policy!r}")
    quantized_modules()
    targets = _targets(model, _selected(model, select_embeddings))
    weights = {target.name: target.module.weight.detach() for target in targets}
    tables = _tables(sparsifier, weights, sparsify_first, zero_policy)
    made = [quantized_module(target.module, *tables[target.name]) for target in targets]
    for target, module in zip(targets, made):
        for parent, name in target.places:
            parent._modules[name] = module
