"""Masks by the norm of blocks: the sparsifier that most users want.

    sparsifier = DataNormSparsifier(sparsity_level=0.8, sparse_block_shape=(1, 4))
    sparsifier.add_data("users", model.users)
    sparsifier.add_data("items", model.items, sparsity_level=0.9)
    sparsifier.step()
    sparsifier.squash_mask()
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import _arguments, _core, _ops
from . import _container as containers
from ._masks import is_constant, replace_memory
from ._settings import FIELDS, WHOLE_BLOCK, Settings, check_fields, settings_of
from .base_data_sparsifier import BaseDataSparsifier

__all__ = ["DataNormSparsifier"]

# Names that are not fields, but known.
_OTHER_NAMES = ("mask", "parametrization")


class DataNormSparsifier(BaseDataSparsifier):
    """Drops the blocks whose values have the smallest mean norm. docs/masks.md states the rule.

    Data are float32, float64, float16 or bfloat16, of any rank: dimensions of size 1 do not count,
    the last of the others is the columns, the rest are the rows. The mask has the data's shape. The
    first step turns it into int8, the same tensor object; later steps write it in place. Beside a
    table there is so much memory in use: nothing from add_data to the first step, then a byte a
    value, which is 0.25 of float32 and 0.5 of the types of 16 bits.

    Configuration of each name: `sparsity_level`, `sparse_block_shape` and `zeros_per_block`. Data
    that overrides the block's shape alone inherits zeros_per_block as a number; add_data refuses it
    if it is more than the block has, naming both. None means the whole block. A level above 1 or
    below 0 is warned of once.

    A step computes all masks in one call of the C++ library and is all or nothing. A subclass that
    overrides update_mask is asked for each name instead.

    Differs from torch.ao: any rank; levels at or below 0 drop nothing; ties go to the lower index;
    integer data are refused when added; docs/python.md lists the rest.
    """

    norm: str = "L1"
    scope: str = "tensor"

    def __init__(
        self,
        data_list: Iterable[tuple[str, Any]] | None = None,
        sparsity_level: float = 0.5,
        sparse_block_shape: tuple[int, int] = (1, 4),
        zeros_per_block: int | None = None,
        norm: str = "L1",
        scope: str = "tensor",
    ) -> None:
        """
        Args:
            data_list: pairs of name and data.
            sparsity_level: share of the blocks that are selected; 0 and less none, 1 and more all.
            sparse_block_shape: rows and columns of a block, each at least 1;
                `(1, WHOLE_DIMENSION)` are whole rows, whatever the data's size.
            zeros_per_block: how many values are dropped in a selected block; None: all of
                `sparse_block_shape`, as it stands here.
            norm: "L1" scores a value by |x|, "L2" by x * x; a block's score is their mean.
            scope: "tensor": each of the data gives its own share of blocks. "global": the lowest
                blocks of all data together are dropped; all need the same settings then, and
                update_mask is not called.

        AssertionError: another norm. TypeError, ValueError: values of the wrong type or range.
        """
        try:
            self.norm = _arguments.norm(norm)
        except (TypeError, ValueError) as error:
            raise AssertionError(str(error)) from None  # as upstream
        _core.check_scope(scope)
        self.scope = scope
        settings = settings_of(sparsity_level, sparse_block_shape, zeros_per_block)
        if zeros_per_block is None:
            zeros_per_block = _core.block_values(settings.rows, settings.cols)
        super().__init__(
            data_list,
            sparsity_level=sparsity_level,
            sparse_block_shape=sparse_block_shape,
            zeros_per_block=zeros_per_block,
        )

    def update_mask(  # type: ignore[override]
        self,
        name: str,
        data: Tensor,
        sparsity_level: float,
        sparse_block_shape: tuple[int, int],
        zeros_per_block: int | None,
        **kwargs: Any,
    ) -> None:
        """Writes the mask of `name` as the rule says for `data`; for calls from outside a step."""
        settings = settings_of(sparsity_level, sparse_block_shape, zeros_per_block)
        _write_masks([self.state[name]["mask"]], [data], [settings], self.norm)

    def _has_own_update_mask(self) -> bool:
        own = type(self).update_mask is not DataNormSparsifier.update_mask
        return own or "update_mask" in self.__dict__

    def _update_masks(self) -> None:
        if self._has_own_update_mask() and self.scope == "tensor":
            super()._update_masks()
            return
        # A thousand small tables are usual: this loop is to cost less than their masks do.
        names, masks, data, settings = [], [], [], []
        lists, state = containers.masked_lists(self._container), self.state
        slot_of, original_in = containers.slot_of, containers.original_in
        level = block = zeros = current = None
        for name, group in self.data_groups.items():
            masked = lists.get(slot_of(name))
            if (
                current is None
                or group["sparsity_level"] is not level
                or group["sparse_block_shape"] is not block
                or group["zeros_per_block"] is not zeros
            ):
                level, block, zeros = (group[field] for field in FIELDS)
                current = _settings_for(name, level, block, zeros)
            names.append(name)
            masks.append(state[name]["mask"])
            data.append(original_in(masked))
            settings.append(current)
        try:
            _write_masks(masks, data, settings, self.norm, self._budget(names, settings))
        except ValueError as error:
            raise ValueError(_with_names(str(error), names)) from None
        self._warn_of_equal_values(names, data, settings)

    def _budget(self, names: list[str], settings: list[Settings]) -> Settings | None:
        """The settings that all data share under one budget; None: each has its own."""
        if self.scope == "tensor" or not names:
            return None
        for name, each in zip(names, settings):
            if each != settings[0]:
                raise ValueError(
                    f"under scope='global' all data share one budget, but the settings of "
                    f"'{names[0]}' and '{name}' differ"
                )
        return settings[0]

    def _warn_of_equal_values(
        self, names: list[str], data: list[Tensor], settings: list[Settings]
    ) -> None:
        """Once for each name, of the first step whose level leaves a choice: a look at all data in
        every step would cost a good part of it."""
        seen: set[str] = self.__dict__.setdefault("_looked_at", set())
        if seen.issuperset(names):
            return
        equal = []
        for name, weight, setting in zip(names, data, settings):
            if name not in seen and 0 < setting.level < 1:
                seen.add(name)
                if is_constant(weight):
                    equal.append(name)
        if equal:
            warnings.warn(
                "all values are equal in " + ", ".join(f"'{name}'" for name in equal) + ", so that "
                "no block matters less than another and those of the lowest index are dropped: layers "
                "that start at zero are to be trained first, or left out",
                stacklevel=4,
            )

    def _check_data(self, name: str, weight: Tensor) -> None:
        if weight.dtype not in _ops.DTYPES:
            expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in _ops.DTYPES)
            raise ValueError(
                f"the data '{name}' have dtype {weight.dtype}, which has no norm: expected one of "
                + expected
            )

    def _check_config(self, config: Mapping[str, Any]) -> None:
        check_fields(config)
        if "sparsity_level" in config:
            self._warn_of_level(float(config["sparsity_level"]))
        for key in config:
            if key not in FIELDS and key not in _OTHER_NAMES:
                self._warn_of(key)

    def _check_group(self, name: str, group: Mapping[str, Any]) -> None:
        if not self._has_own_update_mask():
            _settings_for(name, *(group[field] for field in FIELDS))

    def _warn_of_level(self, level: float) -> None:
        """Once for each side: a schedule that is out of range would say it at every epoch."""
        warned = self.__dict__.setdefault("_warned_of_levels", set())
        if not 0 <= level <= 1 and (level > 1) not in warned:
            warned.add(level > 1)
            warnings.warn(_core.sparsity_level_hint(level), stacklevel=5)

    def _warn_of(self, key: str) -> None:
        """Of a name that update_mask does not look at; an own update_mask may."""
        near = next((field for field in FIELDS if _core.is_misspelt(field, key)), None)
        if near:
            hint = f"did you mean '{near}'?"
        elif self._has_own_update_mask():
            return
        elif key == "norm":
            hint = "the norm is one for all data, an argument of the constructor"
        else:
            hint = f"it is kept and has no effect; the values are {', '.join(FIELDS)}"
        warnings.warn(f"'{key}' is no value of a {type(self).__name__}: {hint}", stacklevel=5)


def _settings_for(name: str, *values: Any) -> Settings:
    try:
        return settings_of(*values)
    except (TypeError, ValueError) as error:
        raise type(error)(f"'{name}': {error}") from None


def _with_names(message: str, names: list[str]) -> str:
    """`message`, which counts data and masks, with their names."""
    return re.sub(
        r"\b(data|masks)\[(\d+)\]",
        lambda found: f"{found[1].removesuffix('s')} of '{names[int(found[2])]}'",
        message,
    )


def _write_masks(
    masks: list[Tensor],
    data: list[Tensor],
    settings: list[Settings],
    norm: str,
    budget: Settings | None = None,
) -> None:
    """One call of the library. Masks become int8, the same objects; if it raises, none is changed."""
    if not masks:
        return
    fresh = []
    for i, mask in enumerate(masks):
        if mask.dtype is not torch.int8 or not mask.is_contiguous():
            masks[i] = torch.empty(mask.shape, dtype=torch.int8, device=data[i].device)
            fresh.append((mask, masks[i]))
    if budget is not None:
        zeros = None if budget.zeros == WHOLE_BLOCK else budget.zeros
        _ops.compute_global_masks_(
            masks, data, budget.level, (budget.rows, budget.cols), zeros, norm
        )
    else:
        _ops.compute_masks_(
            masks,
            data,
            [each.level for each in settings],
            [side for each in settings for side in (each.rows, each.cols)],
            [each.zeros for each in settings],
            norm,
        )
    for mask, values in fresh:
        replace_memory(mask, values)
    # A read from before this step must not go backward through the masks of now.
    torch.autograd.graph.increment_version([mask for mask, _ in fresh])
