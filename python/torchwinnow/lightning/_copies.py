"""PRIVATE. Finds copies of a model's weights, mostly averages, in callbacks and modules.

The average of weights under growing masks is not sparse. So the masks are applied to averages too,
before anything can use them. The order of callbacks does not matter then, and an average that is
swapped into the model or saved instead of it has the zeros.

A copy counts as an average by its class, `torch.optim.swa_utils.AveragedModel`, or by the name of
its attribute (`_average_model` in Lightning's callbacks, `ema`, `shadow`). Other copies may be
teachers or initial values, which must not be masked; a warning names them.
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
    """A copy of the weights: its place, its kind, and its tensors by the parameters' names."""

    place: str
    is_average: bool
    tensors: dict[str, Tensor]


def _names_of(module: nn.Module, root: nn.Module, names: Mapping[str, str]) -> dict[str, str]:
    """Returns the names in `root`, by the same keys; {} if `module` is not part of `root`."""
    for path, part in root.named_modules():
        if part is module:
            return {fqn: f"{path}.{name}" if path else name for fqn, name in names.items()}
    return {}


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Returns the parameters by all of their names."""
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
            weights: the attached parameters, by their names in the model
            paths: their paths in the model, including the parts of wrappers, by the same names
        """
        self._weights = weights
        # The names in a copy of the LightningModule and in one of the model, wrapped or not.
        found = (_names_of(model, pl_module, paths), dict(paths))
        parallel = parallel_paths(pl_module)
        plain = ({fqn: unwrapped(name, parallel) for fqn, name in found[0].items()},)
        self._names = [*found, *plain, {fqn: fqn for fqn in weights}]

    def find(self, trainer: Any, pl_module: nn.Module, model: nn.Module) -> Iterator[Copy]:
        """Yields copies in the attributes of callbacks, and in the LightningModule outside the model."""
        roots = (pl_module, model)
        for callback in getattr(trainer, "callbacks", ()):
            if not isinstance(callback, OwnCallback):
                yield from self._in_fields(type(callback).__name__, callback, roots, depth=2)
        yield from self._in_fields(type(pl_module).__name__, pl_module, roots, depth=2)
        yield from self._in_module(roots)

    def in_mapping(self, value: Mapping[Any, Any]) -> dict[str, str]:
        """Returns the weights' keys in a state dict of the model or LightningModule, otherwise {}."""
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
        """Yields averages, and copies of the model that are not trained."""
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
        """Returns the weights' tensors in a list with one for each parameter, or each trained one."""
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
