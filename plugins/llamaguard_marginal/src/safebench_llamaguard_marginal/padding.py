"""Rows of unlike length in one array, and who may look at whom in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, np.dtype[Any]]


def left_padded(rows: Sequence[tuple[int, ...]]) -> tuple[Array, Array]:
    """Return token ids (B, Q), padded with 0 on the left, and which are real."""
    width = max(map(len, rows))
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        tokens[i, width - len(row) :] = row
    lengths = np.array([len(row) for row in rows])
    return tokens, np.arange(width) >= width - lengths[:, None]


def right_padded(rows: Sequence[tuple[int, ...]]) -> tuple[Array, Array]:
    """Return token ids (B, Q), padded with 0 on the right, and which are real."""
    tokens, real = left_padded([row[::-1] for row in rows])
    return tokens[:, ::-1].copy(), real[:, ::-1].copy()


def prefill_mask(columns: Array, width: int) -> Array:
    """Return (B, Q, T): causal over real columns; padded queries see themselves.

    Without the last rule a padded row would attend to nothing, and its NaN would
    spread through the batch.
    """
    total = columns.shape[1]
    reach = np.arange(total) <= np.arange(total - width, total)[:, None]  # (Q, T)
    own = np.arange(total) == np.arange(total - width, total)[:, None]
    causal: Array = (columns[:, None] & reach) | own
    return causal


def drafted_mask(columns: Array, width: int, lineage: Array) -> Array:
    """Return (B, Q + n, T + n): as `prefill_mask`, then a static tree of n nodes.

    A node sees its prompt's real columns and its `lineage` (n, n); no prompt sees it.
    """
    if not len(lineage):
        return prefill_mask(columns, width)
    (rows, total), extra = columns.shape, len(lineage)
    visible = np.zeros((rows, width + extra, total + extra), dtype=bool)
    visible[:, :width, :total] = prefill_mask(columns, width)
    visible[:, width:, :total] = columns[:, None]
    visible[:, width:, total:] = lineage
    return visible
