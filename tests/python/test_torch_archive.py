"""Our reader and writer of torch archives against torch itself.

What torch.save writes, we read as the same values; what we write, torch.load(weights_only=True)
reads, also mapped. Of mutated files, what we accept torch accepts too, and as the same values.
"""

import collections
import io
import json
import os
import pathlib
import random
import struct
import subprocess
import zipfile

import pytest

torch = pytest.importorskip("torch")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("WINNOW_BUILD_DIR", ROOT / "build-dev"))
MUTANTS = int(os.environ.get("WINNOW_MUTANTS", "200000")) // 50

DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16",
    torch.int32: "I32", torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float32: "F32", torch.float64: "F64", torch.complex64: "C64", torch.uint16: "U16",
    torch.uint32: "U32", torch.uint64: "U64", torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e8m0fnu: "F8_E8M0",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ", torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
}


def program():
    path = BUILD / "tests" / "io" / "torch_archive_check"
    assert path.exists(), f"{path} is not built"
    return path


def dump(path):
    result = subprocess.run([program(), "dump", path], capture_output=True, timeout=300)
    if result.returncode != 0:
        return result.stdout.decode().strip()
    return json.loads(result.stdout)


def copy(source, target):
    subprocess.run([program(), "copy", source, target], check=True, capture_output=True, timeout=300)


def judge(files):
    """What the program says of each file: a dump, or the name of a code."""
    stream = b"".join(struct.pack("<Q", len(file)) + file for file in files)
    result = subprocess.run([program(), "judge"], input=stream, capture_output=True, check=True,
                            timeout=600)
    verdicts = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(verdicts) == len(files)
    return verdicts


def raw_bytes(tensor):
    """The elements, row-major."""
    contiguous = tensor.detach().contiguous()
    if contiguous.numel() == 0:
        return b""
    # Of a copy: contiguous() may be a view into a larger storage.
    return bytes(contiguous.clone().untyped_storage().tolist())


def describe_strided(tensor):
    small = tensor.numel() < 1 << 20
    return {
        "dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
        "strides": list(tensor.stride()), "offset": tensor.storage_offset(),
        "requires_grad": tensor.requires_grad,
        "parameter": isinstance(tensor, torch.nn.Parameter),
        "data": raw_bytes(tensor).hex() if small else None,
    }


def describe(value):
    """A value as the program dumps it, without the numbers of storages."""
    if value is None:
        return ["None"]
    if isinstance(value, bool):
        return ["bool", value]
    if isinstance(value, torch.Size):
        return ["torch.Size", [describe(v) for v in value]]
    if isinstance(value, int):
        return ["int", value]
    if isinstance(value, float):
        return ["float", struct.pack("<d", value).hex()]
    if isinstance(value, str):
        return ["str", value.encode().hex()]
    if isinstance(value, torch.dtype):
        return ["torch.dtype", DTYPES[value]]
    if isinstance(value, torch.Tensor) and value.layout is torch.sparse_coo:
        return ["sparse Tensor", {
            "indices": describe_strided(value._indices()),
            "values": describe_strided(value._values()),
            "shape": list(value.shape), "coalesced": value.is_coalesced()}]
    if isinstance(value, torch.Tensor):
        return ["Tensor", describe_strided(value)]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [describe(v) for v in value]]
    if isinstance(value, set):
        return ["set", sorted((describe(v) for v in value), key=str)]
    assert isinstance(value, dict), type(value)
    attributes = getattr(value, "__dict__", None)
    return ["dict", isinstance(value, collections.OrderedDict),
            [[describe(k), describe(v)] for k, v in value.items()],
            describe(attributes) if attributes else None]


def without_storages(dumped):
    if isinstance(dumped, dict):
        return {k: without_storages(v) for k, v in dumped.items() if k != "storage"}
    if isinstance(dumped, list):
        if dumped and dumped[0] == "set":
            return ["set", sorted((without_storages(v) for v in dumped[1]), key=str)]
        return [without_storages(v) for v in dumped]
    return dumped


