#!/usr/bin/env python3
"""Writes compressed/: a compressed file for each encoding, and golden.json about them.

    WINNOW_BUILD_DIR=build-dev python3 tests/data/make_compressed.py    # needs NumPy, zstandard and pytest

The built tool writes the files. What they stand for is taken from tests/python/compressed_reference.py,
which was written from docs/formats.md alone. test_compressed_golden.py reads all of it.

Run it again only if the format or the writer's choices changed on purpose: files that are out there
are those of before.
"""

import hashlib
import json
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))
import compressed_reference as reference  # noqa: E402
import files  # noqa: E402
import test_compressed_reference as values  # noqa: E402
from tool import run  # noqa: E402

OUT = HERE / "compressed"
SHAPE = (40, 50)


def each(dtypes, make):
    return {dtype: values.tensor(dtype, make(dtype)) for dtype in dtypes}


def with_signs(dtype, rng):
    """Half of the zeros that pruning left are -0.0, as a product with a mask leaves them."""
    kept = values.pruned(dtype, SHAPE, 0.9, rng)
    zero = kept == 0
    sign = kept.dtype.type(1 << (8 * kept.itemsize - 1))
    return np.where(zero & (rng.random(SHAPE) < 0.5), sign, kept)


def exceptions(rng):
    """Decimals, pi and specials among them."""
    result = values.decimals(4, SHAPE, rng)
    result.reshape(-1)[::97] = np.float32(np.pi)
    result.reshape(-1)[[5, 6, -1]] = -0.0, np.inf, np.nan
    return result


def noise(dtype, rng):
    return dtype, (300,), rng.integers(0, 256, 300 * reference.value_bytes(dtype), np.uint8).tobytes()


def golden_tensors():
    """{file: {tensor: (dtype, shape, bytes)}}"""
    rng = np.random.default_rng(20)
    floats, integers = list(values.FLOATS), list(values.INTEGERS)
    wide = rng.normal(size=SHAPE) * 10.0 ** rng.integers(-250, 250, SHAPE)
    return {
        "rows": each(floats + integers, lambda d: values.dropped_rows(d, rng)[:60]),
        "blocks": each(floats + integers, lambda d: values.blocks(d, rng)),
        "gaps": each(floats + integers, lambda d: values.pruned(d, SHAPE, 0.98, rng)),
        "bitmask": each(floats + integers, lambda d: values.pruned(d, SHAPE, 0.6, rng)),
        "window": each(floats, lambda d: values.pruned(d, SHAPE, 0.9, rng)),
        "exponent": each(floats, lambda d: values.pruned(d, SHAPE, 0, rng)),
        "specials": each(floats, lambda d: values.special_values(d, rng)[:30]),
        "negative_zeros": each(floats, lambda d: with_signs(d, rng)),
        "decimal": {"glove": values.tensor("F32", values.glove(SHAPE, rng)),
                    "exceptions": values.tensor("F32", exceptions(rng))},
        "planes": each(integers, lambda d: values.pruned(d, SHAPE, 0, rng)) | {
            "F64.wide": values.tensor("F64", np.where(rng.random(SHAPE) < 0.7, 0, wide))},
        "stored": {dtype: noise(dtype, rng) for dtype in floats + integers} | {
            "scalar": ("F32", (), np.float32(1.5).tobytes()), "empty": ("F16", (3, 0), b""),
            "zeros": ("F32", (300,), bytes(1200))},  # without it the file would be a copy
    }


def describe(content):
    """What golden.json says of a compressed file: of each tensor the heads of its chunks."""
    file = reference.open_bytes(content)
    tensors = {name: "stored" for name in file.header if name != "__metadata__"}
    for name in file.tables:
        heads = [struct.unpack("<BBBBII", data[:12]) for data, _ in file.chunks(name)]
        tensors[name] = [dict(zip(("positions", "values", "signs", "group", "kept"),
                                  head[:3] + head[4:])) for head in heads]
    return {"sha256": hashlib.sha256(file.decompress()).hexdigest(), "tensors": tensors}


def main():
    OUT.mkdir(exist_ok=True)
    golden = {}
    for name, tensors in golden_tensors().items():
        path = OUT / f"{name}.safetensors"
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "in.safetensors"
            source.write_bytes(files.image(tensors, {"format": "pt"}))
            run("compress", source, "-o", path, "--overwrite", "-q")
            golden[name] = describe(path.read_bytes())
            assert golden[name]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest(), name
        path.chmod(0o644)
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in golden.items()]
    (OUT / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
