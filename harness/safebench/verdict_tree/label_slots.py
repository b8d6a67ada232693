"""The slots at which labels start in stored trees, with all labels recorded in each.

A tree holds all labels in a slot, in the tokens in which the tokenizer writes them,
however unlikely. So strategies can compare all of them, as one-token methods do, at the
places that a verdict of several tokens has.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .canonical_tokenizations import NONE, CanonicalTokenizations
from .tree import GREEDY, LABEL_START
from .unlisted import UnlistedTokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree
    from safebench.typing import Array


# Which slot is taken as a sample's first: the highest of these that it has.
OTHER_LEVEL, POSITIVE_LEVEL, GREEDY_LEVEL, GREEDY_SLOT = range(4)


class LabelSlots:
    """Where labels start in B trees: S slots, each with all labels recorded.

    A slot is a node at which the common prefix of the labels has been read: every one
    on the greedy path, and the first one after every level in canonical tokens.
    """

    def __init__(self, tree: VerdictTree) -> None:
        self.tree = tree
        self.tokenizations = tree.cached(CanonicalTokenizations)
        self.bounds = self.tokenizations.bounds
        self.automaton = self.tokenizations.automaton

    @cached_property
    def unlisted(self) -> UnlistedTokens:
        """How far tokens that were not listed could change what is read here."""
        return UnlistedTokens(self.tokenizations, self.nodes, self.canonical)

    @cached_property
    def nodes(self) -> Array:
        """The nodes of the slots, ascending, (S,)."""
        has, before_labels = self.tokenizations.has_flag, self.tree["slot"] == 0
        canonical = before_labels & (self.tokenizations.from_opener[0] >= 0)
        return np.nonzero(has(LABEL_START) & (has(GREEDY) | canonical))[0]

    @property
    def sample(self) -> Array:
        """The sample of each slot, (S,)."""
        values: Array = self.bounds.sample[self.nodes]
        return values

    @property
    def mass(self) -> Array:
        """The probability that each slot is reached, (S,)."""
        values: Array = self.bounds.mass[self.nodes]
        return values

    @property
    def labels_before(self) -> Array:
        """How many labels were read before each slot, (S,)."""
        values: Array = self.tree["slot"][self.nodes].astype(np.int64)
        return values

    @cached_property
    def on_greedy_path(self) -> Array:
        """Whether each slot is on the greedy path, (S,)."""
        return self.tokenizations.has_flag(GREEDY)[self.nodes]

    @cached_property
    def canonical(self) -> Array:
        """Whether a canonical opener, level and intro lead to each slot, (S,)."""
        tokenizations = self.tokenizations
        opener = tokenizations.from_opener[0][self.nodes]
        row = np.searchsorted(tokenizations.opener_nodes, np.maximum(opener, 0))
        known = (opener >= 0) & (self.labels_before == 0)
        canonical = np.zeros(len(self.nodes), dtype=bool)
        level = self.tree["level"][self.nodes]
        canonical[known] = tokenizations.canonical_levels[row[known], level[known]]
        return canonical

    @cached_property
    def closing_probability(self) -> Array:
        """P(the label that is complete at a node is closed by the next token), (N,)."""
        tree, expanded = self.tree, self.bounds.expanded_nodes
        parent = self.tokenizations.parent_node
        complete = self.automaton.stop_label[tree["state"]]
        probability = np.zeros(len(complete))
        # A label is closed by any token that does not continue it: those without a node
        # are summed in two remainders, those with one are its children.
        left_out = tree["stop"] + tree["closed"]
        probability[expanded] = np.where(complete[expanded] >= 0, left_out, 0.0)
        label = tree["label"]
        closing = np.nonzero((label >= 0) & (complete[parent] == label))[0]
        probability += np.bincount(
            parent[closing], np.exp(tree["logp"][closing]), len(probability)
        )
        return probability

    @cached_property
    def label_ends(self) -> tuple[Array, Array, Array, Array]:
        """The nodes at which a recorded label is complete, as (M,) arrays.

        They are the node, its slot (0..S-1), the label, and P(label, closed | slot).
        """
        is_slot = np.zeros(len(self.tree["parent"]), dtype=bool)
        is_slot[self.nodes] = True
        slot_node, logp = self.tokenizations.trace_from(is_slot)
        stop_label = self.automaton.stop_label[self.tree["state"]]
        label = self.automaton.as_category(stop_label)
        nodes = np.nonzero((slot_node >= 0) & (label >= 0))[0]
        slot = np.searchsorted(self.nodes, slot_node[nodes])
        return (
            nodes,
            slot,
            label[nodes],
            np.exp(logp[nodes]) * self.closing_probability[nodes],
        )

    @cached_property
    def label_given_slot(self) -> Array:
        """P(label in its canonical tokens, closed | slot), (S, labels)."""
        _, slot, label, p = self.label_ends
        shape = (len(self.nodes), len(self.automaton.grammar.labels))
        sums = np.bincount(slot * shape[1] + label, p, shape[0] * shape[1])
        return sums.reshape(shape)

    def first_slot(self, positive: Sequence[bool]) -> Array:
        """Return the slot of each sample's first label (-1: none), (B,).

        It is the one on the greedy path. Where there is none, it is a canonical one
        under the greedy opener: after the greedy level, or else after a positive one,
        or else after any that takes labels; of several, the likeliest.
        """
        tokenizations, level = self.tokenizations, self.tree["level"][self.nodes]
        opener, logp = (column[self.nodes] for column in tokenizations.from_opener)
        is_positive = np.array(positive, dtype=bool)[level]
        rank = np.where(is_positive, POSITIVE_LEVEL, OTHER_LEVEL)
        rank[level == tokenizations.greedy_level[self.sample]] = GREEDY_LEVEL
        rank[self.on_greedy_path] = GREEDY_SLOT
        greedy_opener = tokenizations.greedy_opener_node[self.sample]
        below_greedy = (opener >= 0) & (opener == greedy_opener)
        eligible = (self.labels_before == 0) & (self.on_greedy_path | below_greedy)
        slots = np.nonzero(eligible)[0]
        # Ascending by rank, then probability: the last that is assigned stays.
        slots = slots[np.lexsort((logp[slots], rank[slots]))]
        first = np.full(len(self.tree), NONE)
        first[self.sample[slots]] = slots
        return first

    def scored_slots(self, first: Array) -> Array:
        """Return the slots of `first` (B,) and those on the greedy path, ascending."""
        greedy = np.nonzero(self.on_greedy_path)[0]
        return np.union1d(first[first >= 0], greedy)