def fill(dtype, *shape):
    """Random bits, but of bools."""
    numel = 1
    for size in shape:
        numel *= size
    if dtype is torch.bool:
        return torch.rand(shape) > 0.5
    size = torch.empty(0, dtype=dtype).element_size()
    return torch.randint(0, 256, (numel * size,), dtype=torch.uint8).view(dtype).reshape(shape)


def model():
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3),
                               torch.nn.Embedding(5, 2))


def trained_optimizer():
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(2):
        net(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    return optimizer.state_dict()


def sparsifier_state():
    """What the upstream data sparsifier saves, its dictionaries made plain."""
    mask = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1]], dtype=torch.int8)
    group = {"sparsity_level": 0.5, "sparse_block_shape": (1, 4), "zeros_per_block": 2}
    return {"state": {"w": {"mask": mask.to_sparse_coo(), "step": 3}}, "data_groups": {"w": group},
            "_container": collections.OrderedDict(
                {"parametrizations.w.original": torch.randn(2, 4)})}


def views():
    base = torch.randn(4, 6)
    return [base, base.t(), base[1:, ::2], base[2], base[0, 0], base.expand(3, 4, 6),
            base[3:, 6:], torch.ones(1).expand(2, 3)]


def sparse_tensors():
    indices = torch.tensor([[2, 0], [1, 1]])
    return [torch.eye(3).to_sparse(), torch.zeros(2, 3).to_sparse(),
            torch.sparse_coo_tensor(indices, torch.ones(2), (3, 2)),
            torch.sparse_coo_tensor(indices, torch.ones(2, 4, dtype=torch.float64), (3, 2, 4)),
            torch.tensor(5.0).to_sparse(), torch.ones(2, 2, dtype=torch.int8).to_sparse(),
            (torch.rand(7, 5) > 0.5).to_sparse()]


def plain_values():
    return {"int": [0, 255, 256, 65535, 65536, -1, 2**31 - 1, 2**31, -2**31, -2**31 - 1, 2**62,
                    2**63 - 1, -2**63], 1: "int key", -5: None, True: 2, None: 3, 1.5: 4,
            "float": [0.0, -0.0, 1e300, float("inf"), float("nan")],
            "text": ["", "a\0b", "\u00e9\U0001f600", "x" * 300], "bool": (True, False),
            "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "none": None,
            "size": torch.Size([2, 0, 3]), "set": {1, 2, "x"}, "empty": [{}, [], set()],
            "dtype": torch.bfloat16, "many": list(range(2500)),
            "nested": {"a": [{"b": [(1, [2])]}]}}


def shared_values():
    name, inner = "shared" * 3, [1, 2]
    tensor = torch.arange(3)
    return {"a": [name, name, inner], "b": inner, "c": (tensor, tensor), name: (inner, tensor)}


CASES = {
    "state_dict": lambda: model().state_dict(),
    "parameters": lambda: list(model().parameters())
    + [torch.nn.Parameter(torch.ones(2), requires_grad=False)],
    "gradients": lambda: [torch.ones(2, requires_grad=True), torch.ones(2)],
    "optimizer": trained_optimizer,
    "sparsifier": sparsifier_state,
    "views": views,
    "sparse": sparse_tensors,
    "plain": plain_values,
    "shared": shared_values,
    "scalar": lambda: torch.tensor(3.5),
    "empty": lambda: [torch.empty(0), torch.empty(0, 5), torch.empty(3, 0, dtype=torch.int8)],
    "nothing": lambda: None,
    "many": lambda: {str(i): torch.full((i % 5,), i) for i in range(300)},
    "large": lambda: {"a": torch.randn(300_000), "b": torch.randn(7)},
}
for _dtype in DTYPES:
    CASES[str(_dtype)] = lambda dtype=_dtype: [fill(dtype, 2, 3), fill(dtype), dtype,
                                               fill(dtype, 0)]


