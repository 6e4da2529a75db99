"""DataNormSparsifier::step() beside upstream's and beside the core's kernel, turn by turn.

A step of ours and one of upstream's run over the same tensors by the same LibTorch, on one thread.
Figures are minima of interleaved repetitions unless a line says otherwise.
"""
import ctypes
import time
import warnings

import torch
from torch.ao.pruning._experimental.data_sparsifier import DataNormSparsifier

from masks import SIZES, data, interleave, peak_kib, reset_peak
from winnow_bench import DTYPES

LEVEL, BLOCK = 0.5, (1, 4)
REPS = {"6.4 M": 30, "64 M": 9}
UPSTREAM_REPS = {"6.4 M": 7, "64 M": 3}
KERNEL_BAR, UPSTREAM_BAR, SMALL_BAR = 1.05, 300, 15


class Data(ctypes.Structure):
    """Mirrors WinnowTorchData."""

    _fields_ = [("values", ctypes.c_void_p), ("rows", ctypes.c_int64), ("cols", ctypes.c_int64),
                ("row_stride", ctypes.c_int64), ("col_stride", ctypes.c_int64),
                ("dtype", ctypes.c_int32)]

    @classmethod
    def of(cls, tensor):
        return cls(tensor.data_ptr(), *tensor.shape, *tensor.stride(), DTYPES[tensor.dtype])


class Config(ctypes.Structure):
    """Mirrors WinnowTorchConfig."""

    _fields_ = [("level", ctypes.c_double), ("block_rows", ctypes.c_int64),
                ("block_cols", ctypes.c_int64), ("zeros_per_block", ctypes.c_int64),
                ("norm", ctypes.c_int32), ("use_global", ctypes.c_int32)]


class TorchLibrary:
    """The C functions of torch_bench_api.cc. Importing torch first makes both share one LibTorch."""

    def __init__(self, path):
        self.c = ctypes.CDLL(str(path))
        self.c.winnow_torch_new.restype = ctypes.c_void_p
        self.c.winnow_torch_step.restype = ctypes.c_double
        self.c.winnow_torch_masks_out.restype = ctypes.c_double
        self.c.winnow_torch_mask.restype = ctypes.c_void_p
        self.c.winnow_torch_save.restype = ctypes.c_double
        self.c.winnow_torch_load.restype = ctypes.c_double

    def training_steps(self, movielens, rounds):
        """Median seconds of a training step, and of one that holds its masks, interleaved."""
        plain, held = ctypes.c_double(), ctypes.c_double()
        if not self.c.winnow_torch_training_steps(str(movielens).encode(), ctypes.c_int64(rounds),
                                                  ctypes.byref(plain), ctypes.byref(held)):
            raise RuntimeError("the training failed: see above")
        return plain.value, held.value

    def load(self, path):
        """Reads a state's file and returns the seconds."""
        return _checked(self.c.winnow_torch_load(str(path).encode()))

    def masks_out(self, tensors, masks, level=LEVEL, block=BLOCK):
        """A call of compute_masks_out into `masks`, flat int8."""
        config, many = Config(level, *block, -1, 1, 0), _array(tensors)

        def call():
            return _checked(self.c.winnow_torch_masks_out(
                ctypes.byref(config), many, ctypes.c_int64(len(tensors)),
                ctypes.c_void_p(masks.data_ptr())))

        return call


def _array(tensors):
    return (Data * len(tensors))(*[Data.of(tensor) for tensor in tensors])


def _checked(seconds):
    if seconds < 0:
        raise RuntimeError("the step failed: see above")
    return seconds


class Sparsifier:
    """Ours, over tensors that the caller keeps. Calling it steps and returns the seconds."""

    def __init__(self, library, tensors, level=LEVEL, block=BLOCK, use_global=False):
        self._c, self._tensors = library.c, tensors
        config = Config(level, *block, -1, 1, use_global)
        self._handle = ctypes.c_void_p(self._c.winnow_torch_new(
            ctypes.byref(config), _array(tensors), ctypes.c_int64(len(tensors))))
        if not self._handle:
            raise RuntimeError("the sparsifier could not be made: see above")

    def __call__(self):
        return _checked(self._c.winnow_torch_step(self._handle))

    def mask(self, index):
        """The mask itself, no copy; the first step must have been made."""
        address = self._c.winnow_torch_mask(self._handle, ctypes.c_int64(index))
        shape = self._tensors[index].shape
        memory = (ctypes.c_int8 * shape.numel()).from_address(address)
        return torch.frombuffer(memory, dtype=torch.int8).view(shape)

    def save(self, path, packed):
        """Writes the state, and returns the seconds until it is on the disk."""
        return _checked(self._c.winnow_torch_save(self._handle, str(path).encode(),
                                                  ctypes.c_int32(packed)))

    def __del__(self):
        self._c.winnow_torch_delete(self._handle)


class Upstream:
    """Upstream's sparsifier over the same tensors, called likewise."""

    def __init__(self, tensors, level=LEVEL, block=BLOCK):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._sparsifier = DataNormSparsifier(
                data_list=[(str(i), tensor) for i, tensor in enumerate(tensors)],
                sparsity_level=level, sparse_block_shape=block,
                zeros_per_block=block[0] * block[1])

    def __call__(self):
        start = time.perf_counter()
        self._sparsifier.step()
        return time.perf_counter() - start

    def mask(self, index):
        return self._sparsifier.get_mask(str(index))


