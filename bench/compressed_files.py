"""Compressed tensors beside other codecs, in turns in one process: sizes, speeds and the bars for both.

Sizes are bits a value of the dense array; their share is of what kept values in full and the entropy of
their positions take. Speeds are GB/s of dense bytes, from minima of interleaved repetitions, one thread on
one core. Every codec must give the same bits back.
"""
import contextlib
import ctypes
import os
import time
from dataclasses import dataclass

import numpy as np
import torch

from masks import interleave
from peers import OpenZL, Pcodec, ZipNN, Zstd, integers
from sparse_arrays import SINGLE, arrays

OURS, TWO = "winnow", "winnow, two threads"
STRONG = Zstd(19)
STRONG_ROWS, STRONG_RUNS = 24_000, 8  # at 2 MB/s, the whole array would take half a minute
SHARE_BARS = {"F32": 0.80, "F16": 0.80, "BF16": 0.65}
DENSE_BARS = {"F32": 0.835, "BF16": 0.67}
FAR_SMALLER, FAR_LEVEL = 1.15, 0.9  # than zstd -19 and ZipNN, from this level on
DENSE_SLACK, DENSE_SPEED = 1.02, 3
COMPRESS_BARS = {0: 0.4, 0.5: 0.4, 0.9: 1.0}
DECOMPRESS_BARS = {0.9: 5.0}
TWO_BAR = 1.7
SIZE_COLUMNS = ["bits a value", "winnow", "of the bound", "pcodec", "OpenZL", "ZipNN", "zstd -1", "zstd -3",
                "zstd -19"]
SPEED_COLUMNS = ["GB/s in, out", OURS, TWO, "pcodec", "OpenZL", "ZipNN", "zstd -1", "zstd -3"]


@dataclass
class Figures:
    bits: float  # a value
    compress: float = float("nan")  # GB/s
    decompress: float = float("nan")


