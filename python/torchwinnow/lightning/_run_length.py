"""PRIVATE. Whether a schedule fits its run: long enough, and not below what is pruned already."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..data_scheduler import FormulaDataScheduler
from .._warn import warn

# Of the value that is scheduled: a cubic schedule ends so flat that its last step is no loss.
_TOLERANCE = 0.01
# Of a parameter's values: more zeros than a schedule's first level are no accident from here on.
_ZEROS = 0.1


def _number(trainer: Any, name: str) -> float:
    """A limit of the trainer's; infinity where it has none."""
    value = getattr(trainer, name, None)
    return math.inf if value is None or value == -1 else value


def _batches_left(trainer: Any, length: float) -> float:
    """By max_steps alone, which are those of one optimizer; an epoch's last batch steps always."""
    limit = _number(trainer, "max_steps")
    if math.isinf(limit) or len(getattr(trainer, "optimizers", ())) != 1:
        return math.inf
    steps = max(limit - getattr(trainer, "global_step", 0), 0)
    accumulated = getattr(trainer, "accumulate_grad_batches", 1)
    if math.isinf(length):
        return steps * accumulated
    epochs, rest = divmod(steps, math.ceil(length / accumulated))
    return epochs * length + min(rest * accumulated, length)


def steps_left(trainer: Any, interval: str, frequency: int, batches: int) -> float:
    """How often masks advance until the trainer's end; infinity where it has none.

    Args:
        batches: that were seen before
    """
    if getattr(trainer, "fast_dev_run", False):
        return math.inf  # nobody asks how such a run ends
    epochs = _number(trainer, "max_epochs") - getattr(trainer, "current_epoch", 0)
    length = _number(trainer, "num_training_batches")
    left = _batches_left(trainer, length)
    if interval == "epoch":
        by_steps = math.inf if math.isinf(left) or math.isinf(length) else math.ceil(left / length)
        return min(epochs, by_steps)
    if not math.isinf(epochs):
        left = min(left, epochs * length)
    return left if math.isinf(left) else (batches + left) // frequency - batches // frequency


@dataclass
class Short:
    """A value that has not the schedule's last level."""

    name: str
    reached: float
    wanted: float


def short_of(scheduler: Any, last: int) -> Short | None:
    """What masks of the schedule's step `last` lack of its last ones; None where they lack nothing."""
    end = getattr(scheduler, "end_step", None)
    if not isinstance(scheduler, FormulaDataScheduler) or end is None or last >= end:
        return None
    for name, base in scheduler.base_param.items():
        reached, wanted = (scheduler.value_at(max(epoch, 0), name, base) for epoch in (last, end))
        if abs(reached - wanted) > _TOLERANCE * abs(wanted):
            return Short(name, reached, wanted)
    return None


def warn_of_short_run(scheduler: Any, steps: float) -> bool:
    """A warning where the last masks have not the schedule's last level; whether there was one."""
    if math.isinf(steps) or steps < 1:
        return False
    last = scheduler.last_epoch + int(steps) - 1  # masks are made before the schedule's step
    short = short_of(scheduler, last)
    if short is not None:
        warn(
            f"the run is shorter than its schedule: it ends at the schedule's step {last}, the "
            f"schedule at {scheduler.end_step}. The {scheduler.schedule_param} of '{short.name}' will "
            f"be only {short.reached:.4g}, not {short.wanted:.4g}"
        )
    return short is not None


def warn_of_zeros(scheduler: Any, names: Mapping[str, str], weights: Mapping[str, Tensor]) -> None:
    """A warning where weights are sparse already and the schedule starts below: they will fill up.

    Weights that are all zero are not pruned but new.

    Args:
        names: the parameters' names by those of the data
    """
    if getattr(scheduler, "schedule_param", None) != "sparsity_level":
        return
    for name, level in scheduler.get_last_param().items():
        weight = weights[names[name]]
        if not isinstance(level, (int, float)) or not weight.numel():
            continue
        zeros = weight.detach().eq(0).sum().item() / weight.numel()
        if max(level, 0) + _ZEROS < zeros < 1:
            warn(
                f"'{names[name]}' is pruned already ({zeros:.0%} zeros), and its schedule starts at "
                f"{level:.4g}: its zeros will grow back. Go on from a checkpoint of the run that pruned "
                "it (ckpt_path), or with the same callback, or start the schedule where that ended"
            )
            return
