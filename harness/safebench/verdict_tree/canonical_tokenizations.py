"""Canonical encodings in stored trees: openers and levels as the tokenizer writes them.

A tree holds all levels after an opener, in the tokens in which the tokenizer writes
them, however unlikely. So strategies can compare all of them, as one-token methods do.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .bounds import TreeBounds
from .tree import FORCED, GREEDY, LEVEL_START

if TYPE_CHECKING:
    from safebench.evidence import VerdictTree
    from safebench.typing import Array

    from .automaton import Automaton


NONE = -1  # in place of a node, a slot or a level


class CanonicalTokenizations:
    """The canonical openers and levels of B trees: N nodes, O of them opener nodes.

    An opener node is one after which a level may start: where an opener ends, or the
    root where one token may hold an opener and a level.
    """

    def __init__(self, tree: VerdictTree) -> None:
        self.tree = tree
        self.bounds = tree.cached(TreeBounds)
        self.automaton: Automaton = self.bounds.automaton

    @property
    def recorded(self) -> bool:
        """Whether canonical encodings were recorded; never in lenient parsing."""
        return (
            bool(self.tree.meta["forced"]) and self.automaton.grammar.mode == "strict"
        )

    @cached_property
    def parent_node(self) -> Array:
        """The parent of each node, counted over all samples, (N,); a root's: itself."""
        parent, begins = self.tree["parent"], self.tree.offsets["N"][self.bounds.sample]
        return begins + np.where(parent < 0, 0, parent)

    def has_flag(self, flag: int) -> Array:
        """Return whether each node has a flag, (N,)."""
        return (self.tree["flags"] & flag) > 0

    @property
    def on_greedy_path(self) -> Array:
        """Whether each node is on the greedy path, (N,)."""
        return self.has_flag(GREEDY)

    def trace_from(self, anchors: Array) -> tuple[Array, Array]:
        """Follow forced nodes down from the nodes `anchors`, (N,) bool.

        Returns (N,) arrays: the anchor above each node (-1: none), and the
        log-probability of the node given that anchor.
        """
        # Pointer jumping as in `TreeBounds`, stopped by anchors and by nodes that are
        # not forced: what the model wrote in other tokens is no canonical encoding.
        ends = anchors | ~self.has_flag(FORCED) | (self.tree["parent"] < 0)
        back = np.where(ends, np.arange(len(ends)), self.parent_node)
        logp = np.where(ends, 0.0, self.tree["logp"])
        while not ends[back].all():
            logp = logp + logp[back]
            back = back[back]
        return np.where(anchors[back], back, NONE), logp

    @cached_property
    def opener_nodes(self) -> Array:
        """The opener nodes, ascending, (O,)."""
        return np.nonzero(self.has_flag(LEVEL_START))[0]

    @cached_property
    def from_opener(self) -> tuple[Array, Array]:
        """The opener node above each node, and its log-probability (`trace_from`)."""
        return self.trace_from(self.has_flag(LEVEL_START))

    @cached_property
    def canonical(self) -> Array:
        """Whether each opener is encoded as the tokenizer would, (O,).

        Older evidence does not say how openers are encoded: then all of them are.
        """
        encoded = self.tree.meta.get("openers")
        if encoded is None:
            return np.ones(len(self.opener_nodes), dtype=bool)
        canonical: Array = np.zeros(len(self.opener_nodes), dtype=bool)
        for tokens in encoded:
            canonical |= self._has_path(self.opener_nodes, tokens)
        return canonical

    def _has_path(self, nodes: Array, tokens: list[int]) -> Array:
        """Return whether exactly `tokens` lead from the root to each of `nodes`."""
        reached: Array = self.bounds.depth[nodes] == len(tokens)
        for token in reversed(tokens):
            reached &= self.tree["token"][nodes] == token
            nodes = self.parent_node[nodes]
        return reached

    @cached_property
    def canonical_levels(self) -> Array:
        """Whether each level is canonical after the tokens of its opener, (O, levels).

        It is not where the tokenizer writes it together with the end of the opener:
        then it is found below an opener before that.
        """
        canonical = np.repeat(
            self.canonical[:, None], len(self.automaton.grammar.levels), axis=1
        )
        state = self.tree["state"][self.opener_nodes]
        for opener, level in self.tree.meta.get("spanned", ()):
            canonical[state == self.automaton.state_after(opener), level] = False
        return canonical

    @cached_property
    def level_of_state(self) -> Array:
        """The level that ends in each state of the automaton (-1: none), (S,)."""
        grammar, automaton = self.automaton.grammar, self.automaton
        levels = np.full(len(automaton.level), NONE)
        for opener in grammar.openers:
            for i, level in enumerate(grammar.levels):
                levels[automaton.state_after(opener + level.surface_form)] = i
        return levels

    @cached_property
    def own_share(self) -> Array:
        """The share of a level's node that is not that of a longer level, (N,).

        "High" is written where "High risk" is, too: what goes on to the longer one, in
        its canonical tokens, is no verdict of the shorter.
        """
        parent = self.tree["parent"]
        is_level = self.has_flag(FORCED) & (parent >= 0)
        is_level &= self.level_of_state[self.tree["state"]] >= 0
        above, logp = self.trace_from(is_level | self.has_flag(LEVEL_START))
        nodes = np.nonzero(is_level)[0]
        before = self.parent_node[nodes]
        nested = (above[before] >= 0) & is_level[above[before]]
        nodes, before = nodes[nested], before[nested]
        longer = np.exp(logp[before] + self.tree["logp"][nodes])
        taken = np.bincount(above[before], longer, minlength=len(parent))
        share: Array = np.clip(1.0 - taken, 0.0, 1.0)
        return share

    @cached_property
    def level_given_opener(self) -> Array:
        """P(level in its canonical tokens, and no longer one | opener), (O, levels)."""
        opener, logp = self.from_opener
        level = self.level_of_state[self.tree["state"]]
        nodes = np.nonzero((opener >= 0) & (level >= 0))[0]
        row = np.searchsorted(self.opener_nodes, opener[nodes])
        width = len(self.automaton.grammar.levels)
        shape = (len(self.opener_nodes), width)
        cell = row * width + level[nodes]
        mass = np.exp(logp[nodes]) * self.own_share[nodes]
        sums = np.bincount(cell, mass, minlength=shape[0] * width)
        return sums.reshape(shape)

    @cached_property
    def level_probability(self) -> Array:
        """P(canonical opener and level in its canonical tokens), (B, levels)."""
        mass = self.bounds.mass[self.opener_nodes, None] * self.level_given_opener
        probability = np.zeros((len(self.tree), self.level_given_opener.shape[1]))
        mass = np.where(self.canonical_levels, mass, 0.0)
        np.add.at(probability, self.bounds.sample[self.opener_nodes], mass)
        return probability

    @cached_property
    def greedy_level(self) -> Array:
        """The level that the greedy verdict reads (-1: none), (B,)."""
        return self.tree["level"][self.bounds.greedy_end].astype(np.int64)

    @cached_property
    def greedy_level_node(self) -> Array:
        """The node on the greedy path at which the level ends (-1: none), (B,)."""
        state, greedy = self.tree["state"], self.greedy_level[self.bounds.sample]
        read = (self.level_of_state[state] == greedy) | (self.tree["level"] == greedy)
        return self._last((self.has_flag(GREEDY) & read & (greedy >= 0)), first=True)

    @cached_property
    def greedy_opener_node(self) -> Array:
        """The last opener node on the greedy path (-1: none), (B,)."""
        return self._last(self.has_flag(GREEDY) & self.has_flag(LEVEL_START))

    def _last(self, chosen: Array, *, first: bool = False) -> Array:
        """Return the last (or first) chosen node of each sample, -1 without one."""
        nodes = np.nonzero(chosen)[0]
        last = np.full(len(self.tree), NONE)
        nodes = nodes[::-1] if first else nodes
        # Of several nodes of one sample, the last that is assigned stays.
        last[self.bounds.sample[nodes]] = nodes
        return last

    @cached_property
    def greedy_level_logp(self) -> Array:
        """Log-probability of the greedy level given the greedy opener, (B,).

        It is that of the tokens in which the model writes it. NaN without an opener or
        a level on the greedy path.
        """
        path_logp = self.bounds.path_logp
        samples = np.nonzero(
            (self.greedy_opener_node >= 0) & (self.greedy_level_node >= 0)
        )[0]
        logp = np.full(len(self.tree), np.nan)
        with np.errstate(divide="ignore"):  # all of it is a longer level's
            own = np.log(self.own_share[self.greedy_level_node[samples]])
        logp[samples] = (
            path_logp[self.greedy_level_node[samples]]
            - path_logp[self.greedy_opener_node[samples]]
            + own
        )
        return logp

    @cached_property
    def level_given_greedy_opener(self) -> Array:
        """P(level | greedy opener), (B, levels); NaN without an opener.

        The greedy level counts in the tokens in which the model writes it, the others
        in their canonical tokens.
        """
        row = np.searchsorted(self.opener_nodes, np.maximum(self.greedy_opener_node, 0))
        probability = np.full(
            (len(self.tree), self.level_given_opener.shape[1]), np.nan
        )
        samples = np.nonzero(self.greedy_opener_node >= 0)[0]
        probability[samples] = self.level_given_opener[row[samples]]
        samples = np.nonzero(~np.isnan(self.greedy_level_logp))[0]
        probability[samples, self.greedy_level[samples]] = np.exp(
            self.greedy_level_logp[samples]
        )
        return probability
