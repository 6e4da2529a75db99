"""Masks: ours, upstream's step() and the memory floor, interleaved in one process on one thread.

Every figure is the minimum of its repetitions, in nanoseconds a value. The machine may be shared, so
only figures of one group, which were taken turn by turn, are compared.
"""
import time
import warnings

import torch
from torch.ao.pruning._experimental.data_sparsifier import DataNormSparsifier

SIZES = {"640 K": (640, 1000), "6.4 M": (6400, 1000), "64 M": (8000, 8000)}
BLOCKS = [(1, 1), (1, 4), (8, 8), (16, 1)]
FLOOR_BARS = {"6.4 M": 2.0, "64 M": 1.5}
NM_BARS = {"6.4 M": 1.6, "64 M": 1.3}
UPSTREAM_REPS = {"640 K": 7, "6.4 M": 7, "64 M": 7}
QUICK_REPS = {"640 K": 7, "6.4 M": 3, "64 M": 1}
# A step of upstream's at 64 million values takes some 10 seconds, and its time depends on the block
# alone: unless all is asked for, it is taken three times for each block, at level 0.5 with L1.
SHORT_REPS_AT_64_M = 3
OUR_REPS = {"640 K": 60, "6.4 M": 30, "64 M": 9}


def name_of(block):
    return f"{block[0]}x{block[1]}"


def interleave(calls, reps):
    """The minimum seconds of each call; all are called in turn, `reps` times."""
    best = {key: float("inf") for key in calls}
    for _ in range(reps):
        for key, call in calls.items():
            best[key] = min(best[key], call())
    return best


