"""PRIVATE. The module that holds a sparsifier's data, by torch.nn.utils.parametrize.

A name has its tensor in a *slot* of the container, the attribute of that name. Names that a module
has already as attributes (`forward`, `training`) get a slot with a prefix.

    masked:    container.parametrizations.<slot>.original, and .<slot>[0] is the parametrization
    squashed:  container.<slot>
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from .fake_sparsity import FakeSparsity, check_mask, check_shape

_PREFIX = "winnow:"
# parametrize keeps its lists in a ModuleDict, which has more attributes than a Module.
_ATTRIBUTES = frozenset(dir(nn.ModuleDict()))


@functools.lru_cache(maxsize=65536)  # a step asks for each name
def slot_of(name: str) -> str:
    """The container's attribute for the data `name`; no two names have the same."""
    if name in _ATTRIBUTES or name.startswith(_PREFIX):
        return _PREFIX + name
    return name


def masked_lists(container: nn.Module) -> Mapping[str, nn.Module]:
    """The ParametrizationList of every slot that is masked."""
    lists = container._modules.get("parametrizations")
    return {} if lists is None else lists._modules


def is_masked(container: nn.Module, name: str) -> bool:
    return slot_of(name) in masked_lists(container)


def original_in(masked_list: nn.Module) -> Tensor:
    """The unmasked tensor of one ParametrizationList, without the cost of a Module's attributes."""
    original = masked_list._buffers.get("original")
    return masked_list._parameters["original"] if original is None else original


def stored_tensor(container: nn.Module, name: str) -> Tensor:
    """The original while masked, the plain tensor once squashed."""
    slot = slot_of(name)
    masked = masked_lists(container).get(slot)
    return getattr(container, slot) if masked is None else original_in(masked)


def check_parametrization(make: Any, weight: Tensor, mask: Tensor) -> None:
    """What insert would raise, without a container to leave half filled."""
    if make is FakeSparsity:
        check_mask(mask, weight)
        return
    scratch = nn.Module()
    scratch.register_buffer("weight", weight.detach())
    parametrize.register_parametrization(scratch, "weight", make(mask))


def insert(container: nn.Module, name: str, weight: Tensor, links: Iterable[nn.Module]) -> None:
    """Puts `weight` into the container under parametrizations that were checked; none: plain."""
    slot = slot_of(name)
    if isinstance(weight, nn.Parameter):
        container.register_parameter(slot, weight)
    else:
        container.register_buffer(slot, weight)
    for link in links:
        # Unsafe leaves out a second check, which would multiply once more.
        unsafe = type(link) is FakeSparsity
        parametrize.register_parametrization(container, slot, link, unsafe=unsafe)


def remove(container: nn.Module, name: str) -> None:
    """Takes `name` out; its tensor goes back to its owner as it is."""
    slot = slot_of(name)
    if slot in masked_lists(container):
        parametrize.remove_parametrizations(container, slot, leave_parametrized=False)
    delattr(container, slot)


def links_of(container: nn.Module, name: str) -> list[nn.Module]:
    """The parametrizations of `name`, in order; none once squashed."""
    masked = masked_lists(container).get(slot_of(name))
    return [] if masked is None else list(masked)


def check_readable(container: nn.Module, name: str) -> None:
    """Raises what a read of the masked `name` would raise, without a product where it can."""
    masked = masked_lists(container)[slot_of(name)]
    if len(masked) == 1 and type(masked[0]) is FakeSparsity:
        check_shape(masked[0].mask, original_in(masked))
    else:
        masked()
