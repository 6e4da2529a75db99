"""PRIVATE. Copies of a model's weights that others keep beside it: averages, above all.

An average of weights under masks that grow is not sparse. So the masks are applied to averages too,
wherever one may be looked at: then it does not matter which callback comes first, and what is
swapped into the model or saved in its place has the zeros.

A copy is known as an average by its class, `torch.optim.swa_utils.AveragedModel`, or by the name of
the attribute that has it (`_average_model` in Lightning's callbacks, `ema`, `shadow`). Others may be
teachers or first values, which no mask may touch; they are only named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .._names import parallel_paths, unwrapped
from ._callback import Callback as OwnCallback

_AVERAGE = re.compile(r"(^|[_.])(ema|swa|avg|averag(e|ed|es|ing)|shadow)([_.]|\d|$)", re.IGNORECASE)
_WORD_IN_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_Roots = tuple[nn.Module, nn.Module]  # the LightningModule and the model in it


@dataclass
class Copy:
    """Where it is, whether it is an average, and its tensors by the parameters' names."""

    place: str
    is_average: bool
    tensors: dict[str, Tensor]


def _names_of(module: nn.Module, root: nn.Module, names: Mapping[str, str]) -> dict[str, str]:
    """By the same keys, the names in `root`, of which `module` is a part; none where it is not."""
    for path, part in root.named_modules():
        if part is module:
            return {fqn: f"{path}.{name}" if path else name for fqn, name in names.items()}
    return {}


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Its parameters by all of their names."""
    return dict(module.named_parameters(remove_duplicate=False))


def is_average(value: Any, place: str) -> bool:
    named = _AVERAGE.search(_WORD_IN_CAMEL_CASE.sub("_", place))
    return isinstance(value, AveragedModel) or named is not None


class Copies:
    """Finds the copies of a model's weights in the trainer's callbacks and in the LightningModule."""

    def __init__(
        self,
        pl_module: nn.Module,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        paths: Mapping[str, str],
    ) -> None:
        """
        Args:
            weights: by their names in the model, those that are attached
            paths: by the same names, where the model has them; with the parts of wrappers
        """
        self._weights = weights
        # As a copy of the LightningModule has them, and one of the model, wrapped or not.
        found = (_names_of(model, pl_module, paths), dict(paths))
        parallel = parallel_paths(pl_module)
        plain = ({fqn: unwrapped(name, parallel) for fqn, name in found[0].items()},)
        self._names = [*found, *plain, {fqn: fqn for fqn in weights}]

    def find(self, trainer: Any, pl_module: nn.Module, model: nn.Module) -> Iterator[Copy]:
        """In the attributes of callbacks, and in the LightningModule beside the model."""
        roots = (pl_module, model)
        for callback in getattr(trainer, "callbacks", ()):
            if not isinstance(callback, OwnCallback):
                yield from self._in_fields(type(callback).__name__, callback, roots, depth=2)
        yield from self._in_fields(type(pl_module).__name__, pl_module, roots, depth=2)
        yield from self._in_module(roots)

    def in_mapping(self, value: Mapping[Any, Any]) -> dict[str, str]:
        """The weights' keys in a state dict of the model or of the LightningModule; or none."""
        own = {key: key for key in value}
        for key in value:
            if isinstance(key, str):
                own.setdefault(unwrapped(key), key)
        for start in ("", "module."):
            for names in self._names:
                keys = {fqn: own.get(start + name) for fqn, name in names.items()}
                if keys and all(self._fits(fqn, value.get(key)) for fqn, key in keys.items()):
                    return keys
        return {}

    def _fits(self, fqn: str, tensor: Any) -> bool:
        return isinstance(tensor, Tensor) and tensor.shape == self._weights[fqn].shape

    def _in_fields(self, place: str, owner: Any, roots: _Roots, depth: int) -> Iterator[Copy]:
        for name, value in getattr(owner, "__dict__", {}).items():
            where = f"{place}.{name}"
            tensors = self._tensors_in(value, roots)
            if tensors:
                yield Copy(where, is_average(value, where), tensors)
            elif depth > 1 and not isinstance(value, (nn.Module, Tensor)):
                yield from self._in_fields(where, value, roots, depth - 1)

    def _in_module(self, roots: _Roots) -> Iterator[Copy]:
        """Averages, and twins of the model that nothing trains."""
        pl_module, model = roots
        for name, module in pl_module.named_modules():
            if not name or module is model:
                continue
            known = is_average(module, name)
            if not known and any(each.requires_grad for each in module.parameters()):
                continue
            tensors = self._tensors_in(module, roots)
            if tensors:
                yield Copy(f"{type(pl_module).__name__}.{name}", known, tensors)

    def _tensors_in(self, value: Any, roots: _Roots) -> dict[str, Tensor]:
        if any(value is root for root in roots):
            return {}
        if isinstance(value, AveragedModel):
            value = value.module
        if isinstance(value, nn.Module):
            value = tensors_of(value)
        if isinstance(value, Mapping):
            found = {fqn: value[key] for fqn, key in self.in_mapping(value).items()}
        else:
            found = self._in_list(value, roots) if isinstance(value, (list, tuple)) else {}
        return {} if any(each is self._weights[fqn] for fqn, each in found.items()) else found

    def _in_list(self, value: Sequence[Any], roots: _Roots) -> dict[str, Tensor]:
        """Of a list that has a tensor for each parameter, or for each that is trained."""
        for root in roots:
            parameters = list(root.parameters())
            for order in (parameters, [each for each in parameters if each.requires_grad]):
                if len(order) != len(value):
                    continue
                places = {id(each): index for index, each in enumerate(order)}
                found = {
                    fqn: value[places[id(weight)]]
                    for fqn, weight in self._weights.items()
                    if id(weight) in places
                }
                if len(found) == len(self._weights) and all(map(self._fits, found, found.values())):
                    return found
        return {}
