#!/usr/bin/env python3
"""Writes bitmask/: files of compressed-tensors' sparse formats, and what its own decoder makes of them.

    python3 tests/data/make_bitmask.py      # needs compressed-tensors==0.14.0.1 and torch==2.13.0

FORMAT.safetensors holds compressed weights, FORMAT.dense.safetensors the same model decompressed.
The package's last reader was in 0.14; tests/python/test_bitmask.py and tests/checkpoint/bitmask/bitmask_test.cc
read the files without it.
"""

import importlib.metadata
from pathlib import Path

import torch
from compressed_tensors.compressors import BitmaskCompressor, Sparse24BitMaskCompressor
from compressed_tensors.config import BitmaskConfig, Sparse24BitMaskConfig
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
OUT = HERE / "bitmask"


def sparse(shape, dtype, share, seed):
    """Normal values, about `share` of them 0, as a pruned weight has them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator)
    kept = torch.rand(shape, generator=generator) >= share
    if dtype == torch.int8:
        values = (values * 40).clamp(-127, 127)
    return (values * kept).to(dtype)


def two_of_four(shape, dtype, seed):
    """Two values of each four in a row, none of them 0."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(shape, generator=generator) * 4 + 1
    values *= torch.where(torch.rand(shape, generator=generator) < 0.5, -1.0, 1.0)
    order = torch.rand((values.numel() // 4, 4), generator=generator).argsort(dim=1)
    kept = (order < 2).reshape(shape)
    return (values * kept).to(dtype)


def special():
    """What is not 0 stays, whatever its bits; a -0.0 is 0 to this format."""
    inf, nan = float("inf"), float("nan")
    return torch.tensor([[0.0, inf, 1e-42, 0.0, -inf], [nan, 0.0, -0.0, 2.0, 0.0]])


def bitmask_model():
    weights = {
        "f32.weight": sparse((9, 13), torch.float32, 0.6, 1),
        "f16.weight": sparse((5, 64), torch.float16, 0.9, 2),
        "bf16.weight": sparse((33, 16), torch.bfloat16, 0.8, 3),
        "f64.weight": sparse((3, 7), torch.float64, 0.5, 4),
        "i8.weight": sparse((6, 20), torch.int8, 0.7, 5),
        "fp8.weight": sparse((7, 24), torch.float8_e4m3fn, 0.5, 6),
        "norm.weight": sparse((19,), torch.float32, 0.3, 7),
        "conv.weight": sparse((4, 3, 3, 3), torch.float32, 0.5, 8),
        "special.weight": special(),
        "zeros.weight": torch.zeros(4, 10),
        "full.weight": torch.ones(2, 8),
        "f32.bias": sparse((13,), torch.float32, 0.0, 9),
    }
    return weights, BitmaskCompressor(config=BitmaskConfig(format="sparse-bitmask"))


def model_24():
    dtypes = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
              "i8": torch.int8, "fp8": torch.float8_e4m3fn}
    weights = {f"{name}.weight": two_of_four((6, 16), dtype, 20 + i)
               for i, (name, dtype) in enumerate(dtypes.items())}
    weights["narrow.weight"] = two_of_four((3, 4), torch.float32, 30)
    weights["across.weight"] = two_of_four((2, 6), torch.float32, 31)  # a group over two rows
    config = Sparse24BitMaskConfig(format="sparse-24-bitmask", sparsity_structure="2:4")
    return weights, Sparse24BitMaskCompressor(config=config)


def write(name, weights, compressor):
    compressed = compressor.compress(weights)
    decoded = dict(compressor.decompress_from_state_dict(dict(compressed)))
    assert sorted(decoded) == sorted(weights)
    metadata = {"format": "pt"}
    save_file({k: v.contiguous() for k, v in compressed.items()}, OUT / f"{name}.safetensors", metadata)
    save_file({k: v.contiguous() for k, v in decoded.items()}, OUT / f"{name}.dense.safetensors", metadata)


def main():
    assert importlib.metadata.version("compressed-tensors") == "0.14.0.1"
    OUT.mkdir(exist_ok=True)
    write("sparse-bitmask", *bitmask_model())
    write("sparse-24-bitmask", *model_24())


if __name__ == "__main__":
    main()
