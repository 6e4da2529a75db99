"""Data sparsifiers: named tensors, their masks, and what is done with both."""

from ..tensors import WHOLE_DIMENSION, nm_config
from .base_data_sparsifier import BaseDataSparsifier
from .data_norm_sparsifier import DataNormSparsifier
from .fake_sparsity import FakeSparsity

__all__ = [
    "WHOLE_DIMENSION",
    "BaseDataSparsifier",
    "DataNormSparsifier",
    "FakeSparsity",
    "nm_config",
]
