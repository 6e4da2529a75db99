"""PRIVATE. Applies masks to averages of the model's weights, in memory and in checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ._copies import Copies, is_average
from .._held_masks import holds, mask_tensor_
from .._warn import warn

# A checkpoint's keys for the model itself; Lightning's WeightAveraging moves it to the second.
_MODEL_KEYS = ("state_dict", "current_model_state")


class Averages:
    """The averages of a model's weights during a training run."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._warned: set[str] = set()

    def mask(
        self, trainer: Any, pl_module: nn.Module, model: nn.Module, masks: Mapping[str, Tensor]
    ) -> None:
        """Sets the dropped values of all averages to +0. Warns once of each copy of another kind."""
        for found in self._copies.find(trainer, pl_module, model):
            if found.is_average:
                for fqn, tensor in found.tensors.items():
                    mask_tensor_(tensor, masks[fqn])
            elif found.place not in self._warned:
                self._warned.add(found.place)
                warn(
                    f"{found.place} has tensors of the sparsified parameters' shapes, and no mask is "
                    "held there. If they are averages of the weights that you save or put into the "
                    "model, call the callback's mask_copy_ on them first"
                )

    def mask_mapping_(self, tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Sets the dropped values to +0. Raises ValueError if `tensors` lacks a parameter."""
        keys = self._copies.in_mapping(tensors)
        if not keys:
            raise ValueError(
                f"the copy has not all of the parameters {list(masks)}, of the model's shapes"
            )
        for fqn, key in keys.items():
            mask_tensor_(tensors[key], masks[fqn])

    def mask_checkpoint(self, checkpoint: dict[str, Any], masks: Mapping[str, Tensor]) -> None:
        """Replaces tensors in the checkpoint by masked copies; the tensors are not changed."""
        for key, value in checkpoint.items():
            if not isinstance(value, Mapping):
                continue
            if key in _MODEL_KEYS or is_average(value, key):
                checkpoint[key] = self._masked(value, masks)
            elif key == "callbacks":
                checkpoint[key] = {
                    name: self._masked_state(name, state, masks) for name, state in value.items()
                }

    def _masked_state(self, name: Any, state: Any, masks: Mapping[str, Tensor]) -> Any:
        """Returns a callback's state with its averages masked. They are values of a dict."""
        if not isinstance(state, dict):
            return state
        return {
            key: self._masked(value, masks)
            if isinstance(value, Mapping) and is_average(value, f"{name}.{key}")
            else value
            for key, value in state.items()
        }

    def _masked(self, tensors: Any, masks: Mapping[str, Tensor]) -> Any:
        changed = {}
        for fqn, key in self._copies.in_mapping(tensors).items():
            tensor = tensors[key]
            if not holds(tensor, masks[fqn]):
                masked = tensor.detach().clone()
                mask_tensor_(masked, masks[fqn])
                changed.update(dict.fromkeys(_names_in(tensors, tensor), masked))
        if not changed:
            return tensors
        result = copy.copy(tensors)  # keeps a state_dict's metadata
        result.update(changed)
        return result


def _names_in(tensors: Mapping[str, Any], tensor: Tensor) -> list[str]:
    """Returns all names under which a state dict has a tensor. A tied one is loaded from each."""
    return [
        name
        for name, each in tensors.items()
        if isinstance(each, Tensor)
        and each.shape == tensor.shape
        and each.device == tensor.device
        and each.data_ptr() == tensor.data_ptr()
    ]
