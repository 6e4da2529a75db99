"""PRIVATE. Attaches a model's parameters to a sparsifier, and tells how sparse they are."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .. import selection
from .._names import NamedParameter, named_parameters
from .._warn import warn

ModelOf = str | Callable[[Any], nn.Module] | None
Filter = Callable[[str, nn.Parameter], bool]
FilterOrDefault = Filter | Literal["default"] | None

_log = logging.getLogger("torchwinnow.lightning")


def model_of(pl_module: Any, model: ModelOf) -> nn.Module:
    """Returns the model to sparsify: an attribute by its (dotted) name, or the result of a function.

    If `model` is None, that is `pl_module.model` if it is a module, otherwise `pl_module` itself.
    Raises TypeError if the result is not a module.
    """
    if model is None:
        found = getattr(pl_module, "model", None)
        return found if isinstance(found, nn.Module) else pl_module
    found = attrgetter(model)(pl_module) if isinstance(model, str) else model(pl_module)
    if not isinstance(found, nn.Module):
        raise TypeError(f"model: {model!r} gives a {type(found).__name__}, no torch.nn.Module")
    return found


def copy_of(model: nn.Module) -> nn.Module:
    """Returns a deep copy.

    The old weight_norm and spectral_norm keep their last computed weight, which torch refuses to copy.
    It is replaced, and the copy computes it anew.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)


def valid_name(fqn: str) -> str:
    """Returns the name under which `attach` adds the parameter `fqn`: every "." becomes "_"."""
    return fqn.replace(".", "_")


def few(items: Sequence[str], shown: int = 5) -> str:
    """Returns the first few items as text, and the number of the others."""
    rest = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {rest} more" if rest > 0 else "")


def check_filter(filter: Any) -> None:
    """Raises ValueError for a filter that is neither None nor "default" nor a function."""
    if filter is not None and filter != "default" and not callable(filter):
        raise ValueError(
            f"filter: expected a function of name and parameter, 'default' or None, found {filter!r}"
        )


def _warn_of_selection(model: nn.Module, taken: Sequence[str], is_filtered: bool) -> None:
    """Warns once of parameters in `taken` that the default selection leaves alone, by reason.

    If the user gave a filter, only of those that could become NaN.
    """
    by_reason: dict[str, list[str]] = {}
    left_alone = selection.left_alone(model)
    for fqn in taken:
        if fqn in left_alone and (not is_filtered or "NaN" in left_alone[fqn]):
            by_reason.setdefault(left_alone[fqn], []).append(f"'{fqn}'")
    if not by_reason:
        return
    parts = [f"{few(names, 2)} ({reason})" for reason, names in by_reason.items()]
    head = "the filter takes in" if is_filtered else "without a filter every parameter is sparsified,"
    warn(f"{head} {'; '.join(parts)}. filter=\"default\" leaves them alone")


def _warn_of_frozen(choice: _Choice) -> None:
    """Warns once of parameters that are not trained, if others are."""
    frozen = [f"'{named.names[0]}'" for named in choice.found.values()
              if not named.parameter.requires_grad]
    if frozen and len(frozen) < len(choice.found):
        warn(
            f"{few(frozen, 3)} do not require grad and get masks of their own all the same; where they "
            "are a teacher, a target or an average, leave them out by a filter or say by `model` what "
            "is to be sparse"
        )


def _takes_name(filter: Filter, fqn: str, parameter: nn.Parameter) -> bool:
    if not is_lazy(parameter):
        return bool(filter(fqn, parameter))
    try:
        return bool(filter(fqn, parameter))
    except (RuntimeError, ValueError):  # the filter uses the shape, which is not known yet
        return True


def _takes(filter: Filter | None, named: NamedParameter) -> bool:
    """Returns True if the filter accepts the parameter. It must give one answer for all its names."""
    if filter is None:
        return True
    first, *others = named.names
    takes = _takes_name(filter, first, named.parameter)
    for fqn in others:
        if _takes_name(filter, fqn, named.parameter) != takes:
            raise ValueError(
                f"'{first}' and '{fqn}' are one parameter, and the filter takes in the "
                f"{'first' if takes else 'second'} only: let it say the same of both"
            )
    return takes


def _why_left_out(parameter: nn.Parameter) -> str | None:
    """Returns why a sparsifier cannot hold a parameter, or None if it can."""
    if type(parameter) is not nn.Parameter:
        return f"a {type(parameter).__name__}"
    if parameter.layout is not torch.strided:
        return f"of layout {parameter.layout}"
    return f"of dtype {parameter.dtype}" if parameter.is_quantized else None


@dataclass
class _Choice:
    """The parameters of a model to add, by valid name, and the reasons against the others."""

    found: dict[str, NamedParameter] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # accepted by the filter; with the reason
    refused: list[str] = field(default_factory=list)  # by the filter


def _choose(model: nn.Module, filter: Filter | None) -> _Choice:
    """Chooses the parameters to add; shared ones count once.

    Raises ValueError, naming the parameters, if one is lazy or two have the same valid name.
    """
    choice = _Choice()
    for named in named_parameters(model):
        fqn, parameter = named.names[0], named.parameter
        if not _takes(filter, named):
            choice.refused.append(fqn)
            continue
        if is_lazy(parameter):
            raise ValueError(
                f"the parameter '{fqn}' is lazy and has no shape yet: run a batch through the model "
                "before training, or leave it out by the filter"
            )
        reason = _why_left_out(parameter)
        if reason is not None:
            choice.left_out[fqn] = reason
            continue
        name = valid_name(fqn)
        if name in choice.found:
            raise ValueError(
                f"the parameters '{choice.found[name].path}' and '{named.path}' both become "
                f"'{name}'; leave one out by the filter, or rename it"
            )
        choice.found[name] = named
    return choice


