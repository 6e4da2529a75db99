"""Reads compressed files as docs/formats.md describes them, and shares no code with winnow.

It is plain rather than fast: what it returns is right if the page is. All faults that the page
names are checked, in its order, and raised as FormatError with their code.
"""

import json
import re
import struct
import zlib

import numpy as np
import zstandard

MAX_HEADER = 100_000_000
MAX_CHUNK = 1 << 26
MAX_CHUNKS = (2**63 - 1) // 16
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"

NAMES = {400: "SparseTruncated", 401: "SparseTrailing", 402: "SparseMagic", 403: "SparseVersion",
         404: "SparseSize", 405: "SparseStoredChecksum", 406: "SparseValueChecksum",
         407: "SparseUnknownKind", 408: "SparsePositions", 409: "SparseStream",
         410: "SparseValues", 411: "SparseContainer", 412: "SparseFront"}

DTYPE_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64,
              "I64": 64, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F8_E4M3": 8,
              "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4,
              "F6_E2M3": 6, "F6_E3M2": 6}

# Bits of exponent and mantissa of the types whose values can be split.
LAYOUTS = {"F16": (5, 10), "BF16": (8, 7), "F32": (8, 23), "F64": (11, 52)}

ALL, GAPS, BITMASK = range(3)
PLANES, WINDOW, EXPONENT, DECIMAL = range(4)


class FormatError(Exception):
    """A fault that the page names. `number` and `code` are those of its table."""

    def __init__(self, number, text):
        super().__init__(f"{NAMES[number]}: {text}")
        self.number = number
        self.code = NAMES[number]


def require(fact, number, text):
    if not fact:
        raise FormatError(number, text)


