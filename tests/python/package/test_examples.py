"""The programs in examples/python and the code of docs/python.md, run as a user would."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples" / "python"
MODEL = ROOT / ".cache" / "minilm"


def run(*arguments, folder, **environment):
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True,
                          cwd=folder, timeout=600, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_table(path, header, rows):
    lines = ["\t".join(header)] + ["\t".join(map(str, row)) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_ratings(folder):
    """Files of MovieLens' form, of 30 users and 20 items, in which odd users like odd items."""
    rng = random.Random(0)
    write_table(folder / "ml-100k.user",
                ["user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"],
                [(u, 20 + u % 5, "MF"[u % 2], "baker", 10000 * (1 + u % 9)) for u in range(30)])
    write_table(folder / "ml-100k.item",
                ["item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"],
                [(i, f"Film {i}", 1990 + i % 4, "Drama Comedy" if i % 3 else "Action") for i in range(20)])
    pairs = [(u, i) for u in range(30) for i in range(20)]
    rng.shuffle(pairs)
    write_table(folder / "ml-100k.inter",
                ["user_id:token", "item_id:token", "rating:float", "timestamp:float"],
                [(u, i, 5 if (u + i) % 2 == 0 else 1, 0) for u, i in pairs])


def test_the_recommender(tmp_path):
    pytest.importorskip("lightning.pytorch")
    write_ratings(tmp_path)
    text = run(EXAMPLES / "recommender_lightning.py", "--data", tmp_path, "--seeds", 1, "--epochs", 12,
               "--levels", 0.5, "--csv", tmp_path / "out.csv", folder=tmp_path)
    lines = text.splitlines()
    assert lines[0] == "| zeros, % | after training | after training in 1x4 | while training |"
    dense, *pruned = [float(value) for value in re.findall(r"(\d\.\d{4}) ±", text)]
    assert dense > 0.6 and len(pruned) == 3
    rows = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    zeros = {row[0]: float(row[4]) for row in rows}
    assert zeros["dense"] < 0.01
    assert all(zeros[name] == pytest.approx(0.5, abs=0.01) for name in zeros if name != "dense")


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_the_recommender_in_two_processes(tmp_path, package):
    """Figures of one device and of two are of other batches, so that they are alike and not the same."""
    pytest.importorskip(package)
    write_ratings(tmp_path)
    text = run(EXAMPLES / "recommender_lightning.py", "--data", tmp_path, "--seeds", 1, "--epochs", 12, "--devices", 2,
               "--levels", 0.5, "--csv", tmp_path / "out.csv", folder=tmp_path, LIGHTNING=package, OMP_NUM_THREADS="1")
    assert text.count("| zeros, % | after training |") == 1  # the first process alone prints
    rows = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["dense", "after training", "after training in 1x4", "while training"]
    assert all(float(row[4]) == pytest.approx(0.5, abs=0.01) for row in rows[1:])
    assert float(rows[0][3]) > 0.6


@pytest.mark.skipif(not (MODEL / "tokenizer.json").exists(), reason="./dev test fetches the model")
def test_minilm(tmp_path):
    pytest.importorskip("tokenizers")
    pytest.importorskip("matplotlib")
    text = run(EXAMPLES / "minilm_embedding.py", "--model", MODEL, "--texts", 12, "--levels", 0, 0.9,
               "--picture", tmp_path / "minilm.png", folder=tmp_path)
    dense, pruned = [[float(cell) for cell in line.strip("| ").split("|")] for line in text.splitlines()[2:]]
    assert dense[:3] == [0, 1, 1] and pruned[0] == 90
    assert 0.5 < pruned[1] < 0.95
    assert (tmp_path / "minilm.png").read_bytes().startswith(b"\x89PNG")


def test_the_guide(tmp_path):
    """The program of sparsifiers. test_tensor_files.py runs that of compressed files, and that of Lightning
    is a part of what test_lightning.py does."""
    section = (ROOT / "docs/python.md").read_text().split("## Coming from torch.ao\n")[1]
    program = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    (tmp_path / "guide.py").write_text(program)
    assert run(tmp_path / "guide.py", folder=tmp_path) == "tensor(0.8000) tensor(0.9000)\n"


def test_every_test_that_the_guide_names_is_there():
    text = (ROOT / "docs/python.md").read_text()
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in tests, name
    for file in re.findall(r"`(test_\w+\.py)`", text):
        assert (Path(__file__).parent / file).exists(), file
