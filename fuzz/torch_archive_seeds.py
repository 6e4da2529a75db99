"""Writes the seed corpus of torch_archive_fuzzer into a directory: small archives and pickles.

usage: torch_archive_seeds.py DIRECTORY
"""

import io
import pathlib
import struct
import sys
import zipfile


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def number(value):
    return b"K" + bytes([value])


def items(*values):
    return b"(" + b"".join(values) + b"t"


def name(module, attribute):
    return b"c" + module + b"\n" + attribute + b"\n"


def call(callee, *args):
    return callee + items(*args) + b"R"


def rebuild(attribute):
    return name(b"torch._utils", attribute)


HOOKS = call(name(b"collections", b"OrderedDict"))
FALSE, TRUE = b"\x89", b"\x88"


def storage(module, kind, key, numel):
    return items(text(b"storage"), name(module, kind), text(key), text(b"cpu"), number(numel)) + b"Q"


def tensor(where, shape, strides):
    return call(rebuild(b"_rebuild_tensor_v2"), where, number(0), items(*map(number, shape)),
                items(*map(number, strides)), FALSE, HOOKS)


# The fuzzer's payloads have 32, 24 and 8 bytes.
FLOATS = storage(b"torch", b"FloatStorage", b"0", 8)
LONGS = storage(b"torch", b"LongStorage", b"1", 3)
BYTES = storage(b"torch.storage", b"UntypedStorage", b"2", 8)
MATRIX = tensor(FLOATS, [2, 4], [4, 1])
SIZE = call(name(b"torch", b"Size"), items(number(9)))
LAYOUT = call(name(b"torch.serialization", b"_get_layout"), text(b"torch.sparse_coo"))
INDICES = tensor(LONGS, [1, 3], [3, 1])
V3 = call(rebuild(b"_rebuild_tensor_v3"), BYTES, number(0), items(number(4)), items(number(1)),
          FALSE, HOOKS, name(b"torch", b"uint16"))
SPARSE = call(rebuild(b"_rebuild_sparse_tensor"), LAYOUT,
              items(INDICES, tensor(FLOATS, [3], [1]), SIZE, FALSE))

PICKLES = {
    "none": b"N",
    "numbers": b"](NM\1\2J\1\2\3\4\x8a\5\1\2\3\4\5G?\xf0\0\0\0\0\0\0U\1ae",
    "dict": b"}(" + text(b"a") + b"]" + text(b"b") + b")" + number(3) + b"\x8fu",
    "state": HOOKS + text(b"w") + b"Ns}" + text(b"_metadata") + HOOKS + b"sb",
    "memo": b"]q\x01(" + text(b"x") + b"q\x02h\x02h\x02\x86h\x02\x85h\x02h\x02h\x02\x87e",
    "set": call(name(b"__builtin__", b"set"), b"](" + number(1) + number(2) + b"e"),
    "size": SIZE,
    "all_payloads": b"](" + MATRIX + INDICES + V3 + b"e",
    "parameter": b"](" + call(rebuild(b"_rebuild_parameter"), MATRIX, TRUE, HOOKS) + INDICES + V3
                 + b"e",
    "sparse": b"](" + SPARSE + V3 + b"e",
    "opaque": b"](" + name(b"argparse", b"Namespace") + b")\x81q\x01}" + text(b"x") + b"h\x01sb"
              + INDICES + V3 + b"e",
    "opaque_tensor": b"](" + call(name(b"torch._utils", b"_rebuild_from_type_v2"),
                                  rebuild(b"_rebuild_tensor_v2"), name(b"m", b"T"), items(MATRIX))
                     + INDICES + V3 + b"e",
    "unknown_storage": b"](" + call(rebuild(b"_rebuild_qtensor"),
                                    storage(b"torch", b"QInt8Storage", b"0", 32))
                       + INDICES + V3 + b"e",
    "opaque_keys": b"](}(N)\x85" + MATRIX + b")Nu" + INDICES + V3 + b"e",
}


def program(body):
    return b"\x80\x02" + body + b"."


def archive(pickle, payloads=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a/data.pkl", pickle)
        file.writestr("a/byteorder", b"little")
        for i, payload in enumerate(payloads):
            file.writestr(f"a/data/{i}", payload)
        file.writestr("a/version", b"3\n")
    return out.getvalue()


def without_checksums(image):
    """The same with 0 as every CRC, as torch writes it where that is asked for."""
    out = bytearray(image)
    with zipfile.ZipFile(io.BytesIO(image)) as file:
        at = file.start_dir
        for info in file.infolist():
            out[info.header_offset + 14 : info.header_offset + 18] = bytes(4)
            out[at + 16 : at + 20] = bytes(4)
            at += 46 + len(info.filename)
    return bytes(out)


class Unseekable(io.RawIOBase):
    """Makes zipfile write descriptors, as torch does."""

    def __init__(self):
        self.out = b""

    def writable(self):
        return True

    def write(self, data):
        self.out += bytes(data)
        return len(data)


def streamed():
    sink = Unseekable()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("a/data.pkl", program(b"}"))
        file.writestr("a/version", b"3\n")
    return sink.out


def main(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name_, body in PICKLES.items():
        (directory / name_).write_bytes(program(body))
    (directory / "zip_none").write_bytes(archive(program(b"N")))
    matrix = archive(program(MATRIX), [bytes(32)])
    (directory / "zip_matrix").write_bytes(matrix)
    (directory / "zip_no_checksums").write_bytes(without_checksums(matrix))
    (directory / "zip_streamed").write_bytes(streamed())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
