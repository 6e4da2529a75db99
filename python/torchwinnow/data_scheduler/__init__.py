"""Schedules: one value of every data's configuration, from epoch to epoch."""

from . import schedules
from .base_data_scheduler import BaseDataScheduler
from .schedules import *

__all__ = ["BaseDataScheduler"]
__all__ += schedules.__all__
