"""Probabilities of labels at the places of stored trees where a label may start."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .forest import GREEDY, START
from .spellings import NONE, Spellings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree

    Array = np.ndarray[Any, np.dtype[Any]]

OTHER, POSITIVE, SAID, GREEDY_START = range(4)  # which first slot is read, best last


class Slots:
    """Where labels start in B trees: S places, each with all its labels recorded.

    A place is a node at which the labels' common stem has been read: every one on the
    greedy path, and the first one of every recorded spelling.
    """

    def __init__(self, tree: VerdictTree) -> None:
        self.tree = tree
        self.spellings = tree.once(Spellings)
        self.cut = self.spellings.cut
        self.table = self.spellings.table

    @cached_property
    def starts(self) -> Array:
        """The nodes of the places, ascending, (S,)."""
        has, first = self.spellings.has, self.tree["slot"] == 0
        spelled = first & (self.spellings.from_opener[0] >= 0)
        return np.nonzero(has(START) & (has(GREEDY) | spelled))[0]

    @property
    def sample(self) -> Array:
        """The sample of each place, (S,)."""
        out: Array = self.cut.sample[self.starts]
        return out

    @property
    def mass(self) -> Array:
        """The probability of each place, (S,)."""
        out: Array = self.cut.mass[self.starts]
        return out

    @property
    def slot(self) -> Array:
        """The labels read before each place, (S,)."""
        out: Array = self.tree["slot"][self.starts].astype(np.int64)
        return out

    @cached_property
    def greedy(self) -> Array:
        """Whether each place is on the greedy path, (S,)."""
        return self.spellings.has(GREEDY)[self.starts]

    @cached_property
    def canonical(self) -> Array:
        """Whether a canonical opener, level and intro lead to each place, (S,)."""
        spellings = self.spellings
        opener = spellings.from_opener[0][self.starts]
        row = np.searchsorted(spellings.openers, np.maximum(opener, 0))
        known = (opener >= 0) & (self.slot == 0)
        out = np.zeros(len(self.starts), dtype=bool)
        level = self.tree["level"][self.starts]
        out[known] = spellings.canonical_levels[row[known], level[known]]
        return out

    @cached_property
    def closing(self) -> Array:
        """P(the next token closes the label that is complete at a node), (N,)."""
        tree, at, parent = self.tree, self.cut.expanded, self.spellings.parent
        complete = self.table.stop_label[tree["state"]]
        out = np.zeros(len(complete))
        out[at] = np.where(complete[at] >= 0, tree["stop"] + tree["closed"], 0.0)
        label = tree["label"]
        kept = np.nonzero((label >= 0) & (complete[parent] == label))[0]
        out += np.bincount(parent[kept], np.exp(tree["logp"][kept]), len(out))
        return out

    @cached_property
    def ends(self) -> tuple[Array, Array, Array, Array]:
        """The nodes at which a recorded label is complete, (M,) arrays.

        The node, its place (0..S-1), the label, and P(label, closed | place).
        """
        is_start = np.zeros(len(self.tree["parent"]), dtype=bool)
        is_start[self.starts] = True
        start, log = self.spellings.below(is_start)
        label = self.table.stop_label[self.tree["state"]]
        at = np.nonzero((start >= 0) & (label >= 0))[0]
        place = np.searchsorted(self.starts, start[at])
        return at, place, label[at], np.exp(log[at]) * self.closing[at]

    @cached_property
    def given(self) -> Array:
        """P(label in its canonical tokens, closed | place), (S, labels)."""
        _, place, label, p = self.ends
        shape = (len(self.starts), len(self.table.grammar.labels))
        summed = np.bincount(place * shape[1] + label, p, shape[0] * shape[1])
        return summed.reshape(shape)

    def first(self, positive: Sequence[bool]) -> Array:
        """Return the place of each sample's first label (-1: none), (B,).

        It is on the greedy path; else on the canonical spelling under the greedy
        opener: of the level that is said, of a positive one, of another one that takes
        labels; of several, the likeliest.
        """
        spellings, level = self.spellings, self.tree["level"][self.starts]
        opener, log = (column[self.starts] for column in spellings.from_opener)
        rank = np.where(np.array(positive, dtype=bool)[level], POSITIVE, OTHER)
        rank[level == spellings.said[self.sample]] = SAID
        rank[self.greedy] = GREEDY_START
        under = (opener >= 0) & (opener == spellings.opened_at[self.sample])
        at = np.nonzero((self.slot == 0) & (self.greedy | under))[0]
        at = at[np.lexsort((log[at], rank[at]))]
        out = np.full(len(self.tree), NONE)
        out[self.sample[at]] = at  # of several, the last that is written stays
        return out

    def read(self, first: Array) -> Array:
        """Return the places of `first` (B,) and of all greedy labels, (P,)."""
        greedy = np.nonzero(self.greedy)[0]
        return np.union1d(first[first >= 0], greedy)
