"""Schedules that are ready made, for any value of the configuration that is a number.

    sparsifier = DataNormSparsifier(sparsity_level=0.9)
    sparsifier.add_data("users", model.users)
    scheduler = CubicDataScheduler(sparsifier, end_step=20)  # from 0 to 0.9
    for epoch in range(epochs):
        train()
        sparsifier.step()
        scheduler.step()

A schedule is a function of the epoch t and of base, the value that each data had when the schedule
was constructed:

    LambdaDataScheduler: base * factor(t)
    StepDataScheduler:   base * gamma ** floor((t - begin_step) / step_size)
    CubicDataScheduler:  final + (initial - final) * share ** power, fast first, slow at the end;
                         share = 1 - (t - begin_step) / (end_step - begin_step)
    LinearDataScheduler: the same with power 1

where t is last_epoch kept within [begin_step, end_step]: before begin_step the value is that of
begin_step, from end_step on that of end_step, both exactly. If both are the same step, the initial
value holds before it and the final one from it on. A base that is an integer (zeros_per_block) gets
integers: the nearest one, halves away from 0. Nothing else is clamped. The values are computed by
the C++ library, and are the same there to the last bit.

Data without such a number are refused at construction: TypeError naming them. Options out of their
range are ValueErrors naming the field; levels outside [0, 1] are warned of. Data that are added
later are left alone, names that are gone are skipped. To go on from a checkpoint, construct the
sparsifier and the scheduler as before, then load the state of both, the sparsifier's first.
"""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from .. import _core
from .._arguments import number, whole
from .base_data_scheduler import BaseDataScheduler

__all__ = [
    "CubicDataScheduler",
    "FormulaDataScheduler",
    "LambdaDataScheduler",
    "LinearDataScheduler",
    "StepDataScheduler",
]

Verbose = bool | Callable[[str], object]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _warn_of_levels(*levels: Any) -> None:
    """Of the first that is not a share; values that are not numbers are refused later."""
    for level in levels:
        hint = _core.sparsity_level_hint(level) if _is_number(level) else ""
        if hint:
            warnings.warn(hint, stacklevel=4)
            return


def _in_type_of(base: float, value: float, name: str) -> float:
    """`value`, rounded if `base` is an integer."""
    field = f"the scheduled value of '{name}'"
    if isinstance(base, int):
        return _core.scheduled_integer(field, value)
    _core.check_finite(field, value)
    return value


class FormulaDataScheduler(BaseDataScheduler, abc.ABC):
    """The base of schedules that follow a formula: derive from it and write value_at.

    Set the fields that value_at reads before the base's constructor, which makes the first step.
    """

    begin_step: int
    end_step: int | None

    def __init__(
        self,
        data_sparsifier: Any,
        schedule_param: str = "sparsity_level",
        *,
        begin_step: int = 0,
        end_step: int | None = None,
        last_epoch: int = -1,
        verbose: Verbose = False,
    ) -> None:
        """
        Args:
            begin_step: at least 0
            end_step: at least begin_step; None: never
        """
        self.begin_step = begin_step
        self.end_step = end_step
        self._check_options(self.__dict__)
        super().__init__(data_sparsifier, schedule_param, last_epoch, verbose)

    @abc.abstractmethod
    def value_at(self, epoch: int, name: str, base: float) -> float:
        """The value of `name` at `epoch`; must depend on nothing that changes.

        Args:
            base: its value at construction
        """

    def get_schedule_param(self) -> dict[str, Any]:
        """value_at of every name. ValueError naming data whose value is not finite."""
        if self._step_count == 1:
            self._check_bases()
        groups = self.data_sparsifier.data_groups
        return {
            name: _in_type_of(base, self.value_at(self.last_epoch, name, base), name)
            for name, base in self.base_param.items()
            if name in groups and _is_number(base)
        }

    def _check_bases(self) -> None:
        for name, base in self.base_param.items():
            if not _is_number(base):
                raise TypeError(
                    f"{self.schedule_param} of '{name}': expected a number, found {base!r}"
                )

    def _within(self, epoch: int) -> int:
        return _core.clamped_epoch(epoch, self.begin_step, self.end_step)

    def _check_options(self, fields: Mapping[str, Any]) -> None:
        """TypeError and ValueError naming an option that is out of its range."""
        end = fields["end_step"]
        _core.check_steps(
            whole("begin_step", fields["begin_step"]), None if end is None else whole("end_step", end)
        )

    def _check_state(self, fields: Mapping[str, Any]) -> None:
        self._check_options({**self.__dict__, **fields})


