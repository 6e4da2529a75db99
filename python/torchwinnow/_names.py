"""PRIVATE. The names of a model's parameters, without wrappers.

torch.compile, DDP, FSDP and activation checkpointing wrap a module in another one, which adds a part to
the names of its parameters. Leaving these parts out makes filters, configurations and the masks of a
checkpoint fit both the wrapped and the plain model. A tied parameter has several names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Used by torch.compile, FSDP and activation checkpointing; other modules have no such attributes.
_WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


@dataclass
class NamedParameter:
    """A parameter with all of its names, of which the first is used, and its path in the model."""

    names: list[str]
    path: str  # the first name, including the parts of wrappers
    parameter: Any


def unwrapped(name: str, parallel: Iterable[str] = ()) -> str:
    """Returns a name without the parts that wrappers add.

    Args:
        parallel: paths of modules that are the `module` of a DistributedDataParallel
    """
    parts, kept = name.split("."), []
    for end, part in enumerate(parts, 1):
        if part not in _WRAPPED and ".".join(parts[:end]) not in parallel:
            kept.append(part)
    return ".".join(kept)


def named_parameters(model: Any) -> list[NamedParameter]:
    """Returns the distinct parameters of a torch.nn.Module, in the order of `named_parameters()`."""
    parallel = parallel_paths(model)
    distinct: dict[int, NamedParameter] = {}
    for path, parameter in model.named_parameters(remove_duplicate=False):
        name = unwrapped(path, parallel)
        found = distinct.setdefault(id(parameter), NamedParameter([], path, parameter))
        if name not in found.names:
            found.names.append(name)
    return list(distinct.values())


def parallel_paths(model: Any) -> set[str]:
    """Returns the paths of modules that DistributedDataParallel and DataParallel wrap.

    The name alone does not tell them: any module may have a child `module`.
    """
    from torch import nn

    kinds = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    return {
        f"{path}.module" if path else "module"
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, kinds)
    }
