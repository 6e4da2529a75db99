"""Writes and reads safetensors files byte by byte, without the safetensors package."""

import json
import struct

import numpy as np

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64,
          "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_}


def to_bf16(values):
    """The upper halves of float32 values, as raw uint16."""
    return (np.asarray(values, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)


def from_bf16(raw):
    return (raw.astype(np.uint32) << 16).view(np.float32)


def image(tensors, metadata=None):
    """tensors: {name: array} or {name: (dtype, shape, bytes)}, in file order."""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, value in tensors.items():
        if isinstance(value, np.ndarray):
            dtype = next(k for k, v in DTYPES.items() if v == value.dtype.type)
            value = (dtype, list(value.shape), value.tobytes())
        dtype, shape, raw = value
        header[name] = {"dtype": dtype, "shape": list(shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def bf16(values):
    raw = to_bf16(values)
    return ("BF16", raw.shape, raw.tobytes())


def parse(content):
    """(header, data) of a file's bytes."""
    length, = struct.unpack("<Q", content[:8])
    return json.loads(content[8:8 + length]), content[8 + length:]


def tensor_bytes(content, name):
    header, data = parse(content)
    begin, end = header[name]["data_offsets"]
    return data[begin:end]


def tensor(content, name):
    """A tensor as an array; BF16 as float32."""
    entry = parse(content)[0][name]
    raw = tensor_bytes(content, name)
    if entry["dtype"] == "BF16":
        return from_bf16(np.frombuffer(raw, dtype=np.uint16)).reshape(entry["shape"])
    return np.frombuffer(raw, dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
