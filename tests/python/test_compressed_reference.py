"""Files that winnow compress wrote, read by a decoder that was made from docs/formats.md alone."""

import json
import pathlib
import re
import struct
import zlib

import numpy as np
import pytest

import files
from tool import run, winnow

zstandard = pytest.importorskip("zstandard")

import compressed_reference as reference  # noqa: E402  (it needs zstandard)

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "formats.md"
FLOATS = {"F16": np.uint16, "BF16": np.uint16, "F32": np.uint32, "F64": np.uint64}
INTEGERS = {"I64": np.int64, "I32": np.int32, "U8": np.uint8, "I8": np.int8, "BOOL": np.uint8,
            "F8_E4M3": np.uint8, "F8_E5M2": np.uint8}
SHARES = [0, 0.5, 0.9, 0.99, 1]
ZSTD_VERSION = re.compile(rb'"winnow.zstd":"([^"]*)"')


def tensor(dtype, values):
    return dtype, values.shape, values.tobytes()


def as_float(dtype, values):
    """The bits of float64 values, rounded to a type."""
    if dtype == "BF16":
        return files.to_bf16(values)
    floats = {"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]
    return values.astype(floats).view(FLOATS[dtype])


def random_values(dtype, shape, rng):
    if dtype in FLOATS:
        return as_float(dtype, rng.normal(0, 0.05, shape))
    if dtype == "BOOL":
        return rng.integers(0, 2, shape).astype(np.uint8)
    return rng.integers(-3, 100, shape).astype(INTEGERS[dtype])


def pruned(dtype, shape, share, rng):
    """The largest values are kept, as pruning does: they have few exponents."""
    values = random_values(dtype, shape, rng)
    order = np.argsort(np.abs(from_bits(dtype, values)), axis=None, kind="stable")
    values.reshape(-1)[order[:int(share * values.size)]] = 0
    return values


def from_bits(dtype, values):
    if dtype == "BF16":
        return files.from_bf16(values)
    kinds = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
    return values.view(kinds[dtype]) if dtype in kinds else values.astype(np.float64)


def special_values(dtype, rng):
    """-0.0, NaNs with payloads, both infinities, denormals, and zeros between them."""
    bits = np.dtype(FLOATS[dtype]).itemsize * 8
    mantissa = reference.LAYOUTS[dtype][1]
    sign = 1 << (bits - 1)
    infinity = sign - (1 << mantissa)
    quiet = infinity | 1 << (mantissa - 1)
    some = [sign, infinity, infinity | sign, infinity | 1, quiet, quiet | 5, quiet | sign | 3, 1, 2,
            sign | 1, (1 << mantissa) - 1, 1 << mantissa, infinity - 1, 0, 0, 0]
    return np.array(some, dtype=FLOATS[dtype])[rng.integers(0, len(some), (50, 70))]


def decimals(digits, shape, rng, low=-1.5, high=0.5):
    """Numbers as a text file has them, such as -0.04321."""
    values = 10 ** rng.uniform(low, high, shape) * rng.choice([-1, 1], shape)
    text = [f"{value:.{digits - 1}e}" for value in values.reshape(-1)]
    return np.array(text, dtype=np.float64).astype(np.float32).reshape(shape)


def glove(shape, rng):
    """Five decimals, of which small numbers use fewer digits."""
    return np.round(rng.normal(0, 0.4, shape), 5).astype(np.float32)


def blocks(dtype, rng):
    """Half of the blocks of 1x4 are dropped."""
    values = random_values(dtype, (40, 25, 4), rng)
    values[rng.random((40, 25)) < 0.5] = 0
    return values.reshape(40, 100)


def dropped_rows(dtype, rng):
    values = random_values(dtype, (200, 37), rng)
    values[rng.random(200) < 0.7] = 0
    return values


def make_tensors(rng):
    tensors = {}
    for dtype in FLOATS | INTEGERS:
        for share in SHARES:
            tensors[f"{dtype}.{share}"] = tensor(dtype, pruned(dtype, (61, 87), share, rng))
        tensors[f"{dtype}.blocks"] = tensor(dtype, blocks(dtype, rng))
        tensors[f"{dtype}.rows"] = tensor(dtype, dropped_rows(dtype, rng))
        last = np.zeros(9001, dtype=(FLOATS | INTEGERS)[dtype])
        last[-1] = 1
        tensors[f"{dtype}.last"] = tensor(dtype, last)
    for dtype in FLOATS:
        signs = rng.integers(0, 2, (61, 87)).astype(bool)
        for name, values in (("masked", pruned(dtype, (61, 87), 0.9, rng)), ("signs", None)):
            _, _, raw = tensor(dtype, np.zeros((61, 87), FLOATS[dtype]) if values is None else values)
            masked = np.frombuffer(raw, np.uint8).copy().reshape(61, 87, -1)
            masked[signs, -1] |= 0x80
            tensors[f"{dtype}.{name}"] = (dtype, (61, 87), masked.tobytes())
        tensors[f"{dtype}.special"] = tensor(dtype, special_values(dtype, rng))
        every = random_values(dtype, (3000,), rng)
        every[::101] = special_values(dtype, rng).reshape(-1)[:len(every[::101])]
        tensors[f"{dtype}.escapes"] = tensor(dtype, every)
        raw = rng.integers(0, 256, 3000 * every.itemsize, dtype=np.uint8)
        tensors[f"{dtype}.noise"] = (dtype, (3000,), raw.tobytes())
        narrow = rng.uniform(1, 4, (30, 100))
        narrow.reshape(-1)[::211] = 2.0 ** rng.integers(-14, -1, len(narrow.reshape(-1)[::211]))
        tensors[f"{dtype}.narrow"] = tensor(dtype, as_float(dtype, narrow))
    wide = rng.normal(size=4000) * 10.0 ** rng.integers(-250, 250, 4000)
    tensors["F64.wide"] = ("F64", (40, 100), wide.tobytes())
    wide[rng.random(4000) < 0.8] = 0
    tensors["F64.wide.pruned"] = ("F64", (40, 100), wide.tobytes())
    tensors["F64.large"] = tensor("F64", 10.0 ** rng.uniform(240, 300, 4000))
    tensors["F64.steps"] = tensor("F64", 2.0 ** rng.integers(-100, 100, 4000))
    tensors["decimal.glove"] = tensor("F32", glove((100, 50), rng))
    for digits in (3, 4, 5, 6):
        tensors[f"decimal.{digits}"] = tensor("F32", decimals(digits, (70, 41), rng))
    tensors["decimal.wide"] = tensor("F32", decimals(3, (70, 41), rng, -11.9, 11.9))
    smallest = decimals(3, (70, 41), rng, -11.9, -10)
    smallest[30, 3] = 1e-12  # the least that is no exception
    tensors["decimal.smallest"] = tensor("F32", smallest)
    tensors["decimal.largest"] = tensor("F32", decimals(3, (70, 41), rng, 10, 12.1))
    exceptions = decimals(4, (4000,), rng)
    exceptions[::97] = np.float32(np.pi)
    exceptions[5], exceptions[6], exceptions[3999] = -0.0, np.inf, np.nan
    tensors["decimal.exceptions"] = tensor("F32", exceptions)
    exceptions[rng.random(4000) < 0.9] = 0
    tensors["decimal.pruned"] = tensor("F32", exceptions)
    for dtype, shape in {"F32": (), "F64": (1,), "U8": (1, 1, 1), "BF16": (3,)}.items():
        tensors[f"tiny.{dtype}"] = tensor(dtype, random_values(dtype, shape, rng))
    for i, shape in enumerate([(0,), (3, 0), (0, 5, 2)]):
        tensors[f"empty.{i}"] = ("F32", shape, b"")
    tensors["C64"] = ("C64", (40, 60), pruned("F32", (40, 120), 0.8, rng).tobytes())
    sparse = np.where(rng.random(3000) < 0.2, rng.integers(0, 256, 3000), 0).astype(np.uint8)
    tensors["F4"] = ("F4", (60, 100), sparse.tobytes())
    tensors["F6_E2M3"] = ("F6_E2M3", (40, 100), sparse.tobytes())
    tensors["names \" \\ \u00e9\n\u0000"] = tensor("F32", pruned("F32", (20, 50), 0.9, rng))
    return tensors


def compressed(content, folder, *flags):
    """The reference's view of the file that the tool makes of `content`, and its bytes."""
    (folder / "in").write_bytes(content)
    run("compress", folder / "in", "-o", folder / "out", "--overwrite", *flags)
    small = (folder / "out").read_bytes()
    return reference.open_bytes(small), small


@pytest.fixture(scope="module")
def every_tensor():
    return make_tensors(np.random.default_rng(17))


@pytest.fixture(scope="module")
def content(every_tensor):
    return files.image(every_tensor, {"format": "pt", "winnow.settings": "-s 0.9"})


@pytest.fixture(scope="module")
def opened(content, tmp_path_factory):
    return compressed(content, tmp_path_factory.mktemp("every"))[0]


def test_header_comes_back(opened, content):
    length, = struct.unpack("<Q", content[:8])
    assert opened.header_text == content[8:8 + length]


@pytest.mark.parametrize("name", make_tensors(np.random.default_rng(17)), ids=ascii)
def test_tensor_comes_back(opened, every_tensor, name):
    assert opened.tensor(name) == every_tensor[name][2]


def test_file_comes_back(opened, content):
    assert opened.decompress() == content


def test_the_tool_gives_the_file_back(content, tmp_path):
    compressed(content, tmp_path)
    run("decompress", tmp_path / "out", "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.parametrize("name", ["F32.1", "F64.large", "F64.steps", "decimal.smallest",
                                  "decimal.exceptions", "BF16.0.9", "F4"])
