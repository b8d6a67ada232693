"""The order of training rows: batches of like length, in a random order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Rows = np.ndarray[Any, np.dtype[np.int64]]

CHUNK = 50  # batches that are sorted by length together


class LengthBatches(torch.utils.data.Sampler[list[int]]):
    """Batches of rows for each epoch, by `seed` and epoch alone.

    So a resumed training sees the batches that an uninterrupted one would. Rows are
    shuffled, sorted by length in chunks of 50 batches, and the batches shuffled.
    """

    def __init__(self, lengths: Sequence[int], size: int, seed: int) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size, self.seed, self.epoch = size, seed, 0
        self.drop_last = False

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches()

    def batches(self) -> list[list[int]]:
        """Return this epoch's batches of row numbers; the short one comes last."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        step = CHUNK * self.batch_size
        chunks = [order[at : at + step] for at in range(0, len(order), step)]
        grouped = np.concatenate([self._sorted(chunk) for chunk in chunks])
        whole = len(order) // self.batch_size * self.batch_size
        full = grouped[:whole].reshape(-1, self.batch_size)
        rest = grouped[whole:]
        found: list[list[int]] = full[rng.permutation(len(full))].tolist()
        return [*found, rest.tolist()] if len(rest) else found

    def _sorted(self, rows: Rows) -> Rows:
        # longest first, so that the short last batch holds short rows
        return rows[np.argsort(-self.lengths[rows], kind="stable")]
