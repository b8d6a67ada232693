"""What tokens that a served model did not list could add to canonical encodings.

A forced token that is not listed has no node, so that sums over canonical encodings
read 0 for it. Its probability is at most what its node leaves unlisted, and so is the
error of every probability on the way from an opener or a slot. The same holds of the
probability that a label is closed, where tokens that could go on with it are not known.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from safebench.typing import Array

    from .canonical_tokenizations import CanonicalTokenizations


class UnlistedTokens:
    """Bounds of the errors in the canonical encodings of B trees; 0 from logits.

    `slots` (S,) are the nodes of the slots of labels, and `canonical` (S,) says whether
    canonical tokens lead there (`LabelSlots`).
    """

    def __init__(
        self, tokenizations: CanonicalTokenizations, slots: Array, canonical: Array
    ) -> None:
        self._tree = tokenizations.tree
        self._bounds = tokenizations.bounds
        self._automaton = tokenizations.automaton
        self._tokenizations = tokenizations
        self._slots = slots
        self._canonical = canonical

    @cached_property
    def _error(self) -> Array:
        """The error of one step from each node (N,): its token, or a label closed."""
        tree, error = self._tree, np.zeros(len(self._tree["parent"]))
        if "unlisted" not in tree:
            return error
        nodes = self._bounds.expanded_nodes
        complete = self._automaton.stop_label[tree["state"][nodes]] >= 0
        inexact = (tree["unlisted_forced"] > 0) | complete
        error[nodes] = np.where(inexact, tree["unlisted"], 0.0)
        return error

    @cached_property
    def levels(self) -> Array:
        """The error of P(level, opener), summed over canonical openers, (B,)."""
        anchor, logp = self._tokenizations.from_opener
        chosen = (anchor >= 0) & (self._tree["level"] < 0)
        above = self._bounds.mass[np.maximum(anchor, 0)]
        return self._by_sample(above * np.exp(logp), chosen)

    @cached_property
    def levels_given_opener(self) -> Array:
        """The error of P(level | the opener of the greedy verdict), (B,)."""
        anchor, logp = self._tokenizations.from_opener
        greedy = self._tokenizations.greedy_opener_node[self._bounds.sample]
        chosen = (anchor >= 0) & (anchor == greedy) & (self._tree["level"] < 0)
        return self._by_sample(np.exp(logp), chosen)

    @cached_property
    def labels_given_slot(self) -> Array:
        """The error of P(label, closed | slot), of all labels together, (S,)."""
        is_slot = np.zeros(len(self._error), dtype=bool)
        is_slot[self._slots] = True
        anchor, logp = self._tokenizations.trace_from(is_slot)
        nodes = np.nonzero((anchor >= 0) & (self._error > 0))[0]
        slot = np.searchsorted(self._slots, anchor[nodes])
        error = np.exp(logp[nodes]) * self._error[nodes]
        return np.bincount(slot, error, len(self._slots)).astype(np.float64)

    @cached_property
    def first_labels(self) -> Array:
        """The error of P(slot, label), over the first slots of canonical levels, (B,).

        A slot itself may be missing, where a token between level and labels is.
        """
        first = np.nonzero(self._canonical)[0]
        node = self._slots[first]
        error = np.bincount(
            self._bounds.sample[node],
            self._bounds.mass[node] * self.labels_given_slot[first],
            len(self._tree),
        )
        return error.astype(np.float64) + self._slots_missing + self.levels

    def at_slots(self, scored: Array) -> Array:
        """Return the largest error at the slots `scored` (n,) of each sample, (B,)."""
        largest = np.zeros(len(self._tree))
        np.maximum.at(
            largest,
            self._bounds.sample[self._slots[scored]],
            self.labels_given_slot[scored],
        )
        return largest

    @cached_property
    def closing_greedy_labels(self) -> Array:
        """The largest error of closing a label of the greedy verdict, (B,)."""
        largest = np.zeros(len(self._tree))
        greedy = np.nonzero(self._tokenizations.on_greedy_path)[0]
        complete = self._automaton.stop_label[self._tree["state"][greedy]] >= 0
        greedy = greedy[complete]
        sample = self._bounds.sample[greedy]
        np.maximum.at(largest, sample, self._error[greedy])
        return largest

    @cached_property
    def _slots_missing(self) -> Array:
        """The mass of forced slots that may be missing, (B,)."""
        anchor, _ = self._tokenizations.from_opener
        before_slot = (anchor >= 0) & (self._tree["level"] >= 0)
        before_slot &= (self._tree["slot"] == 0) & (self._tree["pending"] < 0)
        return self._by_sample(self._bounds.mass, before_slot)

    def _by_sample(self, weight: Array, chosen: Array) -> Array:
        nodes = np.nonzero(chosen & (self._error > 0))[0]
        error = weight[nodes] * self._error[nodes]
        sums = np.bincount(self._bounds.sample[nodes], error, len(self._tree))
        return sums.astype(np.float64)

    def reason(self) -> str:
        """Say why a value is not there."""
        k = self._tree.meta.get("listed", {}).get("top_logprobs", 0)
        return (
            f"n/a: canonical spellings are not among the {k} tokens listed; "
            "unlisted=ids or a larger top_logprobs would tell"
        )
