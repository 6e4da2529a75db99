"""Files for the tests of compressed checkpoints."""

import json
import struct

import numpy
from safetensors.numpy import save_file


def pruned(shape, dtype=numpy.float32, zeros=0.9, seed=1):
    """Normal values of which the smallest are 0."""
    values = numpy.random.default_rng(seed).standard_normal(shape)
    values[numpy.abs(values) < numpy.quantile(numpy.abs(values), zeros)] = 0
    return values.astype(dtype)


def write_model(path):
    """A table of three chunks, small tensors, some without values, and noise."""
    tensors = {
        "emb.weight": pruned((40_000, 64)),
        "half": pruned((100, 64), numpy.float16, 0.5),
        "noise": numpy.random.default_rng(2).integers(0, 256, 1000, numpy.uint8),
        "ids": numpy.arange(5000),
        "nothing": numpy.zeros((3, 0), numpy.float32),
        "scalar": numpy.array(-0.0),
    }
    save_file(tensors, path, metadata={"format": "np"})
    return tensors


def header_of(path):
    """The header as any loader of safetensors sees it, and where the data begins."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), 8 + length


def damage(path, name, offset=100):
    """Changes one byte of a stored tensor."""
    header, begin = header_of(path)
    content = bytearray(path.read_bytes())
    content[begin + header[name]["data_offsets"][0] + offset] ^= 1
    path.write_bytes(content)