def _configs(
    config: Mapping[str, Mapping[str, Any]], choice: _Choice
) -> dict[str, Mapping[str, Any]]:
    """Returns `config` by the names of the data. It may use any one name of a parameter.

    Raises ValueError for a name that no parameter has, and for two names of one parameter.
    """
    names = [(fqn, name) for name, named in choice.found.items() for fqn in (named.path, *named.names)]
    # What is exact counts more: a name of the data, then one in the model.
    known = {valid_name(fqn): name for fqn, name in names}
    known.update(names)
    known.update((name, name) for name in choice.found)
    given: dict[str, str] = {}
    for name in config:
        if name not in known:
            raise ValueError(
                f"config: no parameter that is attached is called '{name}'; there are "
                f"{few([named.names[0] for named in choice.found.values()], 20)}"
            )
        other = given.setdefault(known[name], name)
        if other != name:
            raise ValueError(
                f"config: '{other}' and '{name}' are one parameter: give the values of one of them"
            )
    return {data: config[name] for data, name in given.items()}


def _check_not_empty(choice: _Choice, model: nn.Module) -> None:
    if choice.found:
        return
    if not choice.left_out and not choice.refused:
        raise ValueError(f"{type(model).__name__} has no parameters to sparsify")
    reasons = [f"'{fqn}' is {reason}" for fqn, reason in choice.left_out.items()]
    reasons += [f"'{fqn}' is refused by the filter" for fqn in choice.refused]
    none = "the filter takes in none of the parameters that can be sparsified"
    raise ValueError(
        f"{none if choice.refused else 'no parameter can be sparsified'}: {few(reasons, 20)}"
    )


def attach(
    model: nn.Module,
    sparsifier: Any,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    filter: FilterOrDefault = None,
    *,
    again: bool = False,
) -> dict[str, NamedParameter]:
    """Adds every parameter that passes the filter, as the same object, under its valid_name.

    Names that the sparsifier already has are replaced; their masks and configurations are kept.
    Parameters of classes other than nn.Parameter (DTensor, those of quantizers) are left out, with
    one warning that names them.

    If there is no filter, or it accepts directions of weight_norm, a warning names the parameters
    that torchwinnow.default_filter would leave alone.

    A parameter with several names is added under the first. The filter is called for all of them.
    Names do not contain the parts of wrappers (torch.compile, DDP, FSDP).

    Args:
        filter: "default" is torchwinnow.default_filter of this model
        again: the model is a copy of one that was attached before: no warnings

    Returns:
        The parameters that were added, by the names of the data.

    Raises:
        ValueError: before anything is added, if the model has no parameters, two have the same
            valid_name, the filter accepts none, a lazy one or only some names of a parameter, or
            `config` has a name that no parameter has, or two names of one parameter.
    """
    chosen = selection.default_filter(model) if filter == "default" else filter
    choice = _choose(model, chosen)
    _check_not_empty(choice, model)
    configs = _configs(config or {}, choice)
    if choice.left_out and not again:
        reasons = [f"'{fqn}' is {reason}" for fqn, reason in choice.left_out.items()]
        warn(
            f"parameters that cannot be sparsified are left out: {few(reasons)}; only dense ones "
            "whose class is torch.nn.Parameter can"
        )
    if not again:
        _warn_of_frozen(choice)
    if not again and filter != "default":
        taken = [named.names[0] for named in choice.found.values()]
        _warn_of_selection(model, taken, is_filtered=filter is not None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Replacing existing data")
        for name, named in choice.found.items():
            sparsifier.add_data(name, named.parameter, **configs.get(name, {}))
    if not again and choice.refused:
        _log.debug("The filter leaves out %s", few(choice.refused, 1000))
    return choice.found


def _dropped_share(mask: Tensor) -> float:
    return 1 - mask.count_nonzero().item() / mask.numel() if mask.numel() else 0.0


def _mean_share(shares: Iterable[tuple[float, int]]) -> float:
    """Returns the share of dropped values in all, from that of each part and its number of values."""
    dropped, values = 0.0, 0
    for share, numel in shares:
        dropped += share * numel
        values += numel
    return dropped / max(values, 1)


def share_dropped(masks: Iterable[Tensor]) -> float:
    """Returns the share of dropped values in all masks; 0 if there are no values."""
    return _mean_share((_dropped_share(mask), mask.numel()) for mask in masks)


def layer_metrics(model: nn.Module, sparsifier: Any) -> dict[str, float]:
    """Returns "sparsity/NAME" of each parameter and "sparsity" of all; writes them to the log too."""
    metrics, shares = {}, []
    for named in named_parameters(model):
        fqn, name = named.names[0], valid_name(named.names[0])
        if name not in sparsifier.data_groups:
            continue
        share = _dropped_share(sparsifier.get_mask(name))
        _log.info("Sparsity in layer %s = %.2f%%", fqn, 100 * share)
        metrics[f"sparsity/{fqn}"] = share
        shares.append((share, named.parameter.numel()))
    return {"sparsity": _mean_share(shares), **metrics}