class LambdaDataScheduler(FormulaDataScheduler):
    """base * factor(t). The function is not part of the state: construct with it before loading."""

    def __init__(
        self,
        data_sparsifier: Any,
        schedule_param: str = "sparsity_level",
        *,
        factor: Callable[[int], float],
        begin_step: int = 0,
        end_step: int | None = None,
        last_epoch: int = -1,
        verbose: Verbose = False,
    ) -> None:
        """
        Args:
            factor: from the epoch
        """
        if not callable(factor):
            raise TypeError(f"factor: expected a function of the epoch, found {factor!r}")
        self.factor = factor
        super().__init__(
            data_sparsifier,
            schedule_param,
            begin_step=begin_step,
            end_step=end_step,
            last_epoch=last_epoch,
            verbose=verbose,
        )

    def value_at(self, epoch: int, name: str, base: float) -> float:
        return base * self.factor(self._within(epoch))


class StepDataScheduler(FormulaDataScheduler):
    """base * gamma ** floor((t - begin_step) / step_size): a stair every step_size epochs."""

    def __init__(
        self,
        data_sparsifier: Any,
        schedule_param: str = "sparsity_level",
        *,
        gamma: float = 0.1,
        step_size: int = 1,
        begin_step: int = 0,
        end_step: int | None = None,
        last_epoch: int = -1,
        verbose: Verbose = False,
    ) -> None:
        """
        Args:
            gamma: the factor of each stair; finite, at least 0
            step_size: epochs on each stair, at least 1
        """
        self.gamma = gamma
        self.step_size = step_size
        super().__init__(
            data_sparsifier,
            schedule_param,
            begin_step=begin_step,
            end_step=end_step,
            last_epoch=last_epoch,
            verbose=verbose,
        )

    def value_at(self, epoch: int, name: str, base: float) -> float:
        return _core.stair_value(
            base, epoch, self.gamma, self.step_size, self.begin_step, self.end_step
        )

    def _check_options(self, fields: Mapping[str, Any]) -> None:
        _core.check_stair(number("gamma", fields["gamma"]), whole("step_size", fields["step_size"]))
        super()._check_options(fields)


class CubicDataScheduler(FormulaDataScheduler):
    """The gradual pruning of Zhu and Gupta, "To prune, or not to prune" (2017), equation 1.

    With a step at every epoch; with another `power`, the polynomial decay of that degree.
    """

    def __init__(
        self,
        data_sparsifier: Any,
        schedule_param: str = "sparsity_level",
        *,
        initial_value: float = 0.0,
        final_value: float | None = None,
        final_values: Mapping[str, float] | None = None,
        begin_step: int = 0,
        end_step: int = 100,
        power: float = 3.0,
        last_epoch: int = -1,
        verbose: Verbose = False,
    ) -> None:
        """
        Args:
            initial_value: of all data; finite
            final_value: of all data that are not in final_values; None: the base
            final_values: by the data's name. ValueError for names that the sparsifier lacks.
            power: of the decay; finite and above 0
        """
        self.initial_value = initial_value
        self.final_value = final_value
        self.final_values = dict(final_values or {})
        self.power = power
        for name in self.final_values:
            if name not in getattr(data_sparsifier, "data_groups", {name: None}):
                raise ValueError(
                    f"final_values names the data '{name}', which the sparsifier does not have"
                )
        if schedule_param == "sparsity_level":
            _warn_of_levels(initial_value, final_value, *self.final_values.values())
        super().__init__(
            data_sparsifier,
            schedule_param,
            begin_step=begin_step,
            end_step=end_step,
            last_epoch=last_epoch,
            verbose=verbose,
        )

    def value_at(self, epoch: int, name: str, base: float) -> float:
        final = base if self.final_value is None else self.final_value
        final = self.final_values.get(name, final)
        return _core.ramp_value(
            self.initial_value, final, epoch, self.power, self.begin_step, self.end_step
        )

    def _check_options(self, fields: Mapping[str, Any]) -> None:
        _core.check_ramp(
            number("initial_value", fields["initial_value"]), number("power", fields["power"])
        )
        named = {f"final_values['{name}']": value for name, value in fields["final_values"].items()}
        if fields["final_value"] is not None:
            named["final_value"] = fields["final_value"]
        for field, value in named.items():
            _core.check_finite(field, number(field, value))
        whole("end_step", fields["end_step"])  # a ramp has an end
        super()._check_options(fields)


class LinearDataScheduler(CubicDataScheduler):
    """A straight line from the initial to the final value."""

    def __init__(
        self,
        data_sparsifier: Any,
        schedule_param: str = "sparsity_level",
        *,
        initial_value: float = 0.0,
        final_value: float | None = None,
        final_values: Mapping[str, float] | None = None,
        begin_step: int = 0,
        end_step: int = 100,
        last_epoch: int = -1,
        verbose: Verbose = False,
    ) -> None:
        """The arguments are those of CubicDataScheduler."""
        super().__init__(
            data_sparsifier,
            schedule_param,
            initial_value=initial_value,
            final_value=final_value,
            final_values=final_values,
            begin_step=begin_step,
            end_step=end_step,
            power=1.0,
            last_epoch=last_epoch,
            verbose=verbose,
        )
