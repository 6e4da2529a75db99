"""PRIVATE. The names of a model's parameters, as its author wrote them.

torch.compile, DDP, FSDP and activation checkpointing put a module into another one, and a part into the
names of its parameters. These parts are left out, so that filters, configurations and the masks of a
checkpoint fit a model that is wrapped and one that is not. A tied parameter has several names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Of torch.compile, FSDP and activation checkpointing; nobody else has attributes of these names.
_WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


@dataclass
class NamedParameter:
    """A parameter, all of its names, the first of which it goes by, and where the model has it."""

    names: list[str]
    path: str  # the first name, with the parts of wrappers
    parameter: Any


def unwrapped(name: str, parallel: Iterable[str] = ()) -> str:
    """A name without the parts that wrappers put into it.

    Args:
        parallel: paths of modules that are the `module` of a DistributedDataParallel
    """
    parts, kept = name.split("."), []
    for end, part in enumerate(parts, 1):
        if part not in _WRAPPED and ".".join(parts[:end]) not in parallel:
            kept.append(part)
    return ".".join(kept)


def named_parameters(model: Any) -> list[NamedParameter]:
    """The distinct parameters of a torch.nn.Module, in the order of `model.named_parameters()`."""
    parallel = parallel_paths(model)
    distinct: dict[int, NamedParameter] = {}
    for path, parameter in model.named_parameters(remove_duplicate=False):
        name = unwrapped(path, parallel)
        found = distinct.setdefault(id(parameter), NamedParameter([], path, parameter))
        if name not in found.names:
            found.names.append(name)
    return list(distinct.values())


def parallel_paths(model: Any) -> set[str]:
    """The paths of what DistributedDataParallel and DataParallel wrap: any module may have a `module`."""
    from torch import nn

    kinds = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    return {
        f"{path}.module" if path else "module"
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, kinds)
    }
