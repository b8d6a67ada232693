"""The stop rule `eps`: expand, level by level, whatever is likely enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from .forest import GREEDY
from .scripts import NONE

if TYPE_CHECKING:
    from .automaton import Automaton
    from .forest import Nodes

    Array = np.ndarray[Any, np.dtype[Any]]


class Step(NamedTuple):
    """A wave of nodes as it was expanded.

    `split` (Q, 3) is the conditional mass of stop, closed and rest at its nodes.
    """

    wave: Nodes
    split: Array
    children: Nodes


class Rule(Protocol):
    """Chooses what to expand next. It keeps count: use one an exploration."""

    def admit(self, start: Nodes) -> None:
        """Take note of more trees, by their roots."""

    def choose(self, step: Step) -> Nodes:
        """Return the nodes to expand after `step`, by ascending row."""


class Limits(NamedTuple):
    """What bounds every tree: its depth, a node's least mass, the free nodes' number.

    Free nodes are those that are neither greedy nor scripted.
    """

    table: Automaton
    budget: int
    eps: float
    max_nodes: int | None

    @property
    def most(self) -> float:
        """The free nodes that a prompt may have."""
        return np.inf if self.max_nodes is None else self.max_nodes

    def alive(self, nodes: Nodes) -> Nodes:
        """Leave out the nodes that have ended or are out of budget."""
        return nodes.take(~nodes.ended & (nodes.depth < self.budget))


class EpsRule:
    """Expand what has probability `eps` or more, at most `max_nodes` a prompt.

    Greedy nodes and scripted ones are expanded besides.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._spent = np.empty(0, dtype=np.int64)

    def admit(self, start: Nodes) -> None:
        """Take note of more trees, by their roots."""
        self._spent = np.concatenate([self._spent, np.zeros_like(start.row)])

    def choose(self, step: Step) -> Nodes:
        """Return the children to expand."""
        table, eps, most = self._limits.table, self._limits.eps, self._limits.most
        nodes = self._limits.alive(step.children)
        chosen, mass = required(nodes), np.exp(nodes.path)
        # What follows `safe` cannot change the verdict, only whether it is well-formed,
        # which lenient reading does not ask.
        useful = table.open[nodes.state] | (table.grammar.mode == "strict")
        free = np.nonzero(useful & ~chosen & (mass >= eps))[0]
        rank = rank_by_row(nodes.row[free], -mass[free])
        granted = free[rank < most - self._spent[nodes.row[free]]]
        self._spent += np.bincount(nodes.row[granted], minlength=len(self._spent))
        chosen[granted] = True
        return nodes.take(chosen)


def required(nodes: Nodes) -> Array:
    """Say which nodes are expanded whatever their probability."""
    asked: Array = nodes.has(GREEDY) | (nodes.script != NONE)
    return asked


def rank_by_row(row: Array, key: Array) -> Array:
    """Return each element's place within its row when sorted by key."""
    order = np.lexsort((key, row))
    ordered = row[order]
    begins = np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(row)]
    first = np.maximum.accumulate(np.where(begins, np.arange(len(row)), 0))
    rank = np.empty(len(row), dtype=np.int64)
    rank[order] = np.arange(len(row)) - first
    return rank
