"""Orders of a set of rows that depend on their values alone, not on the order they come in.

Files are sorted by name and class, so their first part is no random part of them.
"""

import numpy as np


def shuffled(rows: np.ndarray, seed: int) -> np.ndarray:
    """Indices, int64 [N], that put rows [N, ...] into a random order.

    The same rows in any order give the same shuffled rows for the same seed.
    """
    # As texts of bytes, most significant first: rows that differ by rounding remain neighbours.
    values = np.ascontiguousarray(rows, rows.dtype.newbyteorder(">")).reshape(len(rows), -1)
    texts = values.view(f"S{values.shape[1] * values.itemsize}")[:, 0]
    return np.argsort(texts, kind="stable")[np.random.default_rng(seed).permutation(len(rows))]
