"""The Python package beside upstream's Python, turn by turn in one process, on one thread.

Figures are minima of interleaved repetitions unless a line says otherwise. A step is the whole call,
`sparsifier.step()`, with everything that Python does on the way.
"""
import time

import torch

import torchwinnow
from torchwinnow.data_sparsifier import DataNormSparsifier
from masks import SIZES, data, interleave, peak_kib, reset_peak
from torch_step import BLOCK, LEVEL, Upstream, beside_upstream, check_masks

REPS = {"640 K": (60, 7), "6.4 M": (30, 5), "64 M": (9, 2)}  # ours, upstream's
UPSTREAM_BAR, TABLE_BAR, CALL_BAR, MEMORY_BAR = 300, 15, 20, 32
NO_BAR_BELOW = 6_400_000  # values, for the bar against upstream


def timed(call):
    """A call of no arguments that returns its seconds."""

    def run():
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return run


class Sparsifier:
    """Ours, over tensors that the caller keeps. Calling it steps and returns the seconds."""

    def __init__(self, tensors, level=LEVEL, block=BLOCK):
        self._sparsifier = DataNormSparsifier(
            data_list=[(str(i), tensor) for i, tensor in enumerate(tensors)],
            sparsity_level=level, sparse_block_shape=block)
        self._step = timed(self._sparsifier.step)

    def __call__(self):
        return self._step()

    def mask(self, index):
        return self._sparsifier.get_mask(str(index))


def memory_table(report):
    """Memory that a step takes on top, at 64 million values."""
    ours = Sparsifier([data("normal", *SIZES["64 M"])])
    for step, bar in (("first", None), ("second", MEMORY_BAR), ("third", MEMORY_BAR)):
        reset_peak()
        before = peak_kib()
        ours()
        report.ratio(f"64 M, {step} step: memory on top, MiB", (peak_kib() - before) / 1024, bar)


def step_table(report):
    """One table of each size against upstream."""
    for size, (reps, upstream_reps) in REPS.items():
        values = data("normal", *SIZES[size])
        ours, upstream = Sparsifier([values]), Upstream([values])
        ours(), upstream()
        check_masks(ours, upstream, 1)
        best = beside_upstream({"step": ours}, upstream, reps, upstream_reps)
        report.say(f"| {size}: a step of ours, of upstream's, ms | {best['step'] * 1e3:.2f}, "
                   f"{best['upstream'] * 1e3:.0f} | | |")
        bar = UPSTREAM_BAR if values.numel() >= NO_BAR_BELOW else None
        report.at_least(f"{size}: upstream's step against ours", best["upstream"] / best["step"], bar)


def small_table(report):
    """1,000 small tables in one sparsifier: all names go to C++ in one call."""
    tensors = [torch.randn(1000, 16) for _ in range(1000)]
    ours, upstream = Sparsifier(tensors), Upstream(tensors)
    ours(), upstream()
    check_masks(ours, upstream, 10)
    best = beside_upstream({"step": ours}, upstream, 40, 3)
    report.ratio("1,000 tables of 1000 x 16: a step, us a table", best["step"] * 1e3, TABLE_BAR)
    report.ratio("the same: upstream's, us a table", best["upstream"] * 1e3, None)
    report.at_least("the same: upstream's step against ours", best["upstream"] / best["step"], None)


def call_table(report):
    """What a single call costs besides the work, of which 16 values have next to none."""
    tensor, calls = torch.randn(4, 4), 20

    def many(call, argument):
        return timed(lambda: [call(argument) for _ in range(calls)])

    best = interleave({"compute_mask": many(torchwinnow.compute_mask, tensor),
                       "prune_": many(torchwinnow.prune_, tensor),
                       "compute_mask of an array": many(torchwinnow.compute_mask, tensor.numpy())},
                      500)
    for name, bar in zip(best, (CALL_BAR, None, None)):
        report.ratio(f"a call on 4 x 4 values, {name}, us", best[name] / calls * 1e6, bar)


def tables(report):
    memory_table(report)  # first, while the process holds no freed memory
    step_table(report)
    small_table(report)
    call_table(report)