def test_the_tool_gives_back_a_file_of_one_tensor(every_tensor, name, tmp_path):
    """Nothing was decoded before it, so no buffer is there already."""
    content = files.image({"w": every_tensor[name]})
    assert compressed(content, tmp_path)[0].decompress() == content
    run("decompress", tmp_path / "out", "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_every_kind_occurs(opened):
    positions, values = {}, {}
    for name in opened.tables:
        for p, v in opened.kinds(name):
            positions.setdefault(p, set()).add(opened.header[name]["dtype"])
            values.setdefault(v, set()).add(opened.header[name]["dtype"])
    floats = set(FLOATS)
    assert all(floats <= positions[p] for p in (reference.ALL, reference.GAPS, reference.BITMASK))
    assert floats <= values[reference.WINDOW] and floats <= values[reference.EXPONENT]
    assert {"F64", "I64", "BOOL", "F4", "C64"} <= values[reference.PLANES]
    assert values[reference.DECIMAL] == {"F32"}
    assert set(opened.header) - set(opened.tables), "no tensor is stored as it is"


@pytest.mark.parametrize("name, kinds", [
    ("F32.0.99", (reference.GAPS, reference.WINDOW)),
    ("BF16.0.5", (reference.BITMASK, reference.WINDOW)),
    ("F16.0", (reference.ALL, reference.EXPONENT)),
    ("F64.wide.pruned", (reference.BITMASK, reference.PLANES)),
    ("F64.large", (reference.ALL, reference.EXPONENT)),
    ("decimal.smallest", (reference.ALL, reference.DECIMAL)),
    ("decimal.glove", (reference.ALL, reference.DECIMAL)),
    ("decimal.exceptions", (reference.ALL, reference.DECIMAL)),
    ("F32.last", (reference.GAPS, reference.WINDOW)),
])
def test_kinds_are_those_that_are_meant_to_be_tested(opened, name, kinds):
    assert opened.kinds(name) == {kinds}


def test_a_tensor_of_zeros_has_no_positions(opened):
    for data, _ in opened.chunks("F32.1"):
        positions, values, _, _, kept = struct.unpack("<BBHII", data[:12])
        assert len(data) == 16 and (positions, values, kept) == (0, 0, 0)


def test_the_base_of_exponents_is_the_lowest_or_1792(opened):
    bases = set()
    for name in ("F64.large", "F64.steps"):
        for data, _ in opened.chunks(name):
            assert (data[0], data[1]) == (reference.ALL, reference.EXPONENT)
            lowest = np.frombuffer(opened.tensor(name), dtype=np.uint64) >> np.uint64(52)
            base, = struct.unpack("<H", data[12:14])
            assert base == min((lowest & np.uint64(2047)).min(), 1792)
            bases.add(base)
    assert 1792 in bases and len(bases) == 2


@pytest.mark.parametrize("smallest, decade", [
    (1e-12, -12), (1e-13, -12), (1e-30, -12), (3e-11, -11)])
def test_the_first_decade_is_at_least_minus_12(smallest, decade, tmp_path):
    values = decimals(3, (3000,), np.random.default_rng(5), -10.9, -9)
    values[7] = smallest
    file, _ = compressed(files.image({"w": tensor("F32", values)}), tmp_path)
    (data, _), = file.chunks("w")
    assert data[1] == reference.DECIMAL and data[0] == reference.ALL
    digits, first, _, _, exceptions = struct.unpack("<BbBII", data[12:23])
    lowest = decade if smallest >= np.float32(1e-12) else -11
    assert (digits, first, exceptions) == (3, lowest, int(smallest < 1e-12))
    assert file.tensor("w") == values.tobytes()


@pytest.mark.parametrize("shape", [(3, 700_001), (1100, 1000), (2_100_000,)], ids=str)
@pytest.mark.parametrize("dtype", ["BF16", "F32", "U8"])
def test_several_chunks(dtype, shape, tmp_path):
    rng = np.random.default_rng(3)
    values = random_values(dtype, shape, rng)
    values[rng.random(shape) < 0.85] = 0
    values.reshape(-1)[1_048_576:1_100_000] = 0
    content = files.image({"w": tensor(dtype, values), "b": tensor(dtype, values[-1:])})
    file, small = compressed(content, tmp_path, "-j", 2)
    assert len(file.tables["w"][1]) == -(-values.size // file.tables["w"][0]) > 1
    assert file.decompress() == content
    assert compressed(content, tmp_path, "-j", 1)[1] == small


@pytest.mark.parametrize("content", [
    files.image({}), files.image({}, {"a": "b"}),
    files.image({"a": ("F32", (0,), b""), "b": ("U8", (2, 0), b"")}),
    files.image({"w": np.array(1.5, np.float32)}),
    files.image({"w": np.random.default_rng(2).integers(0, 256, 5000).astype(np.uint8)}),
], ids=["nothing", "metadata", "empty tensors", "a scalar", "noise"])
def test_what_would_not_be_smaller_is_copied(content, tmp_path):
    (tmp_path / "in").write_bytes(content)
    run("compress", tmp_path / "in", "-o", tmp_path / "out")
    run("decompress", tmp_path / "out", "-o", tmp_path / "back")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "back").read_bytes() == content


def test_tensors_without_values_among_others(tmp_path):
    zeros = np.zeros(5000, dtype=np.float32)
    for where in (["e", "f", "w"], ["e", "w", "f"], ["w", "e", "f"]):
        tensors = {"e": ("F32", (0,), b""), "f": ("U8", (2, 0), b""), "w": zeros}
        content = files.image({name: tensors[name] for name in where})
        file, _ = compressed(content, tmp_path)
        assert file.decompress() == content and set(file.tables) == {"w"}


def test_the_header_is_hardly_padded(content, every_tensor, tmp_path):
    """Its room is the longest header that can come: what is left is a few digits of a tensor."""
    small = compressed(content, tmp_path)[1]
    length, = struct.unpack("<Q", small[:8])
    text = small[8:8 + length]
    assert length % 8 == 0 and len(text) - len(text.rstrip()) <= 16 + 16 * len(every_tensor)


def test_a_header_that_has_no_room_is_refused(tmp_path):
    metadata = {str(i): "" for i in range(262_144)}  # as many entries as a file may have
    (tmp_path / "in").write_bytes(files.image({"w": np.zeros(5000, dtype=np.float32)}, metadata))
    run("inspect", tmp_path / "in", "-q")
    done = winnow("compress", tmp_path / "in", "-o", tmp_path / "out", "--json")
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["exit_code"]) == ("InvalidArgument", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_order_of_data_that_is_not_the_order_of_the_text(tmp_path):
    """Entries backwards, spaces around the text, and empty tensors between others."""
    rng = np.random.default_rng(8)
    content = files.image({"a": tensor("F32", pruned("F32", (30, 40), 0.9, rng)),
                           "empty": ("F32", (0,), b""),
                           "b": tensor("F16", pruned("F16", (30, 40), 0.9, rng)),
                           "last": ("I64", (0, 4), b"")})
    header, data = files.parse(content)
    text = b"  " + json.dumps(dict(reversed(header.items())), indent=1).encode() + b"\n   "
    content = struct.pack("<Q", len(text)) + text + data
    file, _ = compressed(content, tmp_path)
    assert file.header_text == text and file.decompress() == content


def test_tensors_that_are_excluded_are_stored_as_they_were(tmp_path):
    rng = np.random.default_rng(8)
    content = files.image({name: tensor("F32", pruned("F32", (30, 41), 0.9, rng)) for name in "ab"})
    file, small = compressed(content, tmp_path, "--exclude", "a")
    assert set(file.tables) == {"b"}
    assert files.parse(small)[0]["a"]["dtype"] == "F32"
    assert file.decompress() == content


def test_one_tensor_needs_only_its_bytes(content, tmp_path):
    small = compressed(content, tmp_path)[1]
    ranges = []

    def read_at(offset, size):
        ranges.append((offset, offset + size))
        return small[offset:offset + size]

    file = reference.CompressedFile(read_at)
    header, data = files.parse(small)
    at_opening = sum(end - begin for begin, end in ranges)
    ends = sum(24 + 24 + 16 * len(chunks) for _, chunks in file.tables.values())
    assert at_opening <= len(small) - len(data) + header["__winnow_header__"]["shape"][0] + ends
    for name in ("F32.0.9", "decimal.glove", "tiny.F32"):
        ranges.clear()
        file.tensor(name)
        begin, end = (len(small) - len(data) + at for at in header[name]["data_offsets"])
        assert ranges and all(begin <= a and b <= end for a, b in ranges)


def test_one_chunk_needs_only_its_bytes(tmp_path):
    rng = np.random.default_rng(8)
    values = pruned("F32", (1500, 1000), 0.9, rng)
    file, _ = compressed(files.image({"w": tensor("F32", values)}), tmp_path)
    per_chunk, chunks = file.tables["w"]
    first = file.data_begin + file.entries["w"]["data_offsets"][0]
    offset, length, _, checksum = chunks[1]
    alone = file.read_at(first + offset, length)
    assert (reference.decode_chunk(alone, checksum, "F32", values.size - per_chunk)
            == values.tobytes()[4 * per_chunk:])


def test_other_loaders_find_another_shape(opened, content, tmp_path):
    header, _ = files.parse(compressed(content, tmp_path)[1])
    assert list(header)[:2] == ["__metadata__", "__winnow_header__"]
    assert header["__metadata__"]["format"] == "pt"
    assert header["__metadata__"]["winnow.bytes"] == str(len(content))
    assert [key for key in header["__metadata__"] if key.startswith("winnow.")] == [
        "winnow.compressed", "winnow.bytes", "winnow.zstd"]
    for name in opened.tables:
        assert len(header[name]["shape"]) == len(opened.header[name]["shape"]) + 1


def test_the_example_of_the_page(tmp_path):
    """Its bytes are true: they decode to the values of its table."""
    page = PAGE.read_text()
    rows = re.findall(r"^    [0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)", page, re.MULTILINE)
    small = bytes.fromhex("".join(rows))
    file = reference.open_bytes(small)
    want = np.zeros(192, dtype=np.float32)
    places, values = (re.search(rf"^\| {row} \|(.*)\|$", page, re.MULTILINE)[1].split("|")
                      for row in ("place", "value"))
    want[np.array(places, dtype=int)] = np.array(values, dtype=np.float32)
    assert file.header["w"]["shape"] == [4, 48]
    assert file.tensor("w") == want.tobytes()
    again = compressed(file.decompress(), tmp_path)[1]
    if ZSTD_VERSION.findall(again) == ZSTD_VERSION.findall(small):
        assert again == small


# Faults: the reference and the tool name the same one. Checksums are made to fit, for else every
# fault would be one of a checksum.


class Spoiled:
    """A compressed file of one tensor that is taken apart and put together again."""

    def __init__(self, small):
        self.header, data = files.parse(small)
        begin = self.header["w"]["data_offsets"][0]
        self.packed, stored = data[:begin], data[begin:]
        self.trailer = bytearray(stored[-24:])
        _, per_chunk, _ = struct.unpack("<QII", self.trailer[:16])
        count = -(-struct.unpack("<Q", self.trailer[:8])[0] // per_chunk)
        table = stored[len(stored) - 24 - 16 * count:-24]
        self.chunks, at = [], 0
        for length, _, checksum in struct.iter_unpack("<QII", table):
            self.chunks.append([bytearray(stored[at:at + length]), checksum])
            at += length
        self.between = b""  # chunks and table

    def bytes(self):
        body = b"".join(chunk for chunk, _ in self.chunks)
        table = b"".join(struct.pack("<QII", len(chunk), zlib.crc32(chunk), checksum)
                         for chunk, checksum in self.chunks)
        checksum = struct.pack("<I", zlib.crc32(table + self.trailer[:16]))
        stored = body + self.between + table + self.trailer[:16] + checksum + self.trailer[20:]
        header = dict(self.header)
        shape = header["w"]["shape"][:-1] + [len(stored)]
        begin = len(self.packed)
        header["w"] = {"dtype": "U8", "shape": shape, "data_offsets": [begin, begin + len(stored)]}
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + self.packed + stored


def code_of_the_tool(path):
    done = winnow("decompress", path, "--dry-run", "--json", "-j", 1)
    return json.loads(done.stdout)["error"]["code"] if done.returncode else None


def code_of_the_reference(content):
    try:
        reference.open_bytes(content).decompress()
    except reference.FormatError as error:
        return error.code
    return None


SPOILED = ["F32.0.5", "F32.0.99", "F32.escapes", "BF16.0", "F64.narrow", "F64.steps",
           "decimal.exceptions", "decimal.pruned", "I64.blocks", "F32.rows", "F32.1"]


@pytest.mark.parametrize("name", SPOILED)
def test_faults_have_the_same_code(every_tensor, name, tmp_path):
    rng = np.random.default_rng(4)
    file, small = compressed(files.image({"w": every_tensor[name]}), tmp_path)
    assert file.tables
    size = len(Spoiled(small).chunks[0][0])
    places = list(range(min(40, size))) + list(rng.integers(0, size, 15)) + [size - 1]
    codes, others = set(), []
    for place in places:
        spoiled = Spoiled(small)
        spoiled.chunks[0][0][place] ^= rng.choice([1, 2, 3, 128, 255])
        content = spoiled.bytes()
        (tmp_path / "spoiled").write_bytes(content)
        want, found = code_of_the_reference(content), code_of_the_tool(tmp_path / "spoiled")
        codes.add(want)
        if want != found:
            assert None not in (want, found) or "SparseStream" in (want, found), place
            others.append((place, want, found))
    assert len(codes - {None}) > 1
    # Versions of libzstd differ in how they decode damaged frames.
    assert len(others) <= 2, others


def cut(spoiled):
    spoiled.chunks[0][0] = spoiled.chunks[0][0][:-24]


def cut_in_head(spoiled):
    spoiled.chunks[0][0] = spoiled.chunks[0][0][:11]


def add_padding(spoiled):
    spoiled.chunks[0][0] += bytes(8)


def add_chunk(spoiled):
    """The table is then longer than the values allow, and another checksum is looked for."""
    spoiled.chunks.append(spoiled.chunks[0])


def leave_a_gap(spoiled):
    spoiled.between = bytes(8)


def change_trailer(place, value):
    def change(spoiled):
        spoiled.trailer[place] = value
    return change


def change_metadata(key, value):
    def change(spoiled):
        spoiled.header["__metadata__"] = dict(spoiled.header["__metadata__"], **{key: value})
    return change


def change_shape(spoiled):
    spoiled.header["w"] = dict(spoiled.header["w"], shape=[1] + spoiled.header["w"]["shape"])


def change_name(spoiled):
    spoiled.header["__winnow_header"] = spoiled.header.pop("__winnow_header__")


def change_value_checksum(spoiled):
    spoiled.chunks[0][1] ^= 1


def change_header_entry(**fields):
    def change(spoiled):
        entry = dict(spoiled.header["__winnow_header__"], **fields)
        spoiled.header["__winnow_header__"] = entry
    return change


def change_packed(make):
    """Other bytes in __winnow_header__: make() returns them, given those that were there."""
    def change(spoiled):
        spoiled.packed = make(spoiled.packed)
        size = len(spoiled.packed)
        change_header_entry(shape=[size], data_offsets=[0, size])(spoiled)
    return change


def frame_and(behind):
    def make(packed):
        text = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        return zstandard.ZstdCompressor().compress(text) + behind
    return change_packed(make)


def change_front(place, value):
    """A byte of the first chunk, to which checksums are then made to fit."""
    def change(spoiled):
        spoiled.chunks[0][0][place] = value
    return change


NO_TEXT = zstandard.ZstdCompressor().compress(b"")
UNSIZED = zstandard.ZstdCompressor(write_content_size=False)


def leave_one_pad_less(spoiled):
    """Allowed: readers do not rely on alignment."""
    assert spoiled.chunks[0][0][-1] == 0
    del spoiled.chunks[0][0][-1]


@pytest.mark.parametrize("fault, code", [
    (cut, "SparseTruncated"), (cut_in_head, "SparseTruncated"), (add_padding, "SparseTrailing"),
    (add_chunk, "SparseStoredChecksum"), (leave_a_gap, "SparseTrailing"),
    (change_trailer(20, 0), "SparseMagic"), (change_trailer(23, 2), "SparseVersion"),
    (change_trailer(0, 1), "SparseSize"), (change_trailer(12, 8), "SparseSize"),
    (change_trailer(13, 1), "SparseSize"), (change_trailer(11, 255), "SparseSize"),
    (change_metadata("winnow.compressed", "2"), "SparseVersion"),
    (change_metadata("winnow.compressed", ""), "SparseVersion"),
    (change_metadata("winnow.bytes", "12x"), "SparseContainer"),
    (change_metadata("winnow.bytes", "7"), "SparseContainer"),
    (change_metadata("winnow.bytes", ""), "SparseContainer"),
    (change_metadata("winnow.bytes", "0021303"), "SparseContainer"),
    (change_metadata("winnow.bytes", "+21303"), "SparseContainer"),
    (change_metadata("winnow.bytes", " 21303"), "SparseContainer"),
    (change_header_entry(dtype="I8"), "SparseContainer"),
    (frame_and(b""), None), (frame_and(bytes(7)), None),
    (frame_and(bytes(8)), "SparseContainer"), (frame_and(b"\0\0\1"), "SparseContainer"),
    (change_packed(lambda packed: NO_TEXT), "SparseContainer"),
    (change_packed(lambda packed: UNSIZED.compress(b"{}")), "SparseContainer"),
    (change_packed(lambda packed: packed[:9]), "SparseContainer"),
    (change_packed(lambda packed: b""), "SparseContainer"),
    (change_front(2, 2), "SparseUnknownKind"), (change_front(3, 128), "SparseFront"),
    (change_metadata("winnow.bytes", "18446744073709551616"), "SparseContainer"),
    (change_metadata("winnow.zstd", "anything"), None), (change_metadata("winnow.new", ""), None),
    (change_shape, "SparseContainer"), (change_name, "SparseContainer"),
    (change_value_checksum, "SparseValueChecksum"), (leave_one_pad_less, None),
])
def test_named_faults(every_tensor, fault, code, tmp_path):
    spoiled = Spoiled(compressed(files.image({"w": every_tensor["F32.0.9"]}), tmp_path)[1])
    fault(spoiled)
    content = spoiled.bytes()
    (tmp_path / "spoiled").write_bytes(content)
    assert code_of_the_reference(content) == code
    assert code_of_the_tool(tmp_path / "spoiled") == code


# What a writer may choose, though winnow's writer does not: the tool must read it.


def stored(raw):
    return struct.pack("<BI", 0, len(raw)) + raw


def repeated(byte):
    return struct.pack("<BIB", 1, 1, byte)


def frame(raw, **settings):
    packed = zstandard.ZstdCompressor(**settings).compress(raw)
    return struct.pack("<BI", 2, len(packed)) + packed


def narrow(numbers, shift, width):
    """The parts of up to 64 numbers from bit `shift` on, as a plane of `width` bits."""
    parts = np.zeros(64, dtype=np.uint8)
    parts[:len(numbers)] = [int(number) >> shift & (1 << width) - 1 for number in numbers]
    rows = parts.reshape(8 // width, 8 * width)
    return np.bitwise_or.reduce([row << i * width for i, row in enumerate(rows)]).astype(
        np.uint8).tobytes()


def chunk(kinds, group, kept, values, body, groups=None):
    """A chunk and its value checksum. `kept` groups are kept, of `groups` if that is not all."""
    mask = np.zeros(groups or len(kept), dtype=bool)
    mask[kept] = True
    bits = np.packbits(mask, bitorder="little").tobytes() if groups else b""
    return struct.pack("<BBHII", *kinds, 0, group, len(kept)) + body, zlib.crc32(bits + values)


def hand_made(dtype, shape, raw, per_chunk, chunks):
    """(what the file must decode to, a compressed file of one tensor)."""
    content = files.image({"w": (dtype, shape, raw)})
    length, = struct.unpack("<Q", content[:8])
    packed = zstandard.ZstdCompressor().compress(content[8:8 + length])
    width = reference.value_bytes(dtype)
    table = b"".join(struct.pack("<QII", len(data), zlib.crc32(data), checksum)
                     for data, checksum in chunks)
    trailer = struct.pack("<QII", len(raw) // width, per_chunk, width)
    small = b"".join(data for data, _ in chunks) + table + trailer
    small += struct.pack("<I", zlib.crc32(table + trailer)) + b"WNZ\x01"
    return content, files.image(
        {"__winnow_header__": ("U8", [len(packed)], packed),
         "w": ("U8", [1] * len(shape) + [len(small)], small)},
        {"winnow.compressed": "1", "winnow.bytes": str(len(content))})


def floats_in_planes(values, kind):
    """F32 values of exponents 127 and 128 as a window or from a base of 0, as the page says."""
    bits = np.array(values, dtype=np.float32).view(np.uint32)
    exponents, mantissas, signs = bits >> 23 & 255, bits & 0x7fffff, bits >> 31
    if kind == reference.EXPONENT:
        tails = mantissas | signs << 23
        return (struct.pack("<H", 0) + frame(exponents.astype(np.uint8).tobytes())
                + stored(tails.astype("<u2").tobytes())
                + stored((tails >> 16).astype(np.uint8).tobytes()))
    # The first exponent is there twice; every second value is an escape, needed or not.
    classes = np.where(np.arange(len(bits)) % 2 == 0, np.where(exponents == 127, 1, 2), 3)
    heads = classes << 6 | mantissas >> 17
    escapes = exponents[classes == 3].astype(np.uint8).tobytes()
    tails = mantissas & 0x1ffff | signs << 17
    return (struct.pack("<HHHI", 127, 127, 128, len(escapes))
            + stored(heads.astype(np.uint8).tobytes()) + stored(escapes)
            + frame(tails.astype("<u2").tobytes(), write_checksum=True)
            + stored(narrow(tails, 16, 2)))


FLOAT_LIST = [1.5, -1.25, 3.0, -2.5, 1.0, 2.0, -1.75, 3.25, 1.125]
FLOAT_BYTES = np.array(FLOAT_LIST, dtype=np.float32).tobytes()
EIGHT = bytes(range(1, 9))
LARGE = np.array([1e300, -1e250, 2.0**1023, np.inf])


def large_body():
    """F64 values above the highest base."""
    bits = LARGE.view(np.uint64)
    mantissas = bits & np.uint64((1 << 52) - 1)
    tails = mantissas | bits >> np.uint64(63) << np.uint64(52)
    heads = (bits >> np.uint64(52) & np.uint64(2047)) - np.uint64(1792)
    pairs = [stored((tails >> np.uint64(shift)).astype("<u2").tobytes()) for shift in (0, 16, 32)]
    return (struct.pack("<H", 1792) + stored(heads.astype(np.uint8).tobytes()) + b"".join(pairs)
            + stored(narrow(tails, 48, 4)) + stored(narrow(tails, 52, 1)))


def decimal_body(exception=b""):
    """1.01e11, -1.01e11 and either 1.01e11 or the exception, under one head."""
    places = [bytes([byte]) if exception else b"" for byte in (2, 0, 0, 0)]
    return (struct.pack("<BbBII", 3, 11, 0, 0, len(exception) // 4)
            + repeated(1) + stored(narrow([0, 1, 0], 0, 1))
            + b"".join(stored(place) for place in places)
            + b"".join(stored(exception[b:b + 1]) for b in range(4)))


def choices():
    planes = (reference.ALL, reference.PLANES)
    yield "gaps of a chunk without zeros", "U8", (8,), EIGHT, 8, [
        chunk((1, 0), 1, range(8), EIGHT,
              struct.pack("<IB", 8, 3) + repeated(0) + repeated(0) + stored(bytes(8))
              + stored(EIGHT))]
    yield "a bitmask of a chunk without zeros", "U8", (8,), EIGHT, 100, [
        chunk((2, 0), 1, range(8), EIGHT, frame(b"\xff") + frame(EIGHT))]
    yield "zeros that are kept", "I64", (3, 2), bytes(48), 6, [
        chunk(planes, 2, range(3), bytes(48), b"".join(repeated(0) for _ in range(8)))]
    last = bytes(5) + b"\1\2\3\4\0" + b"\5\6"
    yield "groups of 5, the last one short", "U8", (12,), last, 12, [
        chunk((1, 0), 5, [1, 2], last[5:],
              struct.pack("<IB", 2, 0) + stored(b"\1\0") + stored(last[5:]), groups=3)]
    far = bytes(65_300) + b"\7" + bytes(99)
    yield "a long gap", "U8", (1, len(far)), far, 1 << 20, [
        chunk((1, 0), 1, [65_300], b"\7",
              struct.pack("<IB", 2, 8) + stored(b"\xff\0") + stored(b"\x14") + repeated(7),
              groups=len(far))]
    for kind in (reference.WINDOW, reference.EXPONENT):
        yield f"floats of kind {kind}", "F32", (9,), FLOAT_BYTES, 9, [
            chunk((0, kind), 1, range(9), FLOAT_BYTES, floats_in_planes(FLOAT_LIST, kind))]
    yield "exponents above the highest base", "F64", (4,), LARGE.tobytes(), 4, [
        chunk((0, 2), 4, range(1), LARGE.tobytes(), large_body())]
    decimal = np.array([1.01e11, -1.01e11, 1.01e11], dtype=np.float32).tobytes()
    yield "decimals of the last decade", "F32", (3,), decimal, 3, [
        chunk((0, 3), 1, range(3), decimal, decimal_body())]
    decimal = decimal[:8] + b"\1\0\x80\xff"
    yield "an exception with a head that is not 0", "F32", (3,), decimal, 3, [
        chunk((0, 3), 1, range(3), decimal, decimal_body(decimal[8:]))]
    yield "a dropped chunk, and no padding", "U8", (2, 5), bytes(5) + EIGHT[:5], 5, [
        chunk((0, 0), 3, [], b"", b"", groups=2),
        chunk(planes, 5, range(1), EIGHT[:5], stored(EIGHT[:5]))]
    yield "types below a byte", "F6_E2M3", (4,), b"abc", 2, [
        chunk(planes, 1, range(2), b"ab", stored(b"ab")),
        chunk(planes, 1, range(1), b"c", repeated(ord("c")))]
    yield "a scalar", "U8", (), b"\5", 1, [chunk(planes, 1, range(1), b"\5", repeated(5))]
    yield "an empty tensor", "F32", (0, 3), b"", 7, []


@pytest.mark.parametrize("choice", list(choices()), ids=lambda choice: choice[0])
def test_choices_of_a_writer(choice, tmp_path):
    content, small = hand_made(*choice[1:])
    assert reference.open_bytes(small).decompress() == content
    (tmp_path / "small").write_bytes(small)
    run("decompress", tmp_path / "small", "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_a_header_of_two_dimensions_is_refused(every_tensor, tmp_path):
    spoiled = Spoiled(compressed(files.image({"w": every_tensor["F32.0.9"]}), tmp_path)[1])
    change_header_entry(shape=[1, len(spoiled.packed)])(spoiled)
    (tmp_path / "spoiled").write_bytes(spoiled.bytes())
    assert code_of_the_reference(spoiled.bytes()) == "SparseContainer"
    assert code_of_the_tool(tmp_path / "spoiled") == "SparseContainer"


@pytest.mark.parametrize("kinds", [(1, 0), (0, 1), (2, 3), (3, 0), (0, 4), (255, 255)])
def test_a_chunk_of_zeros_has_kinds_of_0(kinds, tmp_path):
    zeros = chunk(kinds, 1, [], b"", b"", groups=2)
    _, small = hand_made("F32", (2,), bytes(8), 2, [zeros])
    (tmp_path / "small").write_bytes(small)
    assert code_of_the_reference(small) == "SparseUnknownKind"
    assert code_of_the_tool(tmp_path / "small") == "SparseUnknownKind"


@pytest.mark.parametrize("values, per_chunk, code", [
    (2**60, 1, "SparseSize"), (2**59, 1, "SparseSize"), (2**59 - 1, 1, "SparseTruncated"),
    (2**60, 1 << 26, "SparseTruncated")])
def test_a_table_is_at_most_as_long_as_a_file(values, per_chunk, code, tmp_path):
    header = {"w": {"dtype": "U8", "shape": [values], "data_offsets": [0, values]}}
    text = json.dumps(header).encode()
    packed = zstandard.ZstdCompressor().compress(text)
    trailer = struct.pack("<QII", values, per_chunk, 1)
    end = trailer + struct.pack("<I", zlib.crc32(trailer)) + b"WNZ\x01"
    small = files.image(
        {"__winnow_header__": ("U8", [len(packed)], packed), "w": ("U8", [1, len(end)], end)},
        {"winnow.compressed": "1", "winnow.bytes": str(8 + len(text) + values)})
    (tmp_path / "small").write_bytes(small)
    assert code_of_the_reference(small) == code
    assert code_of_the_tool(tmp_path / "small") == code


def test_unused_bits_are_not_looked_at(tmp_path):
    """Readers may ignore those behind the last number of a plane."""
    value = np.float32(1.5).tobytes()
    body = (struct.pack("<HHHI", 127, 0, 1, 0) + stored(b"\x20") + frame(b"") + stored(b"\0\0")
            + stored(b"\xfc" + bytes([255] * 15)))
    dropped = chunk((0, 0), 1, [], b"", b"", groups=1)
    content, small = hand_made("F32", (2,), value + bytes(4), 1, [
        chunk((0, 1), 1, range(1), value, body), dropped])
    assert reference.open_bytes(small).decompress() == content
    (tmp_path / "small").write_bytes(small)
    run("decompress", tmp_path / "small", "--dry-run")
