"""Values that torch.save writes, and our reader and writer of torch archives as a program."""

import collections
import json
import struct
import subprocess

import torch

from tool import BUILD

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


def dump(path, *flags):
    result = subprocess.run([program(), "dump", path, *flags], capture_output=True, timeout=300)
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


def load(path, **options):
    return torch.load(path, weights_only=True, **options)