@pytest.fixture(params=CASES)
def saved(request, tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "case.pt"
    torch.save(CASES[request.param](), path)
    return path


def load(path, **options):
    return torch.load(path, weights_only=True, **options)


def test_we_read_what_torch_saves(saved):
    assert without_storages(dump(saved)) == describe(load(saved))


def test_torch_loads_what_we_write(saved, tmp_path):
    target = tmp_path / "copy.pt"
    copy(saved, target)
    expected = describe(load(saved))
    assert describe(load(target)) == expected
    assert describe(load(target, mmap=True)) == expected
    assert without_storages(dump(target)) == expected


def test_pythons_zipfile_finds_our_files_whole(saved, tmp_path):
    target = tmp_path / "copy.pt"
    copy(saved, target)
    with zipfile.ZipFile(target) as file:
        assert file.testzip() is None
        ends = [info.header_offset + len(info.FileHeader()) for info in file.infolist()]
        assert ends == sorted(ends)
        names = [name.removeprefix("archive/") for name in file.namelist()]
    with zipfile.ZipFile(saved) as file:
        assert names == [name.split("/", 1)[1] for name in file.namelist()]


def test_writing_is_deterministic(saved, tmp_path):
    first, second = tmp_path / "1.pt", tmp_path / "2.pt"
    copy(saved, first)
    copy(first, second)
    assert first.read_bytes() == second.read_bytes()


def test_payloads_are_aligned_to_64_bytes(saved, tmp_path):
    target = tmp_path / "copy.pt"
    copy(saved, target)
    with zipfile.ZipFile(target) as file:
        for info in file.infolist():
            header = target.read_bytes()[info.header_offset :][:30]
            name, extra = struct.unpack("<HH", header[26:])
            assert (info.header_offset + 30 + name + extra) % 64 == 0


def test_views_of_one_storage_stay_views(tmp_path):
    source, target = tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save(views()[:5], source)
    copy(source, target)
    loaded = load(target)
    assert len({t.untyped_storage().data_ptr() for t in loaded}) == 1


def test_shared_objects_stay_shared(tmp_path):
    source, target = tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save(shared_values(), source)
    copy(source, target)
    loaded = load(target)
    assert loaded["a"][2] is loaded["b"]
    assert loaded["c"][0] is loaded["c"][1]


REFUSED = {
    "legacy": (lambda path: torch.save({}, path, _use_new_zipfile_serialization=False),
               "LegacyArchive"),
    "script": (lambda path: torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path),
               "TorchScript"),
    "default dict": (lambda path: torch.save(collections.defaultdict(int), path), "PickleGlobal"),
    "module": (lambda path: torch.save(torch.nn.Linear(1, 1), path), "PickleGlobal"),
    "csr": (lambda path: torch.save(torch.eye(2).to_sparse_csr(), path), "SparseLayout"),
    "complex128": (lambda path: torch.save(torch.ones(1, dtype=torch.complex128), path),
                   "StorageDtype"),
    "quantized": (lambda path: torch.save(
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), path), "PickleGlobal"),
    "conjugate": (lambda path: torch.save(torch.ones(2, dtype=torch.complex64).conj(), path),
                  "PickleCall"),
    "big integer": (lambda path: torch.save([2**63], path), "PickleInt"),
    "bytes": (lambda path: torch.save([b"x"], path), "PickleGlobal"),
    "tuple keys": (lambda path: torch.save({(1, 2): 3}, path), "PickleKey"),
    "uncoalesced": (lambda path: torch.save(torch.sparse_coo_tensor(
        torch.tensor([[1, 1]]), torch.ones(2), (3,)), path), "SparseDuplicate"),
    "protocol 4": (lambda path: torch.save({}, path, pickle_protocol=4), "PickleProtocol"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_plain_data_is_refused(what, tmp_path):
    save, code = REFUSED[what]
    path = tmp_path / "refused.pt"
    save(path)
    assert dump(path) == code


def test_any_flipped_bit_of_a_payload_is_found(tmp_path):
    source = random.Random(7)
    path = tmp_path / "a.pt"
    torch.save([torch.randn(40), torch.arange(30)], path)
    image = path.read_bytes()
    spans = []
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            if "/data/" in info.filename:
                name, extra = struct.unpack("<HH", image[info.header_offset :][26:30])
                begin = info.header_offset + 30 + name + extra
                spans += range(8 * begin, 8 * (begin + info.file_size))
    files = []
    for bit in source.choices(spans, k=10_000):
        file = bytearray(image)
        file[bit // 8] ^= 1 << bit % 8
        files.append(bytes(file))
    assert set(judge(files)) == {"ZipCrc"}


def split_zip(image):
    """Names and contents of the records."""
    with zipfile.ZipFile(io.BytesIO(image)) as file:
        return [(name, file.read(name)) for name in file.namelist()]


def join_zip(records):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in records:
            file.writestr(name, content)
    return out.getvalue()


OPCODES = b"\x80}])\x8f(qrhjXUcRb\x81t\x85\x86\x87N\x88\x89JKMG\x8aQsuae.]0120lidpg\x8c\x93\x94"


def mutate_bytes(source, data):
    out = bytearray(data)
    for _ in range(source.choice([1, 1, 1, 2, 3])):
        at = source.randrange(len(out))
        choice = source.randrange(6)
        if choice == 0:
            out[at] ^= 1 << source.randrange(8)
        elif choice == 1:
            out[at] = source.choice(OPCODES)
        elif choice == 2:
            out[at] = source.randrange(256)
        elif choice == 3:
            del out[at : at + source.randrange(1, 6)]
        elif choice == 4:
            begin = source.randrange(len(out))
            out[at:at] = out[begin : begin + source.randrange(1, 40)]
        elif len(out) > 1:
            out[at] = (out[at] + source.choice([-1, 1])) % 256
        if not out:
            break
    return bytes(out)


def mutate_pickle(source, image):
    records = split_zip(image)
    return join_zip([(n, mutate_bytes(source, c) if n.endswith("data.pkl") else c)
                     for n, c in records])


def mutate_records(source, image):
    records = split_zip(image)
    at = source.randrange(len(records))
    name, content = records[at]
    choice = source.randrange(4)
    if choice == 0:
        del records[at]
    elif choice == 1:
        records[at] = (name, content[: source.randrange(len(content) + 1)])
    elif choice == 2:
        records[at] = (name.replace(name[source.randrange(len(name))], source.choice("/.0a"), 1)
                       or "x", content)
    else:
        source.shuffle(records)
    return join_zip([record for record in records if record[0]])


def mutant(source, images):
    image = source.choice(images)
    choice = source.random()
    if choice < 0.6:
        return mutate_pickle(source, image)
    if choice < 0.7:
        return mutate_records(source, image)
    if choice < 0.8:
        return image[: source.randrange(len(image))]
    return mutate_bytes(source, image)


def torch_verdict(file):
    """The values as torch and zipfile read them; None where either refuses."""
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            if archive.testzip() is not None:
                return None
        return describe(load(io.BytesIO(file)))
    except Exception:  # noqa: BLE001: any refusal will do
        return None


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    torch.manual_seed(2)
    values = [{"w": torch.randn(2, 3), "b": torch.zeros(3)}, plain_values(), sparsifier_state(),
              torch.nn.Linear(2, 2).state_dict(), views()[:4], sparse_tensors()[:3],
              [torch.nn.Parameter(torch.ones(2)), fill(torch.uint16, 3)], shared_values()]
    out = []
    for i, value in enumerate(values):
        path = tmp_path_factory.mktemp("seeds") / "s.pt"
        torch.save(value, path)
        out.append(path.read_bytes())
        if i % 2 == 0:
            out.append(join_zip(split_zip(out[-1])))
    return out


def test_of_mutants_we_accept_no_more_than_torch_and_the_same(seeds, tmp_path):
    seed = int(os.environ.get("WINNOW_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"WINNOW_SEED={seed}")
    source = random.Random(seed)
    files = [mutant(source, seeds) for _ in range(MUTANTS)]
    verdicts = judge(files)
    accepted = [(f, v) for f, v in zip(files, verdicts) if not isinstance(v, str)]
    print(f"{MUTANTS} mutants, {len(accepted)} accepted, "
          f"codes {collections.Counter(v for v in verdicts if isinstance(v, str))}")
    assert len(accepted) >= MUTANTS // 20
    for i, (file, ours) in enumerate(accepted):
        if without_storages(ours) != torch_verdict(file):
            path = tmp_path / f"mutant-{i}.pt"
            path.write_bytes(file)
            pytest.fail(f"torch does not read {path} as we do")
