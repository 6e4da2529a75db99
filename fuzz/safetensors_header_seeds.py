"""Writes the seed corpus of safetensors_header_fuzzer into a directory: small valid files.

usage: safetensors_header_seeds.py DIRECTORY
"""

import json
import pathlib
import struct
import sys


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


SEEDS = {
    "empty": ({}, 0),
    "metadata": ({"__metadata__": {"format": "pt", "": "\u00e9\n"}}, 0),
    "scalar": ({"s": entry("F64", [], 0, 8)}, 8),
    "matrix": ({"w": entry("BF16", [2, 3], 0, 12)}, 12),
    "unordered": ({"b": entry("U8", [4], 1, 5), "a": entry("BOOL", [1], 0, 1)}, 5),
    "no_elements": ({"z": entry("F32", [0, 7], 0, 0), "a": entry("F32", [1], 0, 4)}, 4),
    "sub_byte": ({"q": entry("F4", [2, 2], 0, 2), "r": entry("F6_E3M2", [4], 2, 5)}, 5),
    "names": ({"../x": entry("I8", [1], 0, 1), "\0": entry("I8", [1], 1, 2)}, 2),
    "null_metadata": ({"__metadata__": None, "b": entry("F32", [1], 1, 5), "a": entry("U8", [1], 0, 1)}, 5),
    "both": ({"__metadata__": {"k": "v"}, "w": entry("F16", [1, 2], 0, 4)}, 4),
}


def main(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, (header, data_bytes) in SEEDS.items():
        text = json.dumps(header, separators=(",", ":")).encode()
        file = struct.pack("<Q", len(text)) + text + bytes(data_bytes)
        (directory / name).write_bytes(file)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
