"""The C functions of bench_api.cc and sparse_bench_api.cc as Python calls on torch tensors, each returning seconds."""
import ctypes

import numpy as np
import torch

DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.float64: 3}


class Config(ctypes.Structure):
    """Mirrors WinnowBenchConfig."""

    _fields_ = [("rows", ctypes.c_int64), ("cols", ctypes.c_int64), ("dtype", ctypes.c_int32),
                ("norm", ctypes.c_int32), ("block_rows", ctypes.c_int64),
                ("block_cols", ctypes.c_int64), ("zeros_per_block", ctypes.c_int64),
                ("level", ctypes.c_double), ("threads", ctypes.c_int32),
                ("tensors", ctypes.c_int32)]


class Tensor(ctypes.Structure):
    """Mirrors WinnowBenchTensor."""

    _fields_ = [("bytes", ctypes.c_int64), ("row", ctypes.c_int64), ("dtype", ctypes.c_int32),
                ("threads", ctypes.c_int32)]


class Codec:
    """compress_values and decompress_values of one matrix."""

    def __init__(self, library, values, threads):
        self._library, self._values = library, values
        total = values.numel() * values.element_size()
        self._tensor = Tensor(total, values.shape[1], DTYPES[values.dtype], threads)
        self._compressed = np.empty(total + total // 1000 + 1024, np.uint8)
        self._decoded = np.empty(total, np.uint8)
        self._size = ctypes.c_int64()

    def compress(self):
        return self._seconds(self._library.winnow_bench_compress(
            ctypes.byref(self._tensor), ctypes.c_void_p(self._values.data_ptr()),
            ctypes.c_void_p(self._compressed.ctypes.data), ctypes.c_int64(self._compressed.nbytes),
            ctypes.byref(self._size)))

    def decompress(self):
        return self._seconds(self._library.winnow_bench_decompress(
            ctypes.byref(self._tensor), ctypes.c_void_p(self._compressed.ctypes.data), self._size,
            ctypes.c_void_p(self._decoded.ctypes.data)))

    @property
    def size(self):
        """Of what the last `compress` gave, in bytes."""
        return self._size.value

    def bits(self):
        """What the last `decompress` gave, as bytes."""
        return self._decoded

    @staticmethod
    def _seconds(seconds):
        if seconds < 0:
            raise RuntimeError("the tensor could not be compressed or decompressed")
        return seconds


class Library:
    def __init__(self, path):
        self._library = ctypes.CDLL(str(path))
        self._library.winnow_bench_mask.restype = ctypes.c_double
        self._library.winnow_bench_floor.restype = ctypes.c_double
        self._library.winnow_bench_compress.restype = ctypes.c_double
        self._library.winnow_bench_decompress.restype = ctypes.c_double
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

    def codec(self, values, threads):
        """Compresses and decompresses `values`, a matrix."""
        return Codec(self._library, values, threads)
