"""Bounds on label number k of the verdicts in stored trees."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .cut import Bounds
from .elements import CLOSING, STOPPED

if TYPE_CHECKING:
    from .cut import Cut

    Array = np.ndarray[Any, np.dtype[Any]]

NONE = -1


class Places:
    """Label number `k` (1, 2, ...) of the verdicts of B trees; results (B, labels).

    An element of the cut is certain of it once that label was read on the way to it,
    or is complete there and what the element stands for closes it.
    """

    def __init__(self, cut: Cut, k: int) -> None:
        self.cut = cut
        self.k = k

    @cached_property
    def _read(self) -> Array:
        """Label number k on the path to each node (-1: fewer were read), (N,).

        Every round doubles how far back a node has looked.
        """
        tree, k = self.cut.tree, self.k
        slot, label = tree["slot"].astype(np.int64), tree["label"].astype(np.int64)
        begins = tree.offsets["N"][self.cut.sample]
        here = (slot < k) | ((slot == k) & (label >= 0))
        back = np.where(here, np.arange(len(slot)), begins + tree["parent"])
        while not here[back].all():
            back = back[back]
        return np.where(slot >= k, label[back], NONE)

    def certain(self, node: Array, kind: Array) -> Array:
        """Return label number k of elements (-1: not certain), given as in `Elements`.

        `node` and `kind` have one shape, and so has the result.
        """
        tree, table = self.cut.tree, self.cut.table
        closed = (kind == CLOSING) | (kind == STOPPED)
        now = closed & (tree["slot"][node] == self.k - 1)
        pending = table.stop_label[tree["state"][node]]
        out: Array = np.where(now, pending, self._read[node])
        return out

    @cached_property
    def _certain(self) -> Array:
        said = self.cut.elements
        return self.certain(said.node, said.kind)

    @cached_property
    def bounds(self) -> Bounds:
        """Bound the probability that each label is number k."""
        lower = self._summed(np.ones(len(self._certain), dtype=bool))
        return Bounds(lower, lower + self._readable())

    def renormed(self) -> Array:
        """Estimate `bounds` from resolved mass alone; NaN without any."""
        cut = self.cut
        whole = np.broadcast_to(1.0 - cut.gap[:, None], self.bounds.lower.shape)
        resolved = self._summed(~cut.elements.open)
        nothing = np.full(whole.shape, np.nan)
        share: Array = np.divide(resolved, whole, out=nothing, where=whole > 0)
        return share

    def _summed(self, chosen: Array) -> Array:
        """Sum the mass of the chosen elements by sample and certain label."""
        said, shape = self.cut.elements, self._shape
        at = np.nonzero(chosen & (self._certain >= 0))[0]
        cell = said.sample[at] * shape[1] + self._certain[at]
        summed = np.bincount(cell, said.mass[at], shape[0] * shape[1])
        return summed.reshape(shape)

    def _readable(self) -> Array:
        """Sum by label the mass of open elements in which it can still be number k."""
        cut, said, shape = self.cut, self.cut.elements, self._shape
        read = cut.tree["slot"][said.node].astype(np.int64) + (said.kind == CLOSING)
        at = np.nonzero(said.open & (read < self.k))[0]
        below, sample, mass = (
            column[at]
            for column in (cut.table.labels_below[said.state], said.sample, said.mass)
        )
        out = np.zeros(shape)
        for label in range(shape[1]):
            here = (below >> np.uint64(label)) & np.uint64(1) > 0
            out[:, label] = np.bincount(sample[here], mass[here], shape[0])
        return out

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.cut.tree), len(self.cut.table.grammar.labels)