@contextlib.contextmanager
def cores(count):
    """Within it, this thread runs on so many cores, and so do threads that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(count))
    yield
    os.sched_setaffinity(0, before)


def our_calls(name, codec, threads):
    """The two timed calls of ours, by threads."""

    def on_cores(call):
        def run():
            with cores(threads):
                return call()

        return run

    return {(name, "compress"): on_cores(codec.compress), (name, "decompress"): on_cores(codec.decompress)}


def timed(call, results, key):
    """A call of no arguments that returns seconds and leaves its result in `results`."""

    def run():
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start
        results[key] = result
        return seconds

    return run


def peer_calls(peer, values, results):
    """The two timed calls of a peer. What `prepare` takes is not part of them."""

    def compress():
        prepared = peer.prepare(values)
        return timed(lambda: peer.compress(prepared), results, (peer.name, "compressed"))()

    def decompress():
        compressed = results[peer.name, "compressed"]
        return timed(lambda: peer.decompress(compressed), results, (peer.name, "decoded"))()

    return {(peer.name, "compress"): compress, (peer.name, "decompress"): decompress}


def strong_bits(values):
    """Bits a value that zstd -19 takes for some runs of rows, evenly spaced."""
    rows = min(STRONG_ROWS, values.shape[0])
    run = rows // STRONG_RUNS
    starts = [i * (values.shape[0] - run) // (STRONG_RUNS - 1) for i in range(STRONG_RUNS)]
    some = torch.cat([values[start:start + run] for start in starts])
    return 8 * len(STRONG.compress(STRONG.prepare(some))) / some.numel()


def measure(library, peers, array, reps):
    """The figures of every codec for one array, by its name."""
    values, results, calls = array.values, {}, {}
    ours = {OURS: library.codec(values, 1), TWO: library.codec(values, 2)}
    for threads, (name, codec) in enumerate(ours.items(), start=1):
        calls |= our_calls(name, codec, threads)
    for peer in peers:
        calls |= peer_calls(peer, values, results)
    best = interleave(calls, reps)
    sizes = {name: codec.size for name, codec in ours.items()}
    decoded = {name: codec.bits() for name, codec in ours.items()}
    for peer in peers:
        sizes[peer.name] = len(results[peer.name, "compressed"])
        decoded[peer.name] = peer.bits(results[peer.name, "decoded"])
    for name, content in decoded.items():
        if not np.array_equal(content, integers(values).view(np.uint8)):
            raise RuntimeError(f"{name} does not give back {array.name}")
    gigabytes = values.numel() * values.element_size() / 1e9
    figures = {name: Figures(8 * size / values.numel(), gigabytes / best[name, "compress"],
                             gigabytes / best[name, "decompress"]) for name, size in sizes.items()}
    return figures | {STRONG.name: Figures(strong_bits(values))}


def judge_size(bars, array, figures, share):
    ours = figures[OURS].bits
    others = {name: x.bits for name, x in figures.items() if name not in (OURS, TWO)}
    if array.level == 0:
        if array.is_normal and array.dtype in DENSE_BARS:
            bars.at_most(f"{array.name}: share of the dense size", share, DENSE_BARS[array.dtype])
        best = min(others, key=others.get)
        bars.at_most(f"{array.name}: size against {best}", ours / others[best], DENSE_SLACK)
        bars.at_least(f"{array.name}: speed of compression against {best}, which is the smallest",
                      figures[OURS].compress / figures[best].compress,
                      DENSE_SPEED if ours > others[best] else None)
        return
    if array.is_normal and array.block == SINGLE:
        bars.at_most(f"{array.name}: share of the bound", share, SHARE_BARS[array.dtype])
    for name, bits in others.items():
        far = array.level >= FAR_LEVEL and name in (STRONG.name, "ZipNN")
        bars.at_least(f"{array.name}: size of {name} against ours", bits / ours, FAR_SMALLER if far else 1)


def judge_speed(bars, array, figures):
    ours, two = figures[OURS], figures[TWO]
    if array.level in COMPRESS_BARS:
        bars.at_least(f"{array.name}: compress, GB/s", ours.compress, COMPRESS_BARS[array.level])
    if array.level in DECOMPRESS_BARS:
        bars.at_least(f"{array.name}: decompress, GB/s", ours.decompress, DECOMPRESS_BARS[array.level])
    if array.level <= 0.5:
        for name in ("ZipNN", "zstd -1", "zstd -3"):
            bars.at_least(f"{array.name}: decompress against {name}", ours.decompress / figures[name].decompress,
                          1)
    if array.level in COMPRESS_BARS:
        bars.at_least(f"{array.name}: compress, two threads against one", two.compress / ours.compress, TWO_BAR)
        bars.at_least(f"{array.name}: decompress, two threads against one", two.decompress / ours.decompress,
                      TWO_BAR)


class Bars:
    """Keeps the lines of the table of bars until the tables of figures are done."""

    def __init__(self):
        self._lines = []

    def at_most(self, what, value, bar):
        self._lines.append((what, value, bar, False))

    def at_least(self, what, value, bar):
        self._lines.append((what, value, bar, True))

    def put(self, report):
        for line in self._lines:
            report.ratio(*line)


def keep_memory():
    """Lets malloc reuse all memory that is freed. Else each call of each codec would pay for new pages."""
    m_trim_threshold, m_mmap_max = -1, -4  # of <malloc.h>
    libc = ctypes.CDLL(None)
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, 2**31 - 1)


def tables(library, cache, report, columns, quick):
    """Sizes, speeds, and the bars, whose columns are given."""
    keep_memory()
    peers = [Pcodec(), OpenZL(), ZipNN(), Zstd(1), Zstd(3)]
    bars, speeds = Bars(), []
    report.heading("Sizes of compressed tensors", SIZE_COLUMNS)
    with cores(1):
        for array in arrays(library, cache, quick):
            figures = measure(library, peers, array, 3 if quick else 7)
            bound = array.bound_bits()
            share = figures[OURS].bits / bound
            judge_size(bars, array, figures, share)
            if array.dtype == "F32":
                judge_speed(bars, array, figures)
            shown = [f"{figures[name].bits:.3f}" for name in SIZE_COLUMNS[3:]]
            report.say(f"| {array.name} | {figures[OURS].bits:.3f} | {share:.3f} | " + " | ".join(shown) + " |")
            shown = [f"{figures[n].compress:.2f}, {figures[n].decompress:.2f}" for n in SPEED_COLUMNS[1:]]
            speeds.append(f"| {array.name} | " + " | ".join(shown) + " |")
            for name, x in figures.items():
                report.row(array=array.name, codec=name, bits_a_value=f"{x.bits:.4f}",
                           share_of_bound=f"{x.bits / bound:.4f}",
                           compress_gb_s=f"{x.compress:.3f}", decompress_gb_s=f"{x.decompress:.3f}")
    report.heading("Speeds of compression and decompression", SPEED_COLUMNS)
    for line in speeds:
        report.say(line)
    report.heading("Bars of compressed tensors", columns)
    bars.put(report)
