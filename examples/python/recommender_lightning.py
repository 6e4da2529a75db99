"""A recommender on MovieLens 100k in Lightning: dense, pruned after training, and during training.

The twin of examples/recommender, which is in C++. The model, its settings and the measures are equal.
Splits and initial values come from another generator, so figures agree within the spread over seeds.

    python examples/python/recommender_lightning.py --data .cache/movielens --csv out.csv

With `--devices 2` two processes train each model (DDP), with half of the batches each. The environment
variable LIGHTNING names the package: lightning.pytorch by default, or pytorch_lightning.
"""

from __future__ import annotations

import argparse
import copy
import csv
import importlib
import logging
import os
import pathlib
import statistics
import warnings

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from movielens import FEATURES, MovieLens, read_movielens, split_ratings
from torchwinnow.data_scheduler import CubicDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier
from torchwinnow.lightning import PostTrainingDataSparsity, TrainingAwareDataSparsity

LIGHTNING = os.environ.get("LIGHTNING", "lightning.pytorch")
pl = importlib.import_module(LIGHTNING)

DIM = 32  # of every table
BATCH = 512
LEARNING_RATE = 0.005  # of Adam
LEVELS = (0.5, 0.8, 0.9, 0.95)
STEP_EVERY = 5  # batches between two new masks during training
RAMP = 0.75  # the share of the training after which the level is reached
DENSE, AFTER, AFTER_BLOCKS, WHILE = "dense", "after training", "after training in 1x4", "while training"


