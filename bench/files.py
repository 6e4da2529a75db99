"""The whole command, file to file, beside `cp` and a sync of the copy."""
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

MEGABYTES = 256
REPS = 9


def copy_and_sync(source, target):
    start = time.perf_counter()
    subprocess.run(["cp", source, target], check=True)
    with open(target, "rb") as copy:
        os.fsync(copy.fileno())
    return time.perf_counter() - start


def prune(tool, source, target):
    start = time.perf_counter()
    done = subprocess.run([tool, "prune", source, "-o", target, "-s", "0.8", "--block", "1x4", "--json"],
                          check=True, capture_output=True)
    return time.perf_counter() - start, json.loads(done.stdout)


def file_table(tool, folder, report):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source, copied, pruned = (folder / name for name in ("in.safetensors", "copy", "out.safetensors"))
    rng = np.random.default_rng(0)
    rows = MEGABYTES * 1_000_000 // 16 // 4 // 1000
    save_file({f"layer.{i}": rng.standard_normal((rows, 1000), dtype=np.float32) for i in range(16)},
              source)
    times = {"cp": [], "winnow": []}
    summary = {}
    for _ in range(REPS):
        for target in (copied, pruned):
            target.unlink(missing_ok=True)
        times["cp"].append(copy_and_sync(source, copied))
        seconds, summary = prune(tool, source, pruned)
        times["winnow"].append(seconds)
    for path in (source, copied, pruned):
        path.unlink()
    best = {key: min(values) for key, values in times.items()}
    report.say(f"{MEGABYTES} MB file: cp and sync {best['cp']:.3f} s, winnow prune {best['winnow']:.3f} s")
    report.bar(f"{MEGABYTES} MB file: seconds against cp and sync", best["winnow"] / best["cp"], 2.0)
    largest = rows * 1000 * 4 / 2**20
    report.bar("peak memory of the command, MiB", summary["peak_memory_bytes"] / 2**20,
               1.5 * largest + 64)
