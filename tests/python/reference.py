"""The mask rule in plain NumPy, independent of winnow's code. Slow on purpose.

Numbers in comments are the steps of the specification's section 3.1.
"""

import numpy as np


def round_half_even(x):
    return int(np.rint(np.float64(x)))


def widen(values):
    """F16 and BF16 (given as float32 already) score in F32; the others in their own type."""
    return values.astype(np.float32) if values.dtype == np.float16 else values


def fold(shape):
    """2. Drop dimensions of size 1; the last is the columns, the others fold into rows."""
    dims = [d for d in shape if d != 1]
    cols = dims[-1] if dims else 1
    rows = int(np.prod(dims[:-1], dtype=np.int64)) if len(dims) > 1 else 1
    return rows, cols


def scores_of(values, norm):
    """2. L1: |x|; L2: x * x, in the values' type."""
    values = widen(values)
    with np.errstate(over="ignore", under="ignore"):
        return np.abs(values) if norm == "l1" else values * values


def blocks_of(scores, block):
    """3. The blocks, row-major: their flat positions and their mean score."""
    rows, cols = scores.shape
    result = []
    for r in range(0, rows, block[0]):
        for c in range(0, cols, block[1]):
            part = scores[r:r + block[0], c:c + block[1]]
            total = part.dtype.type(0)
            with np.errstate(over="ignore", invalid="ignore"):
                for value in part.reshape(-1):  # one by one: numpy's own sum is pairwise
                    total = part.dtype.type(total + value)
                mean = part.dtype.type(total / part.dtype.type(part.size))
            result.append((r, c, mean))
    return result


def drop_in_block(mask, scores, r, c, block, zeros):
    """6. The lowest scores of a block fall; positions outside the matrix rank as NaN."""
    padded = np.full(block, np.nan, dtype=scores.dtype)
    part = scores[r:r + block[0], c:c + block[1]]
    padded[:part.shape[0], :part.shape[1]] = part
    for flat in np.argsort(padded.reshape(-1), kind="stable")[:zeros]:  # NaN sorts last
        row, col = r + flat // block[1], c + flat % block[1]
        if row < scores.shape[0] and col < scores.shape[1]:
            mask[row, col] = 0


def masks(tensors, level=0.5, block=(1, 4), zeros=None, norm="l1"):
    """The masks of all tensors under one budget, each in its tensor's shape."""
    zeros = block[0] * block[1] if zeros is None else zeros
    scores = [scores_of(t.reshape(fold(t.shape)), norm) for t in tensors]
    result = [np.ones(s.shape, dtype=np.uint8) for s in scores]
    blocks = [(i, r, c, mean) for i, s in enumerate(scores) for r, c, mean in blocks_of(s, block)]
    means = np.array([b[3] for b in blocks], dtype=np.float64)  # widening is exact
    count = min(max(round_half_even(level * len(blocks)), 0), len(blocks))  # 4.
    for chosen in np.argsort(means, kind="stable")[:count]:
        i, r, c, _ = blocks[chosen]
        drop_in_block(result[i], scores[i], r, c, block, zeros)
    return [m.reshape(t.shape) for m, t in zip(result, tensors)]


def mask(tensor, **settings):
    return masks([tensor], **settings)[0]
