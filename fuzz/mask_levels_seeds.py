"""Writes the seed corpus of mask_levels_fuzzer into a directory: values of each type and lengths of input
from which the fuzzer takes layouts of every size.

usage: mask_levels_seeds.py DIRECTORY
"""

import pathlib
import random
import struct
import sys


def values(kind, count):
    draw = random.Random(count)
    return b"".join(struct.pack(kind, draw.gauss(0, 1)) for _ in range(count))


def main(directory):
    directory.mkdir(parents=True, exist_ok=True)
    draw = random.Random(1)
    for kind in "efd":
        for count in (3, 64, 700):
            # The settings are taken from the end: 22 bytes or fewer.
            for turn in range(4):
                settings = draw.randbytes(24)
                (directory / f"{kind}{count}_{turn}").write_bytes(values("<" + kind, count) + settings)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
