"""An order of training rows that a resumed training repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.data import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class LengthGroupedSampler(Sampler[int]):
    """Shuffled rows in which those of like length, and of one group, stand together.

    Rows are shuffled group by group, sorted by length within windows of
    `window_batches` batches, cut into batches, and the batches are shuffled. Without
    `groups` each row is a group of its own.

    The order is a function of seed and epoch alone, and never of a generator that
    other code draws from: a training that goes on after an interruption sees the
    batches that an uninterrupted one would have seen.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        groups: Sequence[str] | None = None,
        *,
        window_batches: int = 50,
        longest_first: bool = True,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.window = batch_size * window_batches  # rows
        self.sign = -1 if longest_first else 1
        self.row_groups: list[list[int]] = [[row] for row in range(len(lengths))]
        if groups is not None:
            rows_by_group: dict[str, list[int]] = {}
            for row, group in enumerate(groups):
                rows_by_group.setdefault(group, []).append(row)
            self.row_groups = list(rows_by_group.values())

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of that epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        # The factor keeps the seeds of neighbouring runs apart for 100,003 epochs.
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = self._sorted_in_windows(generator)
        batches = [
            order[start : start + self.batch_size]
            for start in range(0, len(order), self.batch_size)
        ]
        # A short batch stays last: anywhere else it would shift the batches after it.
        short = (
            [batches.pop()] if batches and len(batches[-1]) < self.batch_size else []
        )
        shuffle: list[int] = torch.randperm(len(batches), generator=generator).tolist()
        for batch in [*(batches[i] for i in shuffle), *short]:
            yield from batch

    def _sorted_in_windows(self, generator: torch.Generator) -> list[int]:
        """Return all rows, their groups shuffled and sorted within each window."""
        shuffle: list[int] = torch.randperm(
            len(self.row_groups), generator=generator
        ).tolist()
        order: list[int] = []
        window: list[list[int]] = []
        for i in shuffle:
            window.append(self.row_groups[i])
            if sum(map(len, window)) >= self.window or i == shuffle[-1]:
                window.sort(key=self._sort_key)
                order += [row for rows in window for row in rows]
                window = []
        return order

    def _sort_key(self, rows: Sequence[int]) -> int:
        return self.sign * max(self.lengths[row] for row in rows)
