"""The C functions of bench_api.cc as Python calls on torch tensors, each returning seconds."""
import ctypes

import torch

DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.float64: 3}


class Config(ctypes.Structure):
    """Mirrors WinnowBenchConfig."""

    _fields_ = [("rows", ctypes.c_int64), ("cols", ctypes.c_int64), ("dtype", ctypes.c_int32),
                ("norm", ctypes.c_int32), ("block_rows", ctypes.c_int64),
                ("block_cols", ctypes.c_int64), ("zeros_per_block", ctypes.c_int64),
                ("level", ctypes.c_double), ("threads", ctypes.c_int32),
                ("tensors", ctypes.c_int32)]


class Library:
    def __init__(self, path):
        self._library = ctypes.CDLL(str(path))
        self._library.winnow_bench_mask.restype = ctypes.c_double
        self._library.winnow_bench_floor.restype = ctypes.c_double
        self._library.winnow_bench_simd_level.restype = ctypes.c_char_p

    def simd_level(self):
        return self._library.winnow_bench_simd_level().decode()

    def mask(self, values, mask, block, level, norm="L1", zeros=None, threads=1, tensors=1):
        """A call that writes the mask of `values`, cut into `tensors` of equal size."""
        rows, cols = values.shape
        config = Config(rows // tensors, cols, DTYPES[values.dtype], int(norm[1]), *block,
                        -1 if zeros is None else zeros, level, threads, tensors)
        data, out = ctypes.c_void_p(values.data_ptr()), ctypes.c_void_p(mask.data_ptr())

        def call():
            seconds = self._library.winnow_bench_mask(ctypes.byref(config), data, out)
            if seconds < 0:
                raise RuntimeError("the mask could not be computed")
            return seconds

        return call

    def floor(self, values, mask, streaming):
        """A call of the memory floor: one read and one byte a value, threshold known."""
        arguments = (ctypes.c_void_p(values.data_ptr()), ctypes.c_int64(values.numel()),
                     ctypes.c_void_p(mask.data_ptr()), ctypes.c_int32(streaming))
        return lambda: self._library.winnow_bench_floor(*arguments)
