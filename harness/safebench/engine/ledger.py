"""The bounds of trees while they grow: what `Cut` says of stored ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .elements import leaves, remainders

if TYPE_CHECKING:
    from .automaton import Automaton
    from .elements import Elements
    from .forest import Nodes
    from .grammar import Grammar
    from .rules import Step

    Array = np.ndarray[Any, np.dtype[Any]]


class Ledger:
    """Running sums over the elements of B cuts.

    `gap` (B,) is the open mass; `lower` and `upper` (B, Q) bound the probability of
    every label, and of a positive level for every task.
    """

    def __init__(self, table: Automaton) -> None:
        self._table = table
        self._positive = positive_levels(table.grammar)
        asked = len(table.grammar.labels) + len(self._positive)
        self.gap = np.zeros(0)
        self.lower = np.zeros((0, asked))
        self._missing = np.zeros((0, asked))

    def admit(self, start: Nodes) -> None:
        """Open the books of more cuts: roots that nothing is known about."""
        more = np.zeros((len(start), self.lower.shape[1]))
        self.gap = np.concatenate([self.gap, np.zeros(len(start))])
        self.lower = np.concatenate([self.lower, more])
        self._missing = np.concatenate([self._missing, more])
        self._add(self._leaves(start), 1.0)

    @property
    def upper(self) -> Array:
        """The upper bounds, (B, Q)."""
        total: Array = self.lower + self._missing
        return total

    def record(self, step: Step) -> None:
        """Put the children and remainders of a wave in the place of its nodes."""
        wave, mass = step.wave, np.exp(step.wave.path)
        self._add(self._leaves(wave), -1.0)
        self._add(self._leaves(step.children), 1.0)
        read = (wave.index, wave.row, mass, wave.state, wave.level, wave.mask)
        for part in remainders(self._table, *read, step.split):
            self._add(part, 1.0)

    def _leaves(self, nodes: Nodes) -> Elements:
        read = (nodes.index, nodes.row, np.exp(nodes.path))
        said = (nodes.state, nodes.level, nodes.mask)
        return leaves(self._table, *read, *said, ~nodes.ended)

    def _add(self, elements: Elements, sign: float) -> None:
        mass = sign * elements.mass
        held, reachable = self._held(elements), self._reachable(elements)
        missing = elements.open[:, None] & reachable & ~held
        np.add.at(self.gap, elements.sample, mass * elements.open)
        np.add.at(self.lower, elements.sample, mass[:, None] * held)
        np.add.at(self._missing, elements.sample, mass[:, None] * missing)

    def _held(self, elements: Elements) -> Array:
        """Say which of Q events are certain in each element, (C, Q)."""
        said = np.pad(self._positive, ((0, 0), (0, 1)))  # level -1 reads the last
        return np.hstack([self._unpacked(elements.labels), said[:, elements.level].T])

    def _reachable(self, elements: Elements) -> Array:
        """Say which of Q events can still come about in each element, (C, Q)."""
        below = self._unpacked(self._table.labels_below[elements.state])
        levels = self._table.levels_below[elements.state] @ self._positive.T
        return np.hstack([below, levels & (elements.level < 0)[:, None]])

    def _unpacked(self, bits: Array) -> Array:
        place = np.arange(len(self._table.grammar.labels), dtype=np.uint64)
        out: Array = (bits[:, None] >> place) & np.uint64(1) > 0
        return out


def positive_levels(grammar: Grammar) -> Array:
    """Return which levels are positive, (S, levels), once for each way of seeing it."""
    given = [level.positive for level in grammar.levels]
    tasks = {task for p in given if isinstance(p, Mapping) for task in p} or {""}
    return np.array(sorted({grammar.positives(task) for task in tasks}))
