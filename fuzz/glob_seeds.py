"""Writes the seed corpus of glob_fuzzer into a directory: patterns, each with a name.

usage: glob_seeds.py DIRECTORY
"""

import pathlib
import sys

SEEDS = {
    "plain": ("encoder.weight", "encoder.weight"),
    "star": ("*.weight", "layer.0.weight"),
    "stars": ("*a*a*a*b", "a" * 30),
    "question": ("l?yer.?", "l\u00fcyer.0"),
    "set": ("layer.[0-9].w", "layer.7.w"),
    "not_set": ("layer.[!0-9].w", "layer.x.w"),
    "bracket_in_set": ("[]a-]*[^]]", "]b"),
    "class": ("[[:alpha:]_]*[[:digit:]]", "w_1"),
    "escape": ("blocks\\[0\\].w", "blocks[0].w"),
    "open_set": ("[abc", "[abc"),
    "regex": ("re:layer\\.[0-9]+\\.(weight|bias)", "layer.12.bias"),
    "regex_nested": ("re:(a*)*b", "a" * 20),
    "regex_counts": ("re:[a-z]{2,4}[0-9]{3}", "abc123"),
}


def main(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for file, (pattern, name) in SEEDS.items():
        (directory / file).write_bytes(f"{pattern}\n{name}".encode())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
