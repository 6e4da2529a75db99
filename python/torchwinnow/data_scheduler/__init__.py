"""Schedules: one value of every data's configuration, from epoch to epoch."""

from .base_data_scheduler import BaseDataScheduler
from .schedules import (
    CubicDataScheduler,
    FormulaDataScheduler,
    LambdaDataScheduler,
    LinearDataScheduler,
    StepDataScheduler,
)

__all__ = [
    "BaseDataScheduler",
    "CubicDataScheduler",
    "FormulaDataScheduler",
    "LambdaDataScheduler",
    "LinearDataScheduler",
    "StepDataScheduler",
]
