"""Writes the seed corpus of compressed_tensor_fuzzer into a directory: chunks and values.

usage: compressed_tensor_seeds.py DIRECTORY
"""

import pathlib
import random
import struct
import sys

CHUNK, TENSOR, VALUES = range(3)
F32, BF16, F16, F64, U8, I16, I64, F4 = range(8)


def front(mode, dtype, values):
    return struct.pack("<BBH", mode, dtype, values)


def stream(raw, coder=0):
    return struct.pack("<BI", coder, len(raw)) + raw


def padded(chunk):
    return chunk + bytes(-len(chunk) % 8)


def chunk(positions, values, group, kept, body):
    return padded(struct.pack("<BBHII", positions, values, 0, group, kept) + body)


def gaps(symbols, shift=0, low=None):
    return struct.pack("<IB", len(symbols), shift) + stream(symbols) + (stream(low) if shift else b"")


def window(heads, escapes, pairs, rest):
    """Tails of F32: 16 bits, then 2."""
    return (struct.pack("<HHHI", 127, 128, 126, len(escapes)) + stream(heads) + stream(escapes) +
            stream(pairs) + stream(rest))


def decimal(heads, tails, shift=0):
    return (struct.pack("<BbBII", 5, -1, shift, 17, 0) + stream(heads) + stream(tails) +
            stream(b"") * 8)


def seeds():
    heads, pairs = bytes([5, 70, 130]), bytes(6)
    yield "planes", front(CHUNK, U8, 3) + chunk(0, 0, 1, 3, stream(b"abc"))
    yield "zeros", front(CHUNK, F32, 100) + chunk(0, 0, 1, 0, b"")
    yield "window_gaps", front(CHUNK, F32, 50) + chunk(
        1, 1, 1, 3, gaps(bytes([9, 9, 9])) + window(heads, b"", pairs, bytes(16)))
    yield "window_escape", front(CHUNK, F32, 3) + chunk(
        0, 1, 1, 3, window(bytes([5, 200, 130]), b"\xff", pairs, bytes(16)))
    yield "exponent_bitmask", front(CHUNK, BF16, 16) + chunk(
        2, 2, 1, 3, stream(b"\x07\x00") + struct.pack("<H", 0) + stream(heads) + stream(b"abc"))
    yield "exponent_f16", front(CHUNK, F16, 3) + chunk(
        0, 2, 1, 3, struct.pack("<H", 0) + stream(heads) + stream(b"abc"))
    yield "decimals", front(CHUNK, F32, 3) + chunk(0, 3, 1, 3, decimal(heads, bytes(8)))
    yield "rows", front(CHUNK, I16, 9) + chunk(
        1, 0, 4, 2, gaps(bytes([0, 1])) + stream(b"abcde") + stream(b"fghij"))
    yield "gaps_shift", front(CHUNK, U8, 65000) + chunk(
        1, 0, 1, 2, gaps(bytes([255, 3, 7]), 4, bytes(32)) + stream(b"ab"))
    table = struct.pack("<QIIQIII", 24, 0, 0, 3, 1 << 20, 1, 0) + b"WNZ\x01"
    yield "tensor", front(TENSOR, U8, 3) + chunk(0, 0, 1, 3, stream(b"abc")) + table
    source = random.Random(1)
    for name, dtype, size in (("f32", F32, 4), ("bf16", BF16, 2), ("f16", F16, 2), ("f64", F64, 8)):
        values = bytearray(source.randbytes(64 * size))
        for i in range(64):
            if i % 3:
                values[i * size : (i + 1) * size] = bytes(size)
        yield f"values_{name}", front(VALUES, dtype, 8) + bytes(values)
    texts = [struct.pack("<f", float(f"{source.gauss(0, 0.4):.5g}")) for _ in range(100)]
    yield "values_decimal", front(VALUES, F32, 10) + b"".join(texts)
    yield "values_rows", front(VALUES, U8, 8) + (bytes(24) + b"abcdefgh") * 4


def main(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (directory / name).write_bytes(content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
