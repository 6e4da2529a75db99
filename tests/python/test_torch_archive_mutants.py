"""Damaged torch archives: our reader against torch itself.

Any flipped bit of a payload is found. Of mutated files, what we accept torch accepts too, and as
the same values.
"""

import collections
import io
import os
import random
import struct
import zipfile

import pytest

torch = pytest.importorskip("torch")

from torch_archives import (describe, fill, judge, load, plain_values,  # noqa: E402
                            shared_values, sparse_tensors, sparsifier_state, views,
                            without_storages)

MUTANTS = int(os.environ.get("WINNOW_MUTANTS", "200000")) // 50


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
