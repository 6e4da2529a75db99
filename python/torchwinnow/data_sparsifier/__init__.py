"""Data sparsifiers: named tensors, their masks, and what is done with both."""

from .base_data_sparsifier import BaseDataSparsifier
from .data_norm_sparsifier import DataNormSparsifier
from .fake_sparsity import FakeSparsity

__all__ = ["BaseDataSparsifier", "DataNormSparsifier", "FakeSparsity"]
