"""Prunes MiniLM's word embedding and shows the effect on the similarity of sentences.

A table on standard output, one line a level: how close the vectors of sentences stay to the dense
model's, how many of the five nearest neighbours are still the same, and how often a function of
Python's library is found by its documentation. A picture shows the same curves and a few pairs.

    ./dev test                                           # fetches the model into .cache/minilm
    python examples/python/minilm_embedding.py --picture minilm.png
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pathlib

import torch
from torch import Tensor

from minilm import WORD_EMBEDDING, MiniLM
from torchwinnow.data_sparsifier import DataNormSparsifier

LEVELS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95)
NEIGHBOURS = 5
MODULES = ("os", "shutil", "statistics", "textwrap", "random", "json", "inspect", "calendar",
           "fnmatch", "difflib", "tempfile", "urllib.parse", "zipfile", "string", "math", "time",
           "itertools", "functools", "operator", "collections", "ipaddress", "email.utils")
PAIRS = (("A man plays the guitar.", "Someone plays an instrument."),
         ("The cat sleeps on the sofa.", "A kitten is napping on the couch."),
         ("How do I reset my password?", "I cannot log in any more."),
         ("Stocks fell sharply today.", "The market lost ground."),
         ("A man plays the guitar.", "The market lost ground."),
         ("The cat sleeps on the sofa.", "How do I reset my password?"))


def documented_functions(limit: int) -> tuple[list[str], list[str]]:
    """Names of functions as words, and the first lines of their documentation without the name."""
    found: dict[str, str] = {}
    for module in map(importlib.import_module, MODULES):
        for name, value in sorted(vars(module).items()):
            lines = (inspect.getdoc(value) or "").splitlines() if callable(value) else []
            if name.startswith("_") or inspect.isclass(value) or not lines or len(lines[0]) < 20:
                continue
            words = name.replace("_", " ")
            found.setdefault(words, lines[0].replace(name, "it"))
    step = max(len(found) // limit, 1)  # from all modules
    names = list(found)[::step][:limit]
    return names, [found[name] for name in names]


def pruned(table: Tensor, level: float, block: tuple[int, int]) -> Tensor:
    """A copy of the table whose smallest blocks are zero."""
    copy = table.clone()
    sparsifier = DataNormSparsifier([("words", copy)], level, block)
    sparsifier.step()
    sparsifier.squash_mask()
    return copy


def neighbours(vectors: Tensor) -> Tensor:
    """[sentences, NEIGHBOURS], without the sentence itself."""
    similarity = vectors @ vectors.T
    return similarity.fill_diagonal_(-2).topk(NEIGHBOURS).indices


def mean_reciprocal_rank(queries: Tensor, answers: Tensor) -> float:
    """1 if every query's own answer is the nearest of all."""
    similarity = queries @ answers.T
    ranks = (similarity >= similarity.diagonal()[:, None]).sum(1)
    return float(ranks.double().reciprocal().mean())


class Study:
    """The dense model's vectors, and how those of a pruned one differ."""

    def __init__(self, model: MiniLM, limit: int) -> None:
        self.model, self.table = model, model.weights[WORD_EMBEDDING]
        self.names, self.texts = documented_functions(limit)
        self.dense = model.encode(self.texts)
        self.dense_neighbours = neighbours(self.dense)

    def measure(self, level: float, block: tuple[int, int]) -> dict:
        table = pruned(self.table, level, block)
        self.model.weights[WORD_EMBEDDING] = table
        vectors = self.model.encode(self.texts)
        cosine = (vectors * self.dense).sum(1)
        same = (neighbours(vectors)[:, :, None] == self.dense_neighbours[:, None, :]).any(2)
        pairs = [self.model.encode(list(pair)) for pair in PAIRS]
        return {"level": level, "zeros": float(table.eq(0).double().mean()),
                "cosine": float(cosine.mean()), "cosine_min": float(cosine.min()),
                "neighbours": float(same.double().mean()),
                "rank": mean_reciprocal_rank(self.model.encode(self.names), vectors),
                "pairs": [float(first @ second) for first, second in pairs]}


def table_text(rows: list[dict]) -> str:
    lines = ["| zeros, % | cosine to dense | smallest | same neighbours, % | reciprocal rank |",
             "| ---: | ---: | ---: | ---: | ---: |"]
    lines += [f"| {100 * row['zeros']:.1f} | {row['cosine']:.3f} | {row['cosine_min']:.3f} "
              f"| {100 * row['neighbours']:.0f} | {row['rank']:.3f} |" for row in rows]
    return "\n".join(lines)


def draw(rows: list[dict], path: pathlib.Path) -> None:
    """Two panels: the measures, and the similarity of each pair."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    levels = [100 * row["level"] for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for key, label in (("cosine", "cosine to the dense model's vector"),
                       ("neighbours", f"share of the {NEIGHBOURS} neighbours that stay"),
                       ("rank", "reciprocal rank of functions by their documentation")):
        left.plot(levels, [row[key] for row in rows], marker="o", label=label)
    for index, (first, second) in enumerate(PAIRS):
        right.plot(levels, [row["pairs"][index] for row in rows], marker="o",
                   label=f"{first} / {second}")
    for axes, title in ((left, "MiniLM with a pruned word embedding"), (right, "Similarity of pairs")):
        axes.set(title=title, xlabel="zeros in the word embedding, %", ylim=(-0.2, 1.05))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.15))
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path(".cache/minilm"))
    parser.add_argument("--texts", type=int, default=200, help="how many are encoded")
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS)
    parser.add_argument("--block", type=int, nargs=2, default=(1, 1), metavar=("ROWS", "COLS"))
    parser.add_argument("--picture", type=pathlib.Path, help="file for the picture: .png, .svg")
    arguments = parser.parse_args()
    study = Study(MiniLM(arguments.model), arguments.texts)
    rows = [study.measure(level, tuple(arguments.block)) for level in arguments.levels]
    print(table_text(rows))
    if arguments.picture:
        draw(rows, arguments.picture)


if __name__ == "__main__":
    main()