class Recommender(nn.Module):
    """A table for each feature, a bag of genres, and a perceptron on top of the looked-up rows."""

    def __init__(self, data: MovieLens) -> None:
        super().__init__()
        tables = {name: nn.Embedding(size, DIM) for name, size in zip(FEATURES, data.sizes)}
        tables["genres"] = nn.EmbeddingBag(data.genre_count, DIM)
        self.embeddings = nn.ModuleDict(tables)
        for table in self.embeddings.parameters():
            nn.init.normal_(table, 0, 0.1)  # torch's deviation of 1 takes too long to unlearn
        self.head = nn.Sequential(nn.Linear(len(tables) * DIM, 64), nn.ReLU(),
                                  nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Log-odds of a like: [ratings]."""
        looked_up = [self.embeddings[name](codes) for name, codes in zip(FEATURES, batch["codes"])]
        looked_up.append(self.embeddings["genres"](batch["genres"], batch["genre_offsets"]))
        return self.head(torch.cat(looked_up, 1)).squeeze(1)


class RecommenderModule(pl.LightningModule):
    def __init__(self, data: MovieLens) -> None:
        super().__init__()
        self.recommender = Recommender(data)  # any name will do for the callbacks

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self.recommender(batch), batch["liked"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), LEARNING_RATE)


class Batches(Dataset):
    """Batches, each given by the list of its ratings."""

    def __init__(self, data: MovieLens, ratings: Tensor) -> None:
        self.data, self.ratings = data, ratings

    def __len__(self) -> int:
        return len(self.ratings)

    def __getitem__(self, places: list[int]) -> dict[str, Tensor]:
        return self.data.batch(self.ratings[places])


def is_table(name: str, parameter: nn.Parameter) -> bool:
    """Only tables are pruned."""
    return name.startswith("embeddings.")


def auc(scores: Tensor, liked: Tensor) -> float:
    """The chance that a liked rating has a higher score than another; ties count half."""
    values, ranks, counts = scores.double().unique(return_inverse=True, return_counts=True)
    mean_rank = counts.cumsum(0) - (counts - 1) / 2
    positive = liked.bool()
    n, rest = int(positive.sum()), int((~positive).sum())
    return float((mean_rank[ranks[positive]].sum() - n * (n + 1) / 2) / (n * rest))


class Experiment:
    """Everything that is done with one split and one set of initial values."""

    def __init__(self, data: MovieLens, seed: int, epochs: int, devices: int) -> None:
        self.data, self.seed, self.epochs, self.devices = data, seed, epochs, devices
        self.train, self.test = split_ratings(len(data.liked), seed)
        self.runs: list[dict] = []

    def run(self, levels: tuple[float, ...]) -> list[dict]:
        dense = self.fit([])
        self.judge(DENSE, 0.0, dense)
        for level in levels:
            self.judge(AFTER, level, self.pruned(dense, level, (1, 1)))
            self.judge(AFTER_BLOCKS, level, self.pruned(dense, level, (1, 4)))
            self.judge(WHILE, level, self.pruned_while_training(level))
        return self.runs

    def fit(self, callbacks: list) -> Recommender:
        torch.manual_seed(self.seed)
        module = RecommenderModule(self.data)
        sampler = RandomSampler(self.train, generator=torch.Generator().manual_seed(self.seed))
        loader = DataLoader(Batches(self.data, self.train), batch_size=None,
                            sampler=BatchSampler(sampler, BATCH, drop_last=False))
        trainer = pl.Trainer(max_epochs=self.epochs, callbacks=callbacks, accelerator="cpu",
                             devices=self.devices, strategy="ddp" if self.devices > 1 else "auto",
                             logger=False, enable_checkpointing=False, enable_progress_bar=False,
                             enable_model_summary=False)
        trainer.fit(module, loader)
        return module.recommender

    def pruned(self, model: Recommender, level: float, block: tuple[int, int]) -> Recommender:
        """A copy, pruned as the callback does at the end of a fit."""
        callback = PostTrainingDataSparsity(
            DataNormSparsifier, {"sparsity_level": level, "sparse_block_shape": block},
            model=lambda _: model, filter=is_table)
        callback.on_fit_end(None, None)
        return callback.sparsified

    def pruned_while_training(self, level: float) -> Recommender:
        batches = self.epochs * -(-len(self.train) // (BATCH * self.devices))  # of each process
        return self.fit([TrainingAwareDataSparsity(
            DataNormSparsifier, {"sparsity_level": level, "sparse_block_shape": (1, 1)},
            CubicDataScheduler, {"end_step": max(int(batches * RAMP) // STEP_EVERY, 1)},
            model="recommender", filter=is_table,
            apply_to_model=True, interval="step", frequency=STEP_EVERY)])

    def judge(self, method: str, level: float, model: Recommender) -> None:
        with torch.no_grad():
            scores = copy.deepcopy(model).eval()(self.data.batch(self.test))
        tables = list(model.embeddings.parameters())
        zeros = sum(int(table.eq(0).sum()) for table in tables)
        self.runs.append({"method": method, "level": level, "seed": self.seed,
                          "auc": auc(scores, self.data.liked[self.test]),
                          "zeros": zeros / sum(table.numel() for table in tables)})


def table_text(runs: list[dict], levels: tuple[float, ...]) -> str:
    """Markdown: a line for each level; each column has the mean AUC and the largest deviation from it."""

    def cell(method: str, level: float) -> str:
        values = [run["auc"] for run in runs if (run["method"], run["level"]) == (method, level)]
        mean = statistics.fmean(values)
        return f"{mean:.4f} ± {max(abs(value - mean) for value in values):.4f}"

    methods = (AFTER, AFTER_BLOCKS, WHILE)
    lines = ["| zeros, % | " + " | ".join(methods) + " |", "| ---: |" + " ---: |" * len(methods),
             f"| 0 | {cell(DENSE, 0.0)} |" + " |" * (len(methods) - 1)]
    for level in levels:
        lines.append(f"| {100 * level:.0f} | " + " | ".join(cell(m, level) for m in methods) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path(".cache/movielens"))
    parser.add_argument("--seeds", type=int, default=3, help="how many models are trained")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS)
    parser.add_argument("--devices", type=int, default=1, help="how many processes train a model")
    parser.add_argument("--csv", type=pathlib.Path, help="file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # batches are too small for two
    for package in (LIGHTNING, LIGHTNING.replace("pytorch", "fabric")):
        warnings.filterwarnings("ignore", module=package.replace(".", r"\."))
        logging.getLogger(package).setLevel(logging.WARNING)
    data, levels, runs = read_movielens(arguments.data), tuple(arguments.levels), []
    for seed in range(arguments.seeds):
        runs += Experiment(data, seed, arguments.epochs, arguments.devices).run(levels)
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return  # all processes have the same figures
    print(table_text(runs, levels))
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, runs[0])
            writer.writeheader()
            writer.writerows(runs)


if __name__ == "__main__":
    main()
