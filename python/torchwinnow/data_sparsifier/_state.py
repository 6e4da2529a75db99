"""PRIVATE. A sparsifier's state as plain dicts, and back.

    state        name -> {"mask": Tensor, and what update_mask keeps there}
    data_groups  name -> configuration
    _container   `parametrizations.<slot>.original` while masked, `<slot>` once squashed -> tensor
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import _container as containers
from . import _mask_formats as mask_formats
from ._data import check_tensor
from ._masks import own_mask, product_dtype
from .fake_sparsity import FakeSparsity

PARTS = ("state", "data_groups", "_container")


@dataclass
class Entry:
    """One name of a state, checked and copied."""

    name: str
    tensor: Tensor
    state: dict[str, Any]
    group: dict[str, Any]
    links: list[nn.Module]  # none: squashed


def written_state(
    state: Mapping[str, Mapping[str, Any]], mask_format: str
) -> dict[str, dict[str, Any]]:
    """A deep copy, with masks in one of the formats of _mask_formats."""
    written = {}
    for name, entries in state.items():
        written[name] = mask_formats.written(entries["mask"], mask_format)
        written[name].update(_others(entries))
    return written


def dense_state(state: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """A deep copy of a state in any format, whose masks are dense. KeyError 'mask': one is missing."""
    return {
        name: {"mask": mask_formats.read(name, entries), **_others(entries)}
        for name, entries in state.items()
    }


def _others(entries: Mapping[str, Any]) -> dict[str, Any]:
    keys = mask_formats.KEYS
    return {key: copy.deepcopy(value) for key, value in entries.items() if key not in keys}


def container_state(container: nn.Module, clone: bool) -> dict[str, Tensor]:
    """The container's tensors by name, detached, and copied if `clone` is set."""
    tensors = container.state_dict()
    return {key: value.clone() if clone else value for key, value in tensors.items()}


def container_fields(container: nn.Module) -> dict[str, Tensor]:
    """As container_state, for pickles and deep copies: Parameters stay Parameters."""
    tensors = container.state_dict(keep_vars=True)
    return {key: value if value.is_leaf else value.detach() for key, value in tensors.items()}


def _error(what: object, why: str) -> RuntimeError:
    return RuntimeError(f"Error loading {what}: {why}")


def _links(name: str, tensor: Tensor, mask: Tensor, group: Mapping[str, Any]) -> list[nn.Module]:
    return containers.checked_links(group.get("parametrization", FakeSparsity), tensor, mask)


def _in_dtype_of(tensor: Tensor, mask: Tensor) -> Tensor:
    """`mask`, converted if a read would take over its dtype: the data's may have been changed
    since they were added, as by model.half()."""
    if product_dtype(mask.dtype, tensor.dtype) is tensor.dtype or not tensor.is_floating_point():
        return mask
    return mask.to(tensor.dtype)


def _load_link(link: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Gives a parametrization of the user's own what it had besides the mask."""
    own = {key.removeprefix(prefix): value for key, value in tensors.items()
           if key.startswith(prefix)}
    if own:
        link.load_state_dict(own, strict=False)


def _entry(
    name: str, state: dict[str, Any], parts: Mapping[str, Mapping[str, Any]], copy_tensors: bool
) -> Entry:
    tensors, slot = parts["_container"], containers.slot_of(name)
    if name not in parts["data_groups"]:
        raise _error(name, "data_groups does not have it")
    group = dict(parts["data_groups"][name])
    masked_key = f"parametrizations.{slot}.original"
    if slot not in tensors and masked_key not in tensors:
        raise _error(name, "the container does not have it")
    tensor = tensors[slot if slot in tensors else masked_key]
    if not isinstance(tensor, Tensor):
        raise _error(name, f"expected a tensor, found a {type(tensor).__name__}")
    check_tensor(tensor, f"Error loading {name}: ")
    state["mask"] = _in_dtype_of(tensor, state["mask"])
    if copy_tensors:
        tensor = tensor.detach().clone()
    links = [] if slot in tensors else _links(name, tensor, state["mask"], group)
    for index, link in enumerate(links):
        _load_link(link, f"parametrizations.{slot}.{index}.", tensors)
    return Entry(name, tensor, state, group, links)


def read(
    parts: Mapping[str, Any], *, strict: bool, skip: frozenset[str] = frozenset()
) -> Iterator[Entry]:
    """The entries of a state_dict but those in `skip`; all of them are copies.

    KeyError naming a part that is missing, or 'mask'. RuntimeError "Error loading NAME" if the
    parts do not fit together, AssertionError or ValueError if a mask does not fit its data.
    """
    for part in PARTS:
        if part not in parts:
            raise KeyError(part)
    extra = [name for name in parts["data_groups"] if name not in parts["state"]]
    if strict and extra:
        raise _error(", ".join(map(str, extra)), "state does not have it")
    state = {name: entries for name, entries in parts["state"].items() if name not in skip}
    for name, entries in dense_state(state).items():
        entry = _entry(name, entries, parts, copy_tensors=True)
        entry.group = copy.deepcopy(entry.group)
        yield entry


def unpickled(parts: Mapping[str, Any]) -> Iterator[Entry]:
    """The entries of what __getstate__ made, whose tensors belong to the new object already."""
    for name, entries in parts["state"].items():
        mask = entries["mask"]  # in older pickles sparse
        dense = own_mask(mask) if mask.layout is torch.strided else mask.to_dense()
        own = {**entries, "mask": dense}
        yield _entry(name, own, parts, copy_tensors=False)


def build(entries: Iterable[Entry]) -> tuple[nn.Module, dict, dict]:
    """A container, the state and the data_groups of `entries`, in their order."""
    container, state, groups = nn.Module(), {}, {}
    for entry in entries:
        containers.insert(container, entry.name, entry.tensor, entry.links)
        state[entry.name] = entry.state
        groups[entry.name] = entry.group
    return container, state, groups


def present(sparsifier: Any) -> Iterator[Entry]:
    """The entries of a sparsifier, their very objects."""
    container = sparsifier._container
    for name, group in sparsifier.data_groups.items():
        tensor = containers.stored_tensor(container, name)
        links = containers.links_of(container, name)
        yield Entry(name, tensor, sparsifier.state[name], group, links)
