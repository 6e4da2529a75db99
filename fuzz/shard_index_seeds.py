"""Writes the seed corpus of shard_index_fuzzer into a directory: small valid indexes.

usage: shard_index_seeds.py DIRECTORY
"""

import json
import pathlib
import sys

MAP = {"emb.weight": "model-00001-of-00002.safetensors", "head.weight": "model-00002-of-00002.safetensors"}

SEEDS = {
    "plain": {"metadata": {"total_size": 98304}, "weight_map": MAP},
    "parameters": {"metadata": {"total_parameters": 24576, "total_size": 98304}, "weight_map": MAP},
    "text_size": {"metadata": {"total_size": "98304"}, "weight_map": MAP},
    "float_size": {"metadata": {"total_size": 98304.0}, "weight_map": MAP},
    "no_size": {"metadata": {}, "weight_map": MAP},
    "null_metadata": {"metadata": None, "weight_map": MAP},
    "no_metadata": {"weight_map": MAP},
    "odd_names": {"weight_map": {"": "a", "\u00e9\n": "model.safetensors-00001-of-00003.safetensors"}},
    "unknown": {"a": [1, [2, {"b": None}], True], "weight_map": {"w": "s"}, "metadata": {"x": {"y": [0.5]}}},
}


def main(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, index in SEEDS.items():
        (directory / name).write_text(json.dumps(index, indent=1 if name == "plain" else None))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
