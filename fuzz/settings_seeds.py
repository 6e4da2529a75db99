"""Writes the seed corpus of settings_fuzzer into a directory: canonical texts of settings.

usage: settings_seeds.py DIRECTORY
"""

import json
import pathlib
import sys

DEFAULTS = {"block": [1, 4], "exclude": [], "force": [], "include": [], "level": 0.5, "levels": [],
            "nan": "error", "nm": None, "norm": "l1", "rule": 1, "scope": "tensor",
            "zeros_per_block": "all"}

SEEDS = {
    "defaults": {},
    "elements": {"block": [1, 1], "level": 0.8},
    "nm": {"level": 1.0, "nm": "2:4", "zeros_per_block": 2},
    "global": {"scope": "global", "norm": "l2", "nan": "keep"},
    "levels": {"levels": [["emb*", 0.9], ["re:a|b", 0.1]]},
    "patterns": {"include": ["a", "b*"], "exclude": ["\u00fc"], "force": ["\"\n"]},
    "partial": {"block": [2, 8], "zeros_per_block": 5},
    "other_rule": {"rule": 2},
}


def main(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, changes in SEEDS.items():
        text = json.dumps(DEFAULTS | changes, separators=(",", ":"), ensure_ascii=False)
        (directory / name).write_bytes(text.encode())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