def upstream(values, block, level, norm, zeros=None):
    """A call of upstream's step(), whose mask is reused from call to call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparsifier = DataNormSparsifier(
            data_list=[("x", values)], sparsity_level=level, sparse_block_shape=block,
            zeros_per_block=zeros or block[0] * block[1], norm=norm)

    def call():
        start = time.perf_counter()
        sparsifier.step()
        return time.perf_counter() - start

    return call


def data(kind, rows, cols):
    values = torch.randn(rows, cols)
    if kind == "row-scaled":
        values *= torch.exp(torch.randn(rows, 1))
    return values


def floors(library, values, mask):
    return {"floor": library.floor(values, mask, 0), "floor streaming": library.floor(values, mask, 1)}


def floor_of(best):
    return min(best["floor"], best["floor streaming"])


def group(library, values, mask, calls, size, upstream_call=None):
    """Times `calls` beside the floors, and upstream's call in turn with them fewer times."""
    ours = {**floors(library, values, mask), **calls}
    best = interleave(ours, max(1, OUR_REPS[size] // 3))
    if upstream_call is not None:
        both = interleave({**ours, "upstream": upstream_call}, UPSTREAM_REPS[size])
        best = {key: min(both[key], best.get(key, both[key])) for key in both}
    final = interleave(ours, max(1, OUR_REPS[size] // 3))
    return {key: min(best[key], final.get(key, best[key])) for key in best}


def set_effort(quick, full):
    """How often upstream runs: see usage in run.py."""
    if quick:
        UPSTREAM_REPS.update(QUICK_REPS)
    elif not full:
        UPSTREAM_REPS["64 M"] = SHORT_REPS_AT_64_M


def upstream_table(library, report, sizes, quick, full):
    """Blocks, levels, norms and distributions against upstream and the floor."""
    for size in sizes:
        rows, cols = SIZES[size]
        mask = torch.zeros(rows, cols, dtype=torch.uint8)
        brief = quick and size != "640 K"
        for kind in ("normal",) if brief else ("normal", "row-scaled"):
            values = data(kind, rows, cols)
            for block in BLOCKS:
                for level in (0.5, 0.9):
                    for norm in ("L1",) if brief else ("L1", "L2"):
                        short = brief or (size == "64 M" and not full)
                        skip = short and (kind, level, norm) != ("normal", 0.5, "L1")
                        best = group(library, values, mask,
                                     {"ours": library.mask(values, mask, block, level, norm)}, size,
                                     None if skip else upstream(values, block, level, norm))
                        report.mask(size, kind, f"{name_of(block)} {level} {norm}", best,
                                    values.numel(), 300, FLOOR_BARS.get(size))


def partial_table(library, report, sizes, quick, full):
    """Half of each selected block dropped, and N:M."""
    for size in sizes:
        rows, cols = SIZES[size]
        mask = torch.zeros(rows, cols, dtype=torch.uint8)
        values = data("normal", rows, cols)
        for block in BLOCKS[1:]:
            zeros = block[0] * block[1] // 2
            for level in (0.5, 0.9):
                short = size == "64 M" and not full or quick and size != "640 K"
                skip = short and level != 0.5
                best = group(library, values, mask,
                             {"ours": library.mask(values, mask, block, level, "L1", zeros)}, size,
                             None if skip else upstream(values, block, level, "L1", zeros))
                report.mask(size, "normal", f"{name_of(block)} {level} L1, {zeros} zeros", best,
                            values.numel(), 250, None)
        best = group(library, values, mask,
                     {"ours": library.mask(values, mask, (1, 4), 1.0, "L1", 2)}, size)
        report.mask(size, "normal", "2:4", best, values.numel(), None, NM_BARS.get(size))


def clipped_table(library, report):
    """Shapes whose blocks are clipped at the edges, against the even shape, a value."""
    even, odd = data("normal", 6400, 1000), data("normal", 6401, 999)
    masks = [torch.zeros(x.shape, dtype=torch.uint8) for x in (even, odd)]
    for block in BLOCKS[1:]:
        best = interleave({"even": library.mask(even, masks[0], block, 0.5),
                           "odd": library.mask(odd, masks[1], block, 0.5)}, OUR_REPS["6.4 M"])
        ratio = best["odd"] / odd.numel() / (best["even"] / even.numel())
        report.ratio(f"6401 x 999 against 6400 x 1000, {name_of(block)}", ratio, 1.3)


def hard_data(rows, cols):
    normal = data("normal", rows, cols)
    half = normal.clone()
    half[torch.rand(rows, cols) < 0.5] = 0
    return {"all equal": torch.full_like(normal, 2.5), "half zeros": half,
            "16 levels": (torch.randint(0, 16, (rows, cols)) - 8).float()}


def hard_table(library, report, sizes):
    """Ties and 16-bit types against the normal F32 case, a value."""
    for size in sizes:
        rows, cols = SIZES[size]
        mask = torch.zeros(rows, cols, dtype=torch.uint8)
        normal = data("normal", rows, cols)
        for block in ((1, 1), (1, 4)):
            calls = {"normal": library.mask(normal, mask, block, 0.5)}
            kept = hard_data(rows, cols)
            calls |= {key: library.mask(x, mask, block, 0.5) for key, x in kept.items()}
            best = interleave(calls, OUR_REPS[size])
            for key in kept:
                report.ratio(f"{size}, {name_of(block)}, {key} against normal",
                             best[key] / best["normal"], 2.5)
        halves = {"F16": normal.half(), "BF16": normal.bfloat16()}
        calls = {"F32": library.mask(normal, mask, (1, 1), 0.5)}
        calls |= {key: library.mask(x, mask, (1, 1), 0.5) for key, x in halves.items()}
        best = interleave(calls, OUR_REPS[size])
        for key in halves:
            report.ratio(f"{size}, 1x1, {key} against F32", best[key] / best["F32"], 1.0)


def scope_table(library, report):
    """One budget over 1,000 tensors against one each, a value."""
    values = data("normal", 64000, 1000)
    mask = torch.zeros(values.shape, dtype=torch.uint8)
    singles = [library.mask(values[i * 64:(i + 1) * 64], mask[i * 64:(i + 1) * 64], (1, 1), 0.5)
               for i in range(1000)]
    best = interleave({"global": library.mask(values, mask, (1, 1), 0.5, tensors=1000),
                       "single": lambda: sum(call() for call in singles)}, OUR_REPS["64 M"])
    report.ratio("1,000 tensors of 64 K: one budget against one each",
                 best["global"] / best["single"], 1.5)


def threads_table(library, report):
    """Two threads against one."""
    for size, bar in (("640 K", 1.05), ("64 M", 1.0)):
        values = data("normal", *SIZES[size])
        mask = torch.zeros(values.shape, dtype=torch.uint8)
        for block in BLOCKS:
            best = interleave({n: library.mask(values, mask, block, 0.5, threads=n) for n in (1, 2)},
                              OUR_REPS[size])
            report.ratio(f"{size}, {name_of(block)}: two threads against one", best[2] / best[1], bar)


def peak_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def reset_peak():
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")


def scratch_table(library, report):
    """Memory beyond the data and the mask at 64 million values."""
    values = data("normal", *SIZES["64 M"])
    mask = torch.zeros(values.shape, dtype=torch.uint8)
    cases = {name_of(b): (values, b, None) for b in BLOCKS}
    cases |= {f"{name_of(b)} half": (values, b, b[0] * b[1] // 2) for b in BLOCKS[1:]}
    worst = 0.0
    for name, (x, block, zeros) in cases.items():
        reset_peak()
        before = peak_kib()
        library.mask(x, mask, block, 0.5, "L1", zeros)()
        used = (peak_kib() - before) / 1024
        report.say(f"64 M, {name}: {used:.1f} MiB of scratch in this call")
        worst = max(worst, used)
    report.bar("64 M: scratch, MiB", worst, 32)
