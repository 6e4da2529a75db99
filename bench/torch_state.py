"""A sparsifier's state in a file: its size, and its time beside `cp` and a sync of the copy."""
import os
from pathlib import Path

import torch
from torch.ao.pruning._experimental.data_sparsifier import DataNormSparsifier

from files import copy_and_sync
from torch_step import Sparsifier

ROWS, COLS = 16_000_000, 16  # 1.02 GB of F32
SMALL_ROWS = 1_000_000
REPS = 5
SIZE_BAR, TIME_BAR = 1.1, 2.0


def upstream_bytes(table, path):
    sparsifier = DataNormSparsifier(data_list=[("table", table)])
    sparsifier.step()
    torch.save(sparsifier.state_dict(), path)
    return os.path.getsize(path)


def size_rows(torch_library, folder, report):
    """Bytes of a state against those of its table, half of which is dropped."""
    table, path = torch.randn(SMALL_ROWS, COLS), folder / "state.pt"
    ours = Sparsifier(torch_library, [table])
    ours()
    for name, packed, bar in (("packed", True, SIZE_BAR), ("torch_ao", False, None)):
        ours.save(path, packed)
        report.ratio(f"state of 64 MB, {name}: bytes against the table's",
                     os.path.getsize(path) / table.nbytes, bar)
    report.ratio("state of 64 MB, upstream's: bytes against the table's",
                 upstream_bytes(table, path) / table.nbytes, None)
    path.unlink()


def time_rows(torch_library, folder, report):
    table = torch.randn(ROWS, COLS)
    ours = Sparsifier(torch_library, [table])
    ours()
    path, copied = folder / "state.pt", folder / "copy"
    ours.save(path, True)
    best = {}
    for _ in range(REPS):
        copied.unlink(missing_ok=True)
        turn = {"cp": copy_and_sync(path, copied), "save": ours.save(path, True),
                "load": torch_library.load(path)}
        best = {key: min(best.get(key, turn[key]), turn[key]) for key in turn}
    report.say(f"| state of 1 GB: cp and sync, save, load, s | {best['cp']:.2f}, "
               f"{best['save']:.2f}, {best['load']:.2f} | | |")
    report.ratio("state of 1 GB: save against cp and sync", best["save"] / best["cp"], TIME_BAR)
    report.ratio("state of 1 GB: load against cp and sync", best["load"] / best["cp"], TIME_BAR)
    path.unlink(), copied.unlink()


def tables(torch_library, folder, report):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    size_rows(torch_library, folder, report)
    time_rows(torch_library, folder, report)
