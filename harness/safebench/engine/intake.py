"""Who is let in next: prompts that wait until a running batch has room for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, np.dtype[Any]]


class Intake:
    """Lets N prompts in, in order, so that rows x longest row stays within `budget`.

    A batch is refilled once fewer than half of the rows that it had are live. What is
    let in depends on the lengths, the budget (None: no limit) and on which prompts are
    live; a prompt that is alone may be longer than the budget.
    """

    def __init__(self, lengths: Sequence[int], budget: int | None = None) -> None:
        self._lengths = np.asarray(lengths, dtype=np.int64)
        self._budget = np.inf if budget is None else budget
        self._next = 0
        self._most = 0  # rows after the last refill

    @property
    def waiting(self) -> bool:
        """Whether there are prompts that have not been let in."""
        return self._next < len(self._lengths)

    def due(self, live: Array) -> bool:
        """Say whether prompts wait and the batch of the prompts `live` has room."""
        return self.waiting and (not len(live) or 2 * len(live) < self._most)

    def admit(self, live: Array) -> range:
        """Return the prompts to let in beside those that are `live`; may be none."""
        ahead = self._lengths[self._next :]
        longest = np.maximum.accumulate(ahead)
        longest = np.maximum(longest, self._lengths[live].max(initial=0))
        rows = len(live) + 1 + np.arange(len(ahead))
        over = np.nonzero(rows * longest > self._budget)[0]
        count = int(over[0]) if len(over) else len(ahead)
        if not len(live):
            count = max(1, count)
        first, self._next = self._next, self._next + count
        self._most = len(live) + count
        return range(first, self._next)