def ceil_div(a, b):
    return -(-a // b)


def value_bytes(dtype):
    """The bytes of a value, called E in the page: those of an element, or 1 below a byte."""
    return max(1, DTYPE_BITS[dtype] // 8)


class Cursor:
    """Takes numbers and streams from the front of the bytes of a chunk."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        require(count <= len(self.data) - self.at, 400, f"{count} bytes are not there")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, layout):
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))[0]

    def rest(self):
        return self.take(len(self.data) - self.at)

    def stream(self, size):
        """The next stream, which stands for `size` bytes, as an array of bytes."""
        coder = self.number("B")
        stored = self.take(self.number("I"))
        require(coder <= 2, 407, f"a coder of {coder}")
        if coder == 0:
            require(len(stored) == size, 409, f"{len(stored)} stored bytes for {size}")
            return np.frombuffer(stored, dtype=np.uint8)
        if coder == 1:
            require(len(stored) == 1, 409, f"{len(stored)} bytes to repeat")
            return np.full(size, stored[0], dtype=np.uint8)
        raw = one_frame(stored, 409)
        require(len(raw) == size, 409, f"a frame of {len(raw)} bytes for {size}")
        return np.frombuffer(raw, dtype=np.uint8)

    def bytes_of_numbers(self, count, width):
        """Numbers of `width` bytes, each byte of all of them as a stream."""
        numbers = np.zeros(count, dtype=np.uint64)
        for b in range(width):
            numbers |= self.stream(count).astype(np.uint64) << np.uint64(8 * b)
        return numbers

    def planes(self, count, bits):
        """Numbers of `bits` bits as planes: of 16 bits, and then of 8, 4, 2 and 1."""
        numbers = np.zeros(count, dtype=np.uint64)
        shift = 0
        while bits - shift >= 16:
            pairs = self.stream(2 * count).view("<u2")
            numbers |= pairs.astype(np.uint64) << np.uint64(shift)
            shift += 16
        if bits - shift >= 8:
            numbers |= self.stream(count).astype(np.uint64) << np.uint64(shift)
            shift += 8
        for width in (4, 2, 1):
            if bits - shift >= width:
                plane = self.stream(8 * width * ceil_div(count, 64))
                parts = narrow_parts(plane, width)[:count]
                numbers |= parts.astype(np.uint64) << np.uint64(shift)
                shift += width
        return numbers


def one_frame(stored, number):
    """What exactly one frame of zstd decodes to."""
    require(stored[:4] == FRAME_MAGIC, number, "no frame of zstd")
    decoder = zstandard.ZstdDecompressor().decompressobj()
    try:
        raw = decoder.decompress(stored)
    except zstandard.ZstdError as error:
        raise FormatError(number, str(error)) from error
    require(decoder.eof and not decoder.unused_data, number, "not exactly one frame of zstd")
    return raw


def narrow_parts(plane, width):
    """The parts of 4, 2 or 1 bits of a plane: 64 numbers have 8 * width bytes."""
    blocks = plane.reshape(-1, 8 * width)
    return np.stack([blocks >> shift & (1 << width) - 1 for shift in range(0, 8, width)],
                    axis=1).reshape(-1)


# Positions: each function returns which of the groups are kept, as an array of booleans.


def read_all(cursor, groups, kept):
    require(kept == groups, 408, f"{kept} of {groups} groups are all")
    return np.ones(groups, dtype=bool)


def read_gaps(cursor, groups, kept):
    count, shift = cursor.number("I"), cursor.number("B")
    require(kept <= count and count - kept <= groups // 255, 408, f"{count} symbols")
    require(shift <= 8, 408, f"a shift of {shift}")
    symbols = cursor.stream(count).astype(np.int64)
    low = cursor.planes(kept, shift).astype(np.int64)
    ends = np.flatnonzero(symbols != 255)
    require(len(ends) == kept and ends[-1] == count - 1, 408, "other symbols than gaps")
    escapes = np.diff(np.concatenate([[-1], ends])) - 1
    gaps = ((255 * escapes + symbols[ends]) << shift) + low
    places = np.cumsum(gaps + 1) - 1
    require(places[-1] < groups, 408, f"a group at {places[-1]} of {groups}")
    mask = np.zeros(groups, dtype=bool)
    mask[places] = True
    return mask


def read_bitmask(cursor, groups, kept):
    bits = np.unpackbits(cursor.stream(ceil_div(groups, 8)), bitorder="little").astype(bool)
    require(not bits[groups:].any(), 408, "a bit behind the last group")
    require(bits.sum() == kept, 408, f"{bits.sum()} bits for {kept} groups")
    return bits[:groups]


# Values: each function returns the bits of `count` values as unsigned integers.


def read_planes(cursor, dtype, count):
    return cursor.bytes_of_numbers(count, value_bytes(dtype))


def join(dtype, exponent, top, top_bits, tail):
    """Values from an exponent, the top bits of the mantissa, and the tail."""
    exponent_bits, mantissa_bits = LAYOUTS[dtype]
    low_bits = mantissa_bits - top_bits
    low = tail & np.uint64((1 << low_bits) - 1)
    sign = tail >> np.uint64(low_bits)
    return (sign << np.uint64(exponent_bits + mantissa_bits)
            | exponent.astype(np.uint64) << np.uint64(mantissa_bits)
            | top.astype(np.uint64) << np.uint64(low_bits) | low)


def read_window(cursor, dtype, count):
    exponent_bits, mantissa_bits = LAYOUTS[dtype]
    exponents = []
    for _ in range(3):
        exponents.append(cursor.number("H"))
        require(exponents[-1] < 1 << exponent_bits, 410, f"an exponent of {exponents[-1]}")
    escape_count = cursor.number("I")
    require(escape_count <= count, 410, f"{escape_count} escapes in {count} values")
    heads = cursor.stream(count)
    classes = heads >> 6
    is_escape = classes == 3
    require(is_escape.sum() == escape_count, 410, f"{is_escape.sum()} heads of escapes")
    escapes = cursor.bytes_of_numbers(escape_count, 2 if dtype == "F64" else 1)
    require((escapes < 1 << exponent_bits).all(), 410, "an escape's exponent")
    tails = cursor.planes(count, mantissa_bits - 6 + 1)
    exponent = np.array(exponents + [0], dtype=np.uint64)[classes]
    exponent[is_escape] = escapes
    return join(dtype, exponent, heads & 63, 6, tails)


def read_exponent(cursor, dtype, count):
    mantissa_bits = LAYOUTS[dtype][1]
    base = cursor.number("H")
    require(base <= (1792 if dtype == "F64" else 0), 410, f"a base of {base}")
    top_bits = 3 if dtype == "F16" else 0
    heads = cursor.stream(count)
    tails = cursor.planes(count, mantissa_bits - top_bits + 1)
    exponent = (heads >> top_bits).astype(np.uint64) + np.uint64(base)
    return join(dtype, exponent, heads & ((1 << top_bits) - 1), top_bits, tails)


def read_decimal(cursor, dtype, count):
    digits, decade, shift = cursor.number("B"), cursor.number("b"), cursor.number("B")
    first, exceptions = cursor.number("I"), cursor.number("I")
    require(3 <= digits <= 6 and -12 <= decade <= 11, 410, f"{digits} digits, decade {decade}")
    require(shift <= 24 and exceptions <= count, 410, f"shift {shift}, {exceptions} exceptions")
    in_decade = 9 * 10 ** (digits - 1)
    heads = cursor.stream(count)
    end = first + ((int(heads.max()) + 1) << shift)
    require(end <= (22 - decade) * in_decade, 410, f"indices up to {end}")
    tails = cursor.planes(count, shift + 1)
    places = cursor.bytes_of_numbers(exceptions, 4).astype(np.int64)
    exact = cursor.bytes_of_numbers(exceptions, 4)
    require((places < count).all() and (np.diff(places) > 0).all(), 410, "places of exceptions")

    low = tails & np.uint64((1 << shift) - 1)
    offset = heads.astype(np.uint64) << np.uint64(shift) | low
    index = first + offset.astype(np.int64)
    significand = (index % in_decade + 10 ** (digits - 1)).astype(np.float64)
    power = decade + index // in_decade - digits + 1
    powers_of_ten = np.array([float(10 ** i) for i in range(23)])
    scale = powers_of_ten[np.abs(power)]
    magnitude = np.where(power >= 0, significand * scale, significand / scale).astype(np.float32)
    sign = tails >> np.uint64(shift)
    values = magnitude.view(np.uint32).astype(np.uint64) | sign << np.uint64(31)
    values[places] = exact
    return values


def decode_chunk(data, value_checksum, dtype, n):
    """The bytes of the n values of a chunk, whose stored checksum was checked already."""
    cursor = Cursor(data)
    require(len(data) >= 12, 400, "the head of a chunk")
    positions, kind, signs, zero, group, kept = struct.unpack("<BBBBII", cursor.take(12))
    require(zero == 0, 412, f"a reserved byte of {zero}")
    require(signs == 0 or signs == 1 and dtype in LAYOUTS, 407, f"signs of {signs}")
    require(1 <= group <= n, 412, f"groups of {group} in {n} values")
    groups = ceil_div(n, group)
    require(kept <= groups, 412, f"{kept} kept groups of {groups}")
    width = value_bytes(dtype)
    mask, values = np.zeros(groups, dtype=bool), b""
    require(kept or positions == kind == 0, 407, "a chunk of zeros that has kinds")
    if kept:
        require(positions <= 2, 407, f"a kind of positions of {positions}")
        mask = (read_all, read_gaps, read_bitmask)[positions](cursor, groups, kept)
        count = int(np.repeat(mask, group)[:n].sum())
        allowed = kind == PLANES or dtype in LAYOUTS and kind <= DECIMAL
        require(allowed and (kind != DECIMAL or dtype == "F32"), 407, f"values of kind {kind}")
        read = (read_planes, read_window, read_exponent, read_decimal)[kind]
        values = read(cursor, dtype, count).astype(f"<u{width}").tobytes()
    dropped = ~np.repeat(mask, group)[:n]
    sign_bytes = bytes(cursor.stream(ceil_div(n, 8))) if signs else b""
    negative = np.unpackbits(np.frombuffer(sign_bytes, np.uint8), bitorder="little").astype(bool)
    require(not negative[n:].any() and not (negative[:n] & ~dropped[: len(negative[:n])]).any(), 408,
            "the sign of a value that was not dropped")
    rest = cursor.rest()
    require(len(rest) < 8 and not any(rest), 401, f"{len(rest)} bytes are left")
    checksum = zlib.crc32(np.packbits(mask, bitorder="little").tobytes()) if kept < groups else 0
    checksum = zlib.crc32(sign_bytes, zlib.crc32(values, checksum))
    require(checksum == value_checksum, 406, "other values were stored")
    out = np.zeros(n, dtype=f"<u{width}")
    out[~dropped] = np.frombuffer(values, dtype=f"<u{width}")
    if signs:
        out[negative[:n]] = 1 << 8 * width - 1
    return out.tobytes()


def read_table(read, size, dtype, count):
    """(values in a chunk, chunks) of a compressed tensor of `size` bytes and `count` values.

    read(offset, size) gives bytes of the tensor; a chunk is (offset, bytes, stored checksum,
    value checksum).
    """
    require(size >= 24, 400, "the trailer")
    trailer = read(size - 24, 24)
    values, per_chunk, width, checksum, magic, version = struct.unpack("<QIII3sB", trailer)
    require(magic == b"WNZ", 402, f"{magic} at the end")
    require(version == 1, 403, f"version {version}")
    require(values == count and width == value_bytes(dtype), 404, f"{values} values of {width}")
    require(1 <= per_chunk and per_chunk * width <= MAX_CHUNK, 404, f"chunks of {per_chunk}")
    require(ceil_div(values, per_chunk) <= MAX_CHUNKS, 404, f"a table for chunks of {per_chunk}")
    table_size = 16 * ceil_div(values, per_chunk)
    require(table_size + 24 <= size, 400, "the table")
    end = size - 24 - table_size
    table = read(end, table_size)
    require(zlib.crc32(table + trailer[:16]) == checksum, 405, "the table")
    chunks, at = [], 0
    for length, stored, decoded in struct.iter_unpack("<QII", table):
        require(length <= size - at, 400, f"a chunk of {length} bytes")
        chunks.append((at, length, stored, decoded))
        at += length
    require(at == end, 401, f"the chunks end at {at}, the table begins at {end}")
    return per_chunk, chunks


def in_data_order(header):
    """The tensors of a header as (name, entry)."""
    tensors = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
    return sorted(tensors, key=lambda tensor: tensor[1]["data_offsets"])


class CompressedFile:
    """A compressed file.

    read_at(offset, size) gives bytes of the file. Opening it reads the header and the ends of the
    tensors; a tensor is read when it is asked for.

    header_text   the text of the header of the file that was compressed
    header        the same as a dict
    """

    def __init__(self, read_at):
        self.read_at = read_at
        length, = struct.unpack("<Q", read_at(0, 8))
        self.data_begin = 8 + length
        outer = json.loads(read_at(8, length))
        metadata = outer.get("__metadata__") or {}
        require(metadata.get("winnow.compressed") == "1", 403, "winnow.compressed")
        packed = outer.get("__winnow_header__")
        require(packed and packed["data_offsets"][0] == 0, 411, "no header in front")
        require(packed["dtype"] == "U8" and len(packed["shape"]) == 1, 411, "a header of no bytes")
        self.header_text = self.unpack_header(self.entry_bytes(packed))
        digits = metadata.get("winnow.bytes", "")
        require(re.fullmatch("0|[1-9][0-9]*", digits), 411, f"winnow.bytes of {digits!r}")
        require(8 + len(self.header_text) <= int(digits) < 2**64, 411, "winnow.bytes")
        self.header = json.loads(self.header_text)
        inner = in_data_order(self.header)
        data_bytes = inner[-1][1]["data_offsets"][1] if inner else 0
        if int(digits) != 8 + len(self.header_text) + data_bytes:
            raise ValueError("the text is the header of a file of another size")
        self.entries, self.tables = {}, {}
        self.match(inner, in_data_order(outer))

    def entry_bytes(self, entry):
        begin, end = entry["data_offsets"]
        return self.read_at(self.data_begin + begin, end - begin)

    @staticmethod
    def unpack_header(packed):
        try:
            size = zstandard.frame_content_size(packed)
        except zstandard.ZstdError as error:
            raise FormatError(411, str(error)) from error
        require(1 <= size <= MAX_HEADER, 411, "the size of the header is not stated")
        decoder = zstandard.ZstdDecompressor().decompressobj()
        try:
            text = decoder.decompress(packed)
        except zstandard.ZstdError as error:
            raise FormatError(409, str(error)) from error
        behind = decoder.unused_data
        require(decoder.eof and len(behind) < 8 and not any(behind), 411, "no single frame")
        require(len(text) == size, 409, "a header of another size")
        return text

    def match(self, inner, outer):
        require(len(outer) == len(inner) + 1, 411, f"{len(outer)} tensors for {len(inner)}")
        for (name, want), (found, have) in zip(inner, outer[1:]):
            require(name == found, 411, f"{found!r} in the place of {name!r}")
            self.entries[name] = have
            if (have["dtype"], have["shape"]) == (want["dtype"], want["shape"]):
                continue
            begin, end = have["data_offsets"]
            shape = [1] * len(want["shape"]) + [end - begin]
            require((have["dtype"], have["shape"]) == ("U8", shape), 411, f"the shape of {name!r}")
            first = self.data_begin + begin
            width = value_bytes(want["dtype"])
            self.tables[name] = read_table(
                lambda offset, size: self.read_at(first + offset, size), end - begin,
                want["dtype"], self.tensor_size(name) // width)

    def tensor_size(self, name):
        begin, end = self.header[name]["data_offsets"]
        return end - begin

    def chunks(self, name):
        """The stored bytes of each chunk of a compressed tensor, and its entry in the table."""
        first = self.data_begin + self.entries[name]["data_offsets"][0]
        for chunk in self.tables[name][1]:
            offset, length, stored, _ = chunk
            data = self.read_at(first + offset, length)
            require(zlib.crc32(data) == stored, 405, f"a chunk of {name!r}")
            yield data, chunk

    def tensor(self, name):
        """The bytes of a tensor."""
        if name not in self.tables:
            return self.entry_bytes(self.entries[name])
        dtype = self.header[name]["dtype"]
        left, per_chunk = self.tensor_size(name) // value_bytes(dtype), self.tables[name][0]
        parts = []
        for data, (_, _, _, checksum) in self.chunks(name):
            parts.append(decode_chunk(data, checksum, dtype, min(left, per_chunk)))
            left -= per_chunk
        return b"".join(parts)

    def kinds(self, name):
        """(kind of positions, kind of values) of the chunks that keep a group."""
        heads = (struct.unpack("<BBHII", data[:12]) for data, _ in self.chunks(name))
        return {(head[0], head[1]) for head in heads if head[4]}

    def decompress(self):
        """The file that was compressed."""
        names = [name for name, _ in in_data_order(self.header)]
        return (struct.pack("<Q", len(self.header_text)) + self.header_text
                + b"".join(self.tensor(name) for name in names))


def open_bytes(content):
    """A compressed file whose bytes are at hand."""
    return CompressedFile(lambda offset, size: content[offset:offset + size])
