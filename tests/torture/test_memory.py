"""A file of 64 GiB takes the memory of one of 1 GiB. `./dev torture` runs it; it takes some minutes."""

import json
import subprocess

from tool import WINNOW

COLUMNS = 1 << 14


def peak(path, gib):
    """Of a dry run over one F32 tensor of zeros, a hole on the disk. A dry run reads as a real one does."""
    size = gib << 30
    shape = [size // (4 * COLUMNS), COLUMNS]
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    done = subprocess.run([WINNOW, "prune", path, "--dry-run", "--block", "1x1", "--json"],
                          check=True, capture_output=True)
    return json.loads(done.stdout)["peak_memory_bytes"]


def test_64_gib_take_the_memory_of_1(tmp_path):
    small, large = peak(tmp_path / "m", 1), peak(tmp_path / "m", 64)
    print(f"{small / 2**20:.1f} MiB, {large / 2**20:.1f} MiB")
    assert large <= 512 << 20
    assert large <= 1.05 * small
