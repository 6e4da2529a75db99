"""The arrays of bench/compressed_files.py: normal values and real tables, pruned by our own masks."""
import math
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file

from peers import WIDTHS

ROWS, COLUMNS = 200_000, 64
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
SINGLE, QUARTET = (1, 1), (1, 4)
NORMAL_LEVELS = (0, 0.5, 0.8, 0.9, 0.95, 0.99)


@dataclass
class Array:
    """A pruned matrix: `level` of its blocks are zeros."""

    source: str
    dtype: str
    level: float
    block: tuple
    values: torch.Tensor

    @property
    def name(self):
        shape = {SINGLE: "", QUARTET: " in 1x4 blocks"}.get(self.block, " of rows")
        pruned = f"{100 * self.level:.0f} %{shape}" if self.level else "dense"
        return f"{self.source} {self.dtype}, {pruned}"

    @property
    def is_normal(self):
        return self.source == "normal"

    def bound_bits(self):
        """Bits a value that the entropy of the kept blocks' positions and whole kept values take."""
        width = WIDTHS[self.values.dtype]
        kept = self.values.reshape(-1, self.block[1]).ne(0).any(1).double().mean().item()
        entropy = sum(-p * math.log2(p) for p in (kept, 1 - kept) if p > 0)
        return entropy / self.block[1] + kept * width


def prune(library, values, level, block):
    """A copy with the lowest blocks set to zero."""
    values = values.clone()
    if level > 0:
        mask = torch.zeros(values.shape, dtype=torch.uint8)
        library.mask(values, mask, block, level)()
        values[mask == 0] = 0
    return values


def real_tables(cache):
    """(name, dtype, table, levels): word vectors of three models."""
    words = load_file(cache / "minilm/model.safetensors")["embeddings.word_embeddings.weight"]
    glove = np.load(cache / "glove/glove_6B_50d_emb.npy", allow_pickle=False)  # column-major
    glove = torch.from_numpy(np.ascontiguousarray(glove))
    (llama,) = load_file(cache / "wordllama/l2_supercat_256.safetensors").values()
    return [("MiniLM", "F32", words, (0, 0.5, 0.8, 0.9)),
            ("GloVe", "F32", glove, (0, 0.5, 0.9, 0.99)),
            ("GloVe", "BF16", glove.bfloat16(), (0, 0.9)),
            ("wordllama", "F16", llama, (0, 0.5, 0.9))]


def arrays(library, cache, quick):
    """Yields one array after the other. `quick` leaves out levels between others."""
    normal = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    levels = (0, 0.5, 0.9, 0.99) if quick else NORMAL_LEVELS
    for dtype, torch_dtype in DTYPES.items():
        values = normal.to(torch_dtype)
        for level in levels:
            yield Array("normal", dtype, level, SINGLE, prune(library, values, level, SINGLE))
        for block in (QUARTET, (1, COLUMNS)):
            yield Array("normal", dtype, 0.9, block, prune(library, values, 0.9, block))
    for source, dtype, table, table_levels in real_tables(cache):
        for level in table_levels:
            yield Array(source, dtype, level, SINGLE, prune(library, table, level, SINGLE))
