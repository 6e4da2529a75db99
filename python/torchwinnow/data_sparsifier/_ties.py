"""PRIVATE. What a sparsifier's names are tied to: the modules whose weights were added, the masks."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from . import _container as containers


class Ties:
    """Modules by name, weakly (data that were given as tensors have none); names by mask."""

    def __init__(self, state: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._modules: dict[str, weakref.ref[nn.Module]] = {}
        self._names = {id(entries["mask"]): name for name, entries in (state or {}).items()}

    def tie(self, name: str, data: Any, mask: Tensor) -> None:
        self._names[id(mask)] = name
        if isinstance(data, nn.Module):
            self._modules[name] = weakref.ref(data)

    def untie(self, name: str, mask: Tensor) -> None:
        self._modules.pop(name, None)
        self._names.pop(id(mask), None)

    def kept_in(self, state: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> Ties:
        """Those of another state, with the modules of `names`."""
        kept = Ties(state)
        kept._modules = {name: self._modules[name] for name in names if name in self._modules}
        return kept

    def name_of_mask(self, state: Mapping[str, Mapping[str, Any]], mask: Any) -> str | None:
        """The name that has this very mask object."""
        name = self._names.get(id(mask))
        return name if name in state and state[name].get("mask") is mask else None

    def check_modules(self, container: nn.Module, names: Iterable[str] | None = None) -> None:
        """ValueError naming masked data whose module has another weight by now."""
        lists = containers.masked_lists(container)
        for name in self._modules if names is None else names:
            module = self._modules[name]() if name in self._modules else None
            masked = lists.get(containers.slot_of(name))
            if module is None or masked is None:
                continue
            original = containers.original_in(masked)
            # What computes the weight since (prune, a parametrization) has it as a Parameter.
            if module._parameters.get("weight") is not original and not _has(module, original):
                raise ValueError(
                    f"the {type(module).__name__} of '{name}' has another weight than the one that "
                    "was added (load_state_dict(assign=True) and `module.weight = ...` replace it), "
                    f"so that its mask would have no effect: call add_data('{name}', module) again, "
                    "which keeps the mask, or remove_data"
                )


def _has(module: nn.Module, tensor: Tensor) -> bool:
    """Among its tensors, or the memory of one: `module.weight = nn.Parameter(module.weight.data)`."""
    return any(
        each is tensor or (each.data_ptr() == tensor.data_ptr() != 0 and each.shape == tensor.shape)
        for each in (*module.parameters(), *module.buffers())
    )
