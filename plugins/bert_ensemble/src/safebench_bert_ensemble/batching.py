"""Batches of like length under a token budget, smaller ones when memory runs out."""

from __future__ import annotations

import gc
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

_FEW = 8  # rows that may differ in length: smaller batches cost more than padding
_ALIKE = 0.8
_EXHAUSTED = ("out of memory", "can't allocate memory", "not enough memory")


def plan(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group rows, longest first, so that rows x longest stays within `budget` tokens.

    A row above the budget gets a batch of its own, and a batch ends where rows become
    much shorter than its first. Depends on the arguments alone.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and _joins(
            lengths[row], lengths[batches[-1][0]], batches[-1], budget
        ):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _joins(length: int, longest: int, batch: Sequence[int], budget: int) -> bool:
    fits = (len(batch) + 1) * longest <= budget
    return fits and (len(batch) < _FEW or length >= _ALIKE * longest)


def waste(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Return the share of padding among all tokens of some batches, in [0, 1)."""
    real = sum(lengths[row] for batch in batches for row in batch)
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    return 1 - real / padded if padded else 0.0


class Batcher:
    """Runs work batch by batch under a token budget that shrinks after a failure."""

    def __init__(self, budget: int) -> None:
        self.budget = budget

    def run(
        self, lengths: Sequence[int], work: Callable[[list[int]], T]
    ) -> Iterator[tuple[list[int], T | None]]:
        """Yield each batch of rows with its result; None: one row was too much."""
        queue = plan(lengths, self.budget)
        while queue:
            batch = queue.pop(0)
            done, result = self._attempt(batch, work)
            if not done and len(batch) > 1:
                spent = len(batch) * max(lengths[row] for row in batch)
                self.budget = max(1, min(self.budget, spent) // 2)
                rest = sorted(chain(batch, *queue))
                again = plan([lengths[row] for row in rest], self.budget)
                queue = [[rest[i] for i in rows] for rows in again]
                continue
            yield batch, result

    def _attempt(
        self, batch: list[int], work: Callable[[list[int]], T]
    ) -> tuple[bool, T | None]:
        try:
            return True, work(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # outside the handler, so that the traceback holds no tensors any more
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False, None


def out_of_memory(error: BaseException) -> bool:
    """Tell an allocation that failed, on any device, from other errors."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error).lower() for words in _EXHAUSTED)
