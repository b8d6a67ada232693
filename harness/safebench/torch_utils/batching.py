"""Batches of like length within a token budget, which shrinks when memory runs out."""

from __future__ import annotations

import gc
from itertools import chain
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench.typing import Array

T = TypeVar("T")

_OUT_OF_MEMORY_MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
)


# Tokens of a batch, padding included: what a small machine holds, and what fills a GPU.
_CPU_BATCH_TOKENS = 8192
_ACCELERATOR_BATCH_TOKENS = 65536
# Rows that a batch may hold whatever their lengths: below that, the fixed cost of one
# more forward pass exceeds that of padding.
_MIN_BATCH_ROWS = 8


def plan_batches(
    lengths: Sequence[int], budget: int, min_length_ratio: float = 0.0
) -> list[list[int]]:
    """Group rows, longest first, so that rows x longest row stays within `budget`.

    A row above the budget gets a batch of its own. A batch ends early where rows are
    shorter than `min_length_ratio` times its longest. The plan is a function of the
    arguments alone, so that a resumed run meets the same batches.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        longest = lengths[batches[-1][0]] if batches else 0
        if (
            batches
            and (len(batches[-1]) + 1) * longest <= budget
            and (
                len(batches[-1]) < _MIN_BATCH_ROWS
                or lengths[row] >= min_length_ratio * longest
            )
        ):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


class Batcher:
    """Runs work batch by batch under a token budget that shrinks after a failure.

    `min_length_ratio` as in `plan_batches`.
    """

    def __init__(self, budget: int, min_length_ratio: float = 0.0) -> None:
        self.full_budget = self.budget = budget
        self.min_length_ratio = min_length_ratio

    @classmethod
    def for_device(
        cls, device: str, budget: int = 0, min_length_ratio: float = 0.0
    ) -> Self:
        """Return one for a type of device, "cpu" or another; budget 0: its default."""
        default = _CPU_BATCH_TOKENS if device == "cpu" else _ACCELERATOR_BATCH_TOKENS
        return cls(budget or default, min_length_ratio)

    @property
    def state(self) -> dict[str, int]:
        """The budget, if memory ran out: a resumed run should not start larger."""
        return {"batch_tokens": self.budget} if self.budget < self.full_budget else {}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on with the budget that an earlier run came to."""
        self.budget = state["batch_tokens"]

    def run_at_once(
        self, lengths: Sequence[int], work: Callable[[list[int]], T]
    ) -> tuple[list[int], T] | None:
        """Run all rows as one piece of work that keeps to the budget by itself.

        They come longest first. None, and half the budget, if memory ran out.
        """
        order = list(chain.from_iterable(self.plan(lengths)))
        result = self._attempt(order, work)
        if result is None:
            self.budget = max(1, self.budget // 2)
            return None
        return order, result

    def run(
        self, lengths: Sequence[int], work: Callable[[list[int]], T]
    ) -> Iterator[tuple[list[int], T | None]]:
        """Yield each batch of rows with its result; None: one row was too much."""
        queue = self.plan(lengths)
        while queue:
            batch = queue.pop(0)
            result = self._attempt(batch, work)
            if result is None and len(batch) > 1:
                # The budget may have been far above what this batch used: halving it
                # would try the same batch again.
                spent = len(batch) * max(lengths[row] for row in batch)
                self.budget = max(1, min(self.budget, spent) // 2)
                queue = self._replan([*batch, *chain.from_iterable(queue)], lengths)
                continue
            yield batch, result

    def plan(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return the batches that rows of these lengths are read in, as row numbers."""
        return plan_batches(lengths, self.budget, self.min_length_ratio)

    def _replan(self, rows: list[int], lengths: Sequence[int]) -> list[list[int]]:
        rows = sorted(rows)
        batches = self.plan([lengths[row] for row in rows])
        return [[rows[i] for i in batch] for batch in batches]

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
    return any(words in str(error).lower() for words in _OUT_OF_MEMORY_MESSAGES)


def pad(
    rows: Sequence[tuple[int, ...]], side: Literal["left", "right"] = "left"
) -> tuple[Array, Array]:
    """Return token ids (B, Q), padded with 0 on a side, and which of them are real."""
    width = max(map(len, rows))
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    real = np.zeros(tokens.shape, dtype=bool)
    for i, row in enumerate(rows):
        begin = width - len(row) if side == "left" else 0
        tokens[i, begin : begin + len(row)] = row
        real[i, begin : begin + len(row)] = True
    return tokens, real
