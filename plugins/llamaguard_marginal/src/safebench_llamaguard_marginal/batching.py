"""Cut work into batches of like length, and into smaller ones when memory runs out."""

from __future__ import annotations

import gc
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

_EXHAUSTED = ("out of memory", "can't allocate memory", "not enough memory")


def plan(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group indices, longest first, so that rows x longest row stays within `budget`.

    A row above the budget gets a batch of its own. Depends on the arguments alone.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


class Batcher:
    """Runs work batch by batch under a token budget that shrinks after a failure."""

    def __init__(self, budget: int) -> None:
        self.budget = budget

    def whole(
        self, lengths: Sequence[int], work: Callable[[list[int]], T]
    ) -> tuple[list[int], T] | None:
        """Run all indices as one piece of work that keeps to the budget by itself.

        They come longest first. None, and half the budget, if memory ran out.
        """
        order = list(chain.from_iterable(plan(lengths, self.budget)))
        result = self._attempt(order, work)
        if result is None:
            self.budget = max(1, self.budget // 2)
            return None
        return order, result

    def run(
        self, lengths: Sequence[int], work: Callable[[list[int]], T]
    ) -> Iterator[tuple[list[int], T | None]]:
        """Yield each batch of indices with its result; None: one row was too much."""
        queue = plan(lengths, self.budget)
        while queue:
            batch = queue.pop(0)
            result = self._attempt(batch, work)
            if result is None and len(batch) > 1:
                spent = len(batch) * max(lengths[i] for i in batch)
                self.budget = max(1, min(self.budget, spent) // 2)
                rest = [*batch, *chain.from_iterable(queue)]
                queue = _again(rest, lengths, self.budget)
                continue
            yield batch, result

    def _attempt(self, batch: list[int], work: Callable[[list[int]], T]) -> T | None:
        try:
            return work(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # Outside the handler, so that the traceback holds no tensors any more.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def out_of_memory(error: BaseException) -> bool:
    """Tell an allocation that failed, on any device, from other errors."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error).lower() for words in _EXHAUSTED)


def _again(rest: list[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    rest = sorted(rest)
    return [[rest[i] for i in b] for b in plan([lengths[i] for i in rest], budget)]
