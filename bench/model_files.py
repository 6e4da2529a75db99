"""Compressed files: loading a model into torch tensors beside the dense file, and the tool's memory.

The model is MiniLM, pruned to 80 % by the tool and then compressed. "Cold" is after posix_fadvise(DONTNEED)
of a synced file: the system drops its pages and reads the disk again. safetensors maps the dense file, so
that its load reads next to nothing: the values are read when somebody uses them. So both are also timed
with one read of every value.
"""
import json
import os
import subprocess
import time

import numpy as np
import safetensors.torch
import torch

import torchwinnow
from masks import interleave

REPS, COLD_REPS = 15, 7
CACHED_BAR, COLD_BAR = 1.3, 1.0
MEMORY_BAR = 512  # MiB, what the tool may take
LARGE_ROWS, LARGE_COLUMNS = 160_000, 1024  # one tensor of 625 MiB


def run_tool(tool, *arguments):
    """Runs the tool and returns its report."""
    done = subprocess.run([tool, *arguments, "--json"], check=True, capture_output=True)
    return json.loads(done.stdout)


def drop(path):
    """Drops a file from the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def read_all(tensors):
    """Reads every value once."""
    for tensor in tensors.values():
        tensor.reshape(-1).view(torch.uint8).max()


def timed(load, path, is_cold, is_read):
    def run():
        if is_cold:
            drop(path)
        start = time.perf_counter()
        tensors = load(path)
        if is_read:
            read_all(tensors)
        return time.perf_counter() - start

    return run


def load_table(tool, cache, folder, report):
    """Both files hold the same tensors. The dense file is loaded by safetensors itself."""
    dense, small = folder / "minilm-80.safetensors", folder / "minilm-80-small.safetensors"
    run_tool(tool, "prune", cache / "minilm/model.safetensors", "-o", dense, "-s", "0.8", "--block", "1x1")
    run_tool(tool, "compress", dense, "-o", small)
    expected, found = safetensors.torch.load_file(dense), torchwinnow.load_file(small)
    if not all(torch.equal(found[name], tensor) for name, tensor in expected.items()):
        raise RuntimeError("the compressed model differs from the dense one")
    del expected, found
    loads = {"dense": (safetensors.torch.load_file, dense), "ours": (torchwinnow.load_file, small)}
    for is_cold, reps, bar in ((False, REPS, CACHED_BAR), (True, COLD_REPS, COLD_BAR)):
        for is_read in (False, True):
            calls = {name: timed(load, path, is_cold, is_read) for name, (load, path) in loads.items()}
            best = interleave(calls, reps)
            what = ("MiniLM at 80 %, " + ("cold" if is_cold else "in the page cache") +
                    (", loaded and every value read" if is_read else ", loaded"))
            report.say(f"| {what}: dense by safetensors, compressed by ours, ms | "
                       f"{best['dense'] * 1e3:.1f}, {best['ours'] * 1e3:.1f} | | |")
            report.ratio(f"{what}: ours against safetensors", best["ours"] / best["dense"], bar)


def memory_table(tool, folder, report):
    """One tensor that is larger than the bound."""
    dense, small = folder / "large.safetensors", folder / "large-small.safetensors"
    rng = np.random.default_rng(0)
    values = rng.standard_normal((LARGE_ROWS, LARGE_COLUMNS), dtype=np.float32)
    values[np.abs(values) < 1.6] = 0
    safetensors.torch.save_file({"large": torch.from_numpy(values)}, dense)
    megabytes = values.nbytes / 2**20
    del values
    for command, source, target in (("compress", dense, small), ("decompress", small, dense)):
        found = run_tool(tool, command, source, "-o", target, "--overwrite")
        report.ratio(f"one tensor of {megabytes:.0f} MiB, {command}: peak memory, MiB",
                     found["peak_memory_bytes"] / 2**20, MEMORY_BAR)


def tables(tool, cache, report):
    folder = cache / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    try:
        load_table(tool, cache, folder, report)
        memory_table(tool, folder, report)
    finally:
        for path in folder.glob("*.safetensors"):
            path.unlink()
        torch.set_num_threads(threads)
