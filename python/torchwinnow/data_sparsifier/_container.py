"""PRIVATE. The module that holds a sparsifier's data, by torch.nn.utils.parametrize.

A name has its tensor in a *slot* of the container, the attribute of that name. Names that a module
has already as attributes (`forward`, `training`) get a slot with a prefix.

    masked:    container.parametrizations.<slot>.original, and .<slot>[0] is the parametrization
    squashed:  container.<slot>
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .fake_sparsity import FakeSparsity, check_mask

_PREFIX = "winnow:"
# parametrize keeps its lists in a ModuleDict, which has more attributes than a Module.
_ATTRIBUTES = frozenset(dir(nn.ModuleDict()))


@functools.lru_cache(maxsize=65536)  # a step asks for each name
def slot_of(name: str) -> str:
    """The container's attribute for the data `name`; no two names have the same."""
    if name in _ATTRIBUTES or name.startswith(_PREFIX):
        return _PREFIX + name
    return name


def masked_lists(container: nn.Module) -> dict[str, nn.Module]:
    """The ParametrizationList of every slot that is masked."""
    lists = container._modules.get("parametrizations")
    return {} if lists is None else lists._modules


def is_masked(container: nn.Module, name: str) -> bool:
    return slot_of(name) in masked_lists(container)


def has(container: nn.Module, name: str) -> bool:
    """Whether `name` is there, masked or squashed."""
    slot = slot_of(name)
    return slot in masked_lists(container) or slot in container._parameters or slot in container._buffers


def original_in(masked_list: nn.Module) -> Tensor:
    """The unmasked tensor of one ParametrizationList, without the cost of a Module's attributes."""
    original = masked_list._buffers.get("original")
    return masked_list._parameters["original"] if original is None else original


def stored_tensor(container: nn.Module, name: str) -> Tensor:
    """The original while masked, the plain tensor once squashed."""
    slot = slot_of(name)
    masked = masked_lists(container).get(slot)
    return getattr(container, slot) if masked is None else original_in(masked)


def checked_links(make: Any, weight: Tensor, mask: Tensor) -> list[nn.Module]:
    """`[make(mask)]`, after whatever a read of `weight` under it would raise.

    ValueError for a parametrization of the user's own that keeps `weight` in several tensors, or in
    one of another shape.
    """
    if make is FakeSparsity:
        check_mask(mask, weight)
        return [make(mask)]
    link, scratch = make(mask), nn.Module()
    # A right_inverse puts the tensor that is parametrized into another storage.
    inverts = hasattr(link, "right_inverse")
    scratch.register_buffer("weight", weight.detach().clone() if inverts else weight.detach())
    parametrize.register_parametrization(scratch, "weight", link)
    stored = scratch.parametrizations["weight"]
    if not stored.is_tensor or stored.original.shape != weight.shape:
        raise ValueError(
            f"the right_inverse of {type(link).__name__} has to give one tensor of the data's shape "
            f"{tuple(weight.shape)}, which is written into the data"
        )
    return [link]


def _invert(links: Iterable[nn.Module], weight: Tensor) -> None:
    """The first step of parametrize: `weight` becomes the result of the links' right_inverse.

    Written in place, so that it stays the tensor that it is.
    """
    with torch.no_grad():
        value = weight
        for link in reversed(list(links)):
            try:
                value = link.right_inverse(value) if hasattr(link, "right_inverse") else value
            except NotImplementedError:  # none, then
                pass
        if value is not weight:
            weight.copy_(value)


def insert(container: nn.Module, name: str, weight: Tensor, links: Iterable[nn.Module]) -> None:
    """Puts `weight` into the container under links that were checked; none: plain.

    The tensor is not touched. parametrize itself calls `set_` on what it is given, and a Parameter
    then loses its gradient accumulator with all the hooks that are on it, DDP's among them. So it
    gets a stand-in, which is exchanged for the tensor.
    """
    slot, links = slot_of(name), list(links)
    if not links:
        _register(container, slot, weight)
        return
    stand_in = nn.Identity()
    container.register_buffer(slot, torch.empty(0))
    parametrize.register_parametrization(container, slot, stand_in, unsafe=True)
    masked = masked_lists(container)[slot]
    del masked._buffers["original"]
    _register(masked, "original", weight)
    for index, link in enumerate(links):
        masked._modules[str(index)] = link.train(container.training)
    masked.unsafe = all(type(link) is FakeSparsity for link in links)


def put(container: nn.Module, name: str, weight: Tensor, mask: Tensor, make: Any) -> None:
    """Puts `weight` under `make(mask)`, at the end, in the place of the one of that name.

    As checked_links raises, and has changed nothing then.
    """
    if make is FakeSparsity:
        check_mask(mask, weight)
        if _rebind(container, name, weight, mask):
            return
    links = checked_links(make, weight, mask)
    _invert(links, weight)  # the last that can fail: weights that cannot be written to
    if has(container, name):
        remove(container, name)
    insert(container, name, weight, links)


def _rebind(container: nn.Module, name: str, weight: Tensor, mask: Tensor) -> bool:
    """Gives a masked name other data and another mask, and moves it to the end.

    As remove and insert, at a tenth of their time. False, and nothing done, if something else
    than FakeSparsity masks it.
    """
    slot, lists = slot_of(name), masked_lists(container)
    masked = lists.get(slot)
    if masked is None or not is_plain(masked):
        return False
    masked._parameters.pop("original", None)
    masked._buffers.pop("original", None)
    (masked._parameters if type(weight) is nn.Parameter else masked._buffers)["original"] = weight
    masked._modules["0"]._buffers["mask"] = mask
    lists[slot] = lists.pop(slot)
    return True


def _register(module: nn.Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def unmask(container: nn.Module, name: str) -> None:
    """Ends the masking of `name`: its tensor is the plain one now, and as it was."""
    # leave_parametrized=True would call `set_` on it.
    parametrize.remove_parametrizations(container, slot_of(name), leave_parametrized=False)


def remove(container: nn.Module, name: str) -> None:
    """Takes `name` out; its tensor goes back to its owner as it is."""
    if is_masked(container, name):
        unmask(container, name)
    delattr(container, slot_of(name))


def links_of(container: nn.Module, name: str) -> list[nn.Module]:
    """The parametrizations of `name`, in order; none once squashed."""
    masked = masked_lists(container).get(slot_of(name))
    return [] if masked is None else list(masked)


def is_plain(masked_list: nn.Module) -> bool:
    """Whether a read is nothing but the product with the mask."""
    links = masked_list._modules
    return len(links) == 1 and type(links["0"]) is FakeSparsity
