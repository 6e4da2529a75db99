"""What calls need beside a table, measured: the peak of resident memory in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROWS, COLS = 1 << 18, 64  # 64 MiB of float32

MEASURE = """
import json, sys, warnings
from pathlib import Path
import torch
from sparsifiers import FirstRow
from torchwinnow import DataNormSparsifier

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
rows, cols, dtype = int(sys.argv[1]), int(sys.argv[2]), getattr(torch, sys.argv[3])


def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) * 1024


peaks = {}


def measure(name, call):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident("VmRSS")
    result = call()
    peaks[name] = (resident("VmHWM") - before) / table.nbytes
    return result


small = DataNormSparsifier([("warm", torch.randn(256, 64).to(dtype))])  # what is loaded once
small.step()
small.load_state_dict(small.state_dict())
small.squash_mask()
table = torch.full((rows, cols), 0.5, dtype=dtype)
sparsifier = DataNormSparsifier(sparsity_level=0.9)
read = measure("add_data", lambda: sparsifier.add_data("x", table))
del read
measure("first step", sparsifier.step)
measure("later step", sparsifier.step)
read = measure("replacement", lambda: sparsifier.add_data("x", table))
del read
dense = {"clone": False, "mask_format": "dense"}
state = measure("state_dict, dense", lambda: sparsifier.state_dict(**dense))
state = measure("state_dict, sparse", lambda: sparsifier.state_dict(clone=False))
loaded = DataNormSparsifier()
measure("load_state_dict", lambda: loaded.load_state_dict(state))
del loaded
mask = {"state": {"x": {"mask": sparsifier.get_mask("x")}}}
loaded = DataNormSparsifier()
measure("load_state_dict, dense", lambda: loaded.load_state_dict({**state, **mask}))
del loaded, state, mask
measure("squash_mask", sparsifier.squash_mask)
own = FirstRow()
read = measure("add_data of an own class", lambda: own.add_data("x", table))
del read
print(json.dumps(peaks))
"""


def peaks_of(dtype):
    arguments = [sys.executable, "-c", MEASURE, str(ROWS), str(COLS), dtype]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "MALLOC_TRIM_THRESHOLD_": "0"}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("dtype, mask", [("float32", 0.25), ("bfloat16", 0.5)])
def test_memory_beside_a_table(dtype, mask):
    """In tables: with the table itself, add_data and a step of float32 stay below 1.3."""
    peaks = peaks_of(dtype)
    noise = 0.1
    for name in ("add_data", "later step", "squash_mask", "add_data of an own class"):
        assert peaks[name] < noise, peaks
    assert peaks["first step"] < mask + noise, peaks
    assert peaks["replacement"] < 2 + noise, peaks  # the read, and the mask in the data's dtype
    assert peaks["state_dict, dense"] < mask + noise, peaks
    assert peaks["state_dict, sparse"] < 3.4 * mask + noise, peaks  # twice 17 bytes a kept value
    for name in ("load_state_dict", "load_state_dict, dense"):
        assert peaks[name] < 1 + mask + noise, peaks  # the data that are loaded, and a mask