def check_masks(ours, upstream, count):
    """The two do the same work. Upstream breaks ties anyhow, so sums may differ by a block."""
    for index in range(count):
        a, b = ours.mask(index), upstream.mask(index)
        if (a != b).sum() > 2 * BLOCK[0] * BLOCK[1]:
            raise RuntimeError(f"the masks of tensor {index} differ")


def beside_upstream(calls, upstream, reps, upstream_reps):
    """The minimum seconds of all: after each step of upstream's, the others have their turns."""
    best = {}
    for _ in range(upstream_reps):
        turn = {"upstream": upstream(), **interleave(calls, -(-reps // upstream_reps))}
        best = {key: min(best.get(key, turn[key]), turn[key]) for key in turn}
    return best


def contiguous_table(library, torch_library, report):
    """One large table: against the core's kernel alone and against upstream."""
    for size in REPS:
        shape = SIZES[size]
        values = data("normal", *shape)
        ours, upstream = Sparsifier(torch_library, [values]), Upstream([values])
        first, upstream_first = ours(), upstream()
        report.say(f"| {size}, first step: ours, upstream, ms | {first * 1e3:.2f}, "
                   f"{upstream_first * 1e3:.0f} | | |")
        check_masks(ours, upstream, 1)
        kernel = library.mask(values, ours.mask(0), BLOCK, LEVEL)  # into the very same bytes
        best = beside_upstream({"step": ours, "kernel": kernel}, upstream, REPS[size],
                               UPSTREAM_REPS[size])
        report.say(f"| {size}, later steps: kernel, ours, upstream, ms | {best['kernel'] * 1e3:.2f}, "
                   f"{best['step'] * 1e3:.2f}, {best['upstream'] * 1e3:.0f} | | |")
        report.ratio(f"{size}: step against the kernel", best["step"] / best["kernel"], KERNEL_BAR)
        report.at_least(f"{size}: upstream's step against ours", best["upstream"] / best["step"],
                        UPSTREAM_BAR)


def small_table(torch_library, report):
    """1,000 small tables, whose steps are mostly overhead; times are those of a table."""
    tensors = [torch.randn(1000, 16) for _ in range(1000)]
    masks = torch.empty(16_000_000, dtype=torch.int8)
    ours, upstream = Sparsifier(torch_library, tensors), Upstream(tensors)
    first, upstream_first = ours(), upstream()
    check_masks(ours, upstream, 10)
    calls = {"step": ours, "out": torch_library.masks_out(tensors, masks)}
    best = beside_upstream(calls, upstream, 30, 3)
    report.say(f"| 1,000 tables of 1000 x 16, first step: ours, upstream, us a table | "
               f"{first * 1e3:.1f}, {upstream_first * 1e3:.0f} | | |")
    report.ratio("the same, compute_masks_out, us a table", best["out"] * 1e3, SMALL_BAR)
    report.ratio("the same, later steps, us a table", best["step"] * 1e3, SMALL_BAR)
    report.at_least("the same: upstream's step against ours",
                    best["upstream"] / best["step"], None)


def strided_table(torch_library, report):
    """Layouts that the kernels cannot read in place, at 6.4 million values; no bar."""
    rows, cols = SIZES["6.4 M"]
    layouts = {"rows with gaps": torch.randn(rows, cols + 24)[:, :cols],
               "transposed": torch.randn(cols, rows).t(),
               "every other column": torch.randn(rows, 2 * cols)[:, ::2]}
    contiguous = Sparsifier(torch_library, [torch.randn(rows, cols)])
    contiguous()
    for name, values in layouts.items():
        ours, upstream = Sparsifier(torch_library, [values]), Upstream([values])
        ours(), upstream()
        check_masks(ours, upstream, 1)
        best = beside_upstream({"step": ours, "contiguous": contiguous}, upstream, 15, 3)
        report.say(f"| 6.4 M, {name}: ours, upstream, ms | {best['step'] * 1e3:.2f}, "
                   f"{best['upstream'] * 1e3:.0f} | | |")
        report.ratio(f"6.4 M, {name}, against contiguous", best["step"] / best["contiguous"], None)
        report.at_least(f"6.4 M, {name}: upstream's step against ours",
                        best["upstream"] / best["step"], None)


def memory_table(torch_library, report):
    """Memory that a step takes on top, at 64 million values."""
    values = data("normal", *SIZES["64 M"])
    ours = Sparsifier(torch_library, [values])
    for step, bar in (("first", None), ("second", 32), ("third", 32)):
        reset_peak()
        before = peak_kib()
        ours()
        report.ratio(f"64 M, {step} step: memory on top, MiB", (peak_kib() - before) / 1024, bar)


def tables(library, torch_library, report):
    memory_table(torch_library, report)  # first, while the process holds no freed memory
    contiguous_table(library, torch_library, report)
    small_table(torch_library, report)
    strided_table(torch_library, report)
