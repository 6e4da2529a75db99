"""Files of the C++ API and of Python's safetensors, each read by the other."""

import subprocess

import safetensors.torch
import torch

from tool import BUILD, report

COPY = BUILD / "tests" / "torch" / "safetensors_copy"

# All dtypes that Python's safetensors reads back; it has no reader for float4_e2m1fn_x2.
DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32,
    torch.int64, torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
]


def tensor(dtype, shape):
    """Any bytes; of bool 0 and 1."""
    size = torch.empty(0, dtype=dtype).element_size()
    count = torch.Size(shape).numel() * size
    values = (torch.arange(count) * 37 + 11) % (2 if dtype == torch.bool else 256)
    return values.to(torch.uint8).view(dtype).reshape(shape)


def same_bytes(a, b):
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def test_each_reads_what_the_other_wrote(tmp_path):
    tensors = {}
    for dtype in DTYPES:
        for shape in ([3, 5], [2, 0], [1]):
            tensors[f"{dtype}{shape}"] = tensor(dtype, shape)
    tensors["scalar"] = torch.tensor(2.5)
    source, copy = tmp_path / "python.safetensors", tmp_path / "cpp.safetensors"
    safetensors.torch.save_file(tensors, source)
    subprocess.run([COPY, source, copy], check=True)
    loaded = safetensors.torch.load_file(copy)
    assert loaded.keys() == tensors.keys()
    for name, value in tensors.items():
        assert loaded[name].dtype == value.dtype and loaded[name].shape == value.shape, name
        assert same_bytes(loaded[name], value), name
    with safetensors.safe_open(copy, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert len(report("inspect", copy)["tensors"]) == len(tensors)
