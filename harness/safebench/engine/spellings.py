"""Canonical spellings in stored trees: openers, and the levels recorded below them.

Every node that an opener reaches is an opener node, and so is a root after which one
token may hold an opener and a level; below those that were worth it, all levels and
labels were recorded in their canonical tokens, however unlikely.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .cut import Cut
from .forest import FORCED, GREEDY, OPENS

if TYPE_CHECKING:
    from safebench.evidence import VerdictTree

    from .automaton import Automaton

    Array = np.ndarray[Any, np.dtype[Any]]

NONE = -1


class Spellings:
    """Openers and levels of B trees: N nodes, O of them opener nodes."""

    def __init__(self, tree: VerdictTree) -> None:
        self.tree = tree
        self.cut = tree.once(Cut)
        self.table: Automaton = self.cut.table

    @property
    def recorded(self) -> bool:
        """Whether canonical spellings were recorded; never in lenient reading."""
        return bool(self.tree.meta["forced"]) and self.table.grammar.mode == "strict"

    @cached_property
    def parent(self) -> Array:
        """The parent of each node among those of all samples, (N,); a root's itself."""
        above, begins = self.tree["parent"], self.tree.offsets["N"][self.cut.sample]
        return begins + np.where(above < 0, 0, above)

    def has(self, flag: int) -> Array:
        """Say of each node whether a flag is set, (N,)."""
        return (self.tree["flags"] & flag) > 0

    def below(self, anchors: Array) -> tuple[Array, Array]:
        """Follow recorded spellings down from the nodes `anchors`, (N,) bool.

        Returns (N,) arrays: the anchor that a node's spelling starts from (-1: none)
        and its log-probability given that anchor. Every round doubles how far back a
        node has looked.
        """
        ends = anchors | ~self.has(FORCED) | (self.tree["parent"] < 0)
        back = np.where(ends, np.arange(len(ends)), self.parent)
        total = np.where(ends, 0.0, self.tree["logp"])
        while not ends[back].all():
            total = total + total[back]
            back = back[back]
        return np.where(anchors[back], back, NONE), total

    @cached_property
    def openers(self) -> Array:
        """The opener nodes, ascending, (O,)."""
        return np.nonzero(self.has(OPENS))[0]

    @cached_property
    def from_opener(self) -> tuple[Array, Array]:
        """Each node's opener node and log-probability given it (see `below`)."""
        return self.below(self.has(OPENS))

    @cached_property
    def canonical(self) -> Array:
        """Whether each opener is spelled as the tokenizer would, (O,).

        Evidence that does not say how openers are spelled takes them all.
        """
        spelled = self.tree.meta.get("openers")
        if spelled is None:
            return np.ones(len(self.openers), dtype=bool)
        out: Array = np.zeros(len(self.openers), dtype=bool)
        for tokens in spelled:
            out |= self._reads(self.openers, tokens)
        return out

    def _reads(self, nodes: Array, tokens: list[int]) -> Array:
        """Say of each of `nodes` whether exactly `tokens` lead to it from the root."""
        fits: Array = self.cut.depth[nodes] == len(tokens)
        for token in reversed(tokens):
            fits &= self.tree["token"][nodes] == token
            nodes = self.parent[nodes]
        return fits

    @cached_property
    def canonical_levels(self) -> Array:
        """Whether each level is canonical after its opener's own tokens, (O, levels).

        It is not where the tokenizer spells it together with the end of the opener:
        then it is found below an opener before that.
        """
        out = np.repeat(self.canonical[:, None], len(self.table.grammar.levels), axis=1)
        state = self.tree["state"][self.openers]
        for opener, level in self.tree.meta.get("spanned", ()):
            out[state == self.table.state_after(opener), level] = False
        return out

    @cached_property
    def word_level(self) -> Array:
        """The level whose words end in each state of the automaton (-1: none), (S,)."""
        grammar, table = self.table.grammar, self.table
        out = np.full(len(table.level), NONE)
        for opener in grammar.openers:
            for i, level in enumerate(grammar.levels):
                out[table.state_after(opener + level.words)] = i
        return out

    @cached_property
    def odds(self) -> Array:
        """P(level in its canonical tokens given the opener), (O, levels)."""
        opener, log = self.from_opener
        level = self.word_level[self.tree["state"]]
        at = np.nonzero((opener >= 0) & (level >= 0))[0]
        row = np.searchsorted(self.openers, opener[at])
        width = len(self.table.grammar.levels)
        shape = (len(self.openers), width)
        cell = row * width + level[at]
        summed = np.bincount(cell, np.exp(log[at]), minlength=shape[0] * width)
        return summed.reshape(shape)

    @cached_property
    def levels(self) -> Array:
        """P(canonical opener, then level in its canonical tokens), (B, levels)."""
        mass = self.cut.mass[self.openers, None] * self.odds
        out = np.zeros((len(self.tree), self.odds.shape[1]))
        mass = np.where(self.canonical_levels, mass, 0.0)
        np.add.at(out, self.cut.sample[self.openers], mass)
        return out

    @cached_property
    def said(self) -> Array:
        """The level that the greedy verdict reads (-1: none), (B,)."""
        return self.tree["level"][self.cut.greedy].astype(np.int64)

    @cached_property
    def said_at(self) -> Array:
        """The greedy node at which its level has been read (-1: none), (B,)."""
        state, said = self.tree["state"], self.said[self.cut.sample]
        read = (self.word_level[state] == said) | (self.tree["level"] == said)
        return self._last((self.has(GREEDY) & read & (said >= 0)), first=True)

    @cached_property
    def opened_at(self) -> Array:
        """The last opener node on the greedy path (-1: none), (B,)."""
        return self._last(self.has(GREEDY) & self.has(OPENS))

    def _last(self, chosen: Array, *, first: bool = False) -> Array:
        """Return the last (or first) chosen node of each sample, -1 without one."""
        at = np.nonzero(chosen)[0]
        out = np.full(len(self.tree), NONE)
        at = at[::-1] if first else at
        out[self.cut.sample[at]] = at  # of several, the last that is written stays
        return out

    @cached_property
    def log_said(self) -> Array:
        """Log-probability, given the greedy opener, of the level as it is said, (B,).

        NaN without an opener or a level on the greedy path.
        """
        log = self.cut.log_path
        known = np.nonzero((self.opened_at >= 0) & (self.said_at >= 0))[0]
        out = np.full(len(self.tree), np.nan)
        out[known] = log[self.said_at[known]] - log[self.opened_at[known]]
        return out

    @cached_property
    def said_odds(self) -> Array:
        """P(level given the greedy verdict's opener), (B, levels); NaN without one.

        The level that is said counts in the tokens in which it is said.
        """
        row = np.searchsorted(self.openers, np.maximum(self.opened_at, 0))
        out = np.full((len(self.tree), self.odds.shape[1]), np.nan)
        some = np.nonzero(self.opened_at >= 0)[0]
        out[some] = self.odds[row[some]]
        some = np.nonzero(~np.isnan(self.log_said))[0]
        out[some, self.said[some]] = np.exp(self.log_said[some])
        return out
