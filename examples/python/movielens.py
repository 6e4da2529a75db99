"""MovieLens 100k for a recommender: who rated what, and the features of both.

The files are RecBole's ml-100k.inter, ml-100k.user and ml-100k.item, as in examples/recommender:
tab-separated, a header of name:type, UTF-8. Each value of a feature has a code, which is the row
of its embedding table; codes count from 0 in the order in which the values appear in the files.
"""

from __future__ import annotations

import csv
import pathlib
from dataclasses import dataclass

import torch
from torch import Tensor

LIKED_FROM = 4  # stars
ZIP_AREA = 3  # characters: most full zips have one user
FEATURES = ("user", "item", "age", "gender", "occupation", "zip", "release_year")


@dataclass
class MovieLens:
    codes: Tensor  # int64 [features, ratings]
    sizes: list[int]  # rows of each feature's table
    genres: Tensor  # int64, flat: the genres of each item, one after another
    genre_begin: Tensor  # int64 [items + 1], where each item's begin
    genre_count: int
    liked: Tensor  # float32 [ratings], 0 or 1

    def batch(self, ratings: Tensor) -> dict[str, Tensor]:
        """Ratings in the form that the model takes."""
        items = self.codes[FEATURES.index("item"), ratings]
        begin, count = self.genre_begin[items], self.genre_begin.diff()[items]
        offsets = count.cumsum(0) - count
        places = torch.arange(int(count.sum())) + (begin - offsets).repeat_interleave(count)
        return {
            "codes": self.codes[:, ratings],
            "genres": self.genres[places],
            "genre_offsets": offsets,
            "liked": self.liked[ratings],
        }


class Vocabulary(dict):
    """Numbers values in the order of their first appearance."""

    def code(self, value: str) -> int:
        return self.setdefault(value, len(self))


def read_table(path: pathlib.Path) -> list[dict[str, str]]:
    """Rows by the names of the header, without their types."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: ./dev test fetches it")
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        names = [field.partition(":")[0] for field in next(rows)]
        return [dict(zip(names, row, strict=True)) for row in rows]


def coded(rows: list[dict[str, str]], field: str, length: int | None = None) -> tuple[list[int], int]:
    """The code of each row's value, and how many values there are."""
    vocabulary = Vocabulary()
    return [vocabulary.code(row[field][:length]) for row in rows], len(vocabulary)


def read_movielens(folder: pathlib.Path) -> MovieLens:
    """FileNotFoundError if a file is missing, KeyError for a user or an item that is not listed."""
    users, items, ratings = (
        read_table(folder / f"ml-100k.{kind}") for kind in ("user", "item", "inter")
    )
    user_rows = {row["user_id"]: i for i, row in enumerate(users)}
    item_rows = {row["item_id"]: i for i, row in enumerate(items)}
    user_codes = torch.tensor([user_rows[row["user_id"]] for row in ratings])
    item_codes = torch.tensor([item_rows[row["item_id"]] for row in ratings])
    columns, sizes = [user_codes, item_codes], [len(users), len(items)]
    attributes = [(users, user_codes, "age", None), (users, user_codes, "gender", None),
                  (users, user_codes, "occupation", None), (users, user_codes, "zip_code", ZIP_AREA),
                  (items, item_codes, "release_year", None)]
    for table, owners, field, length in attributes:
        codes, size = coded(table, field, length)
        columns.append(torch.tensor(codes)[owners])
        sizes.append(size)
    genres = Vocabulary()
    of_items = [[genres.code(word) for word in row["class"].split(" ") if word] for row in items]
    counts = torch.tensor([0] + [len(each) for each in of_items])
    return MovieLens(
        codes=torch.stack(columns),
        sizes=sizes,
        genres=torch.tensor([code for each in of_items for code in each]),
        genre_begin=counts.cumsum(0),
        genre_count=len(genres),
        liked=torch.tensor([float(float(row["rating"]) >= LIKED_FROM) for row in ratings]),
    )


def split_ratings(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four fifths to learn from and one fifth to judge by, at random."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[: count // 5 * 4], order[count // 5 * 4 :]
