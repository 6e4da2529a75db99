"""PRIVATE. From a model to a sparsifier: its parameters as data, and how sparse they are."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

ModelOf = str | Callable[[Any], nn.Module] | None
Filter = Callable[[str, nn.Parameter], bool]

_log = logging.getLogger("torchwinnow.lightning")


def model_of(pl_module: Any, model: ModelOf) -> nn.Module:
    """What is sparsified: an attribute by its (dotted) name, or what a function returns.

    None: `pl_module.model` where that is a module, else the whole `pl_module`.
    TypeError where it is no module.
    """
    if model is None:
        found = getattr(pl_module, "model", None)
        return found if isinstance(found, nn.Module) else pl_module
    found = attrgetter(model)(pl_module) if isinstance(model, str) else model(pl_module)
    if not isinstance(found, nn.Module):
        raise TypeError(f"model: {model!r} gives a {type(found).__name__}, no torch.nn.Module")
    return found


def valid_name(fqn: str) -> str:
    """The name under which `attach` adds the parameter `fqn`: every "." becomes "_"."""
    return fqn.replace(".", "_")


def _attachments(model: nn.Module, filter: Filter | None) -> dict[str, tuple[str, nn.Parameter]]:
    """By valid name: the parameters to add, with their names. Shared ones once."""
    found: dict[str, tuple[str, nn.Parameter]] = {}
    for fqn, parameter in model.named_parameters():
        if type(parameter) is not nn.Parameter or (filter and not filter(fqn, parameter)):
            continue
        name = valid_name(fqn)
        if name in found:
            raise ValueError(
                f"the parameters '{found[name][0]}' and '{fqn}' both become '{name}'; leave one "
                "out by the filter, or rename it"
            )
        found[name] = (fqn, parameter)
    if filter and not found:
        names = [fqn for fqn, _ in model.named_parameters()]
        raise ValueError(f"the filter takes in none of the parameters {names}")
    return found


def attach(
    model: nn.Module,
    sparsifier: Any,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    filter: Filter | None = None,
) -> None:
    """Adds every parameter that passes the filter, the same object, under its valid_name.

    Names that the sparsifier has already are replaced; their masks and configurations are kept.
    ValueError where two parameters have one valid_name, the filter takes in none, or `config` has a
    name that no parameter has.
    """
    found = _attachments(model, filter)
    for name in config or {}:
        if name not in found:
            raise ValueError(
                f"config: no parameter that is attached is called '{name}'; names have '_' where "
                "the model's have '.'"
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Replacing existing data")
        for name, (_, parameter) in found.items():
            sparsifier.add_data(name, parameter, **(config or {}).get(name, {}))


def _dropped_share(mask: Tensor) -> float:
    return 1 - mask.count_nonzero().item() / mask.numel() if mask.numel() else 0.0


def sparsity_levels(model: nn.Module, sparsifier: Any) -> Iterator[tuple[str, float, int]]:
    """Name, share of dropped values and number of values of each parameter that is attached."""
    for fqn, parameter in model.named_parameters():
        name = valid_name(fqn)
        if name in sparsifier.data_groups:
            yield fqn, _dropped_share(sparsifier.get_mask(name)), parameter.numel()


def layer_metrics(model: nn.Module, sparsifier: Any) -> dict[str, float]:
    """ "sparsity/NAME" of each parameter and "sparsity" of all of them; tells the log as well."""
    metrics, dropped, values = {}, 0.0, 0
    for fqn, level, numel in sparsity_levels(model, sparsifier):
        _log.info("Sparsity in layer %s = %.2f%%", fqn, 100 * level)
        metrics[f"sparsity/{fqn}"] = level
        dropped += level * numel
        values += numel
    return {"sparsity": dropped / max(values, 1), **metrics}
