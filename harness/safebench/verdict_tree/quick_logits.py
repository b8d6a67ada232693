"""Summaries of float32 logits by float32 exponentials: quicker, and as exact in sum.

Exponentials are the largest part of a summary on a processor. Taken in float32 they are
wrong in the seventh digit, each by chance; sums are in float64. What is listed has its
exponential in float64, and the normaliser is made of these and of what is left, so that
the probabilities of a cut add up to 1 as they do without this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .logits import (
    LogitSummarizer,
    LogitSummary,
    empty_pairs,
    may_be_listed,
    merge_listed,
    rows_by_state,
)
from .vocabulary import STOP

if TYPE_CHECKING:
    from safebench.typing import Array

    from .logits import LogitQuery
    from .vocabulary import TokenTransitions, Vocabulary

ROWS_AT_ONCE = 64  # of a vocabulary of 5,000 they stay in a processor's cache
_SLACK = 1.0 - 1e-5  # more than float32 is wrong by: what nearly reaches is looked at
_LOWEST = np.float32(-1e30)  # in place of -inf, which times 0 would be NaN


class QuickLogitSummarizer(LogitSummarizer):
    """Summarizes float32 logits of a processor; wider ones as the base class does.

    Values differ from those of the base class by rounding in float32: by less than 1e-6
    in a probability, a log-normaliser or an entropy.
    """

    def __init__(self) -> None:
        # The transitions are kept with their ids: ids of objects are used again.
        self._listable: dict[int, tuple[TokenTransitions, Array]] = {}

    def _summarize(
        self, logits: Any, query: LogitQuery, vocabulary: Vocabulary
    ) -> LogitSummary:
        if logits.dtype != np.float32:
            return super()._summarize(logits, query, vocabulary)
        count, width = logits.shape
        peak, total, entropy = np.zeros(count), np.zeros(count), np.zeros(count)
        masses, pairs = np.zeros((count, 3)), [empty_pairs()]
        for state, rows in rows_by_state(query.state, ROWS_AT_ONCE):
            transitions = vocabulary.transitions(state)
            e, peak[rows], total[rows], entropy[rows] = _exponentials(logits[rows])
            masses[rows] = _masses(e, total[rows], transitions)
            minimum = query.min_probability[rows]
            if np.isfinite(minimum).any():
                ids = self._listable_ids(transitions, vocabulary)
                pairs.append(_likely(e, total[rows], minimum, rows, ids))
        invalid = ~np.isfinite(peak + np.log(total))
        peak[invalid], total[invalid], entropy[invalid] = 0.0, 1.0, 0.0
        masses[invalid] = 0.0
        pairs = [_reaching(logits, peak, total, query, pair) for pair in pairs]
        argmax = np.full(count, -1, dtype=np.int64)
        greedy = np.nonzero(query.greedy & ~invalid)[0]
        argmax[greedy], top_ids, top_logits = self.largest(logits, greedy, query.top_k)
        node, token = merge_listed(pairs, argmax, query, invalid, width)
        z = self.values(logits, node, token)
        kind = _kinds(query.state[node], token, vocabulary)
        listed = np.exp(z - peak[node])
        kept = np.bincount(node * 3 + kind, weights=listed, minlength=3 * count)
        # Never less than what is listed of a kind, and then their sum for a normaliser:
        # nothing that is left out gets a negative probability.
        masses = np.maximum(masses, kept.reshape(count, 3))
        total = masses.sum(axis=1)
        total[invalid] = 1.0
        log_norm = peak + np.log(total)
        return LogitSummary(
            log_norm=log_norm,
            entropy=entropy,
            kind_masses=masses / total[:, None],
            argmax=argmax,
            invalid=invalid,
            node=node,
            token=token,
            logp=z - log_norm[node],
            top_ids=top_ids,
            top_logits=top_logits,
        )

    def _listable_ids(
        self, transitions: TokenTransitions, vocabulary: Vocabulary
    ) -> Array:
        """Return the tokens of a state that may be listed: of the grammar, and EOS."""
        key = id(transitions.kind)
        if key not in self._listable:
            ids = np.flatnonzero(may_be_listed(transitions, vocabulary))
            self._listable[key] = transitions, ids
        return self._listable[key][1]


def _exponentials(z: Array) -> tuple[Array, Array, Array, Array]:
    """Return e = exp(z - max z) of rows (R, V); their maxima, sums and entropies."""
    peak = z.max(axis=1)
    z -= peak[:, None]  # `z` is a copy: rows were picked by their numbers
    e = np.exp(z)
    total = e.sum(axis=1, dtype=np.float64)
    if z.min(initial=0.0) < _LOWEST:  # seldom, and to look costs less than to raise
        np.maximum(z, _LOWEST, out=z)
    weighted = np.multiply(e, z, out=z)
    entropy = np.log(total) - weighted.sum(axis=1, dtype=np.float64) / total
    return e, peak.astype(np.float64), total, np.maximum(entropy, 0.0)


def _masses(e: Array, total: Array, transitions: TokenTransitions) -> Array:
    """Return the sum of `e` over each kind of token, (R, 3)."""
    masses = np.zeros((len(e), 3))
    for kind, ids in transitions.smaller_kinds:
        masses[:, kind] = np.take(e, ids, axis=1).sum(axis=1, dtype=np.float64)
    rest = np.clip(total - masses.sum(axis=1), 0.0, None)
    masses[:, transitions.largest_kind] = rest
    return masses


def _likely(
    e: Array, total: Array, minimum: Array, rows: Array, ids: Array
) -> tuple[Array, Array]:
    """Return rows and tokens of those `ids` that nearly reach their row's minimum."""
    least = np.where(np.isfinite(minimum), minimum * total * _SLACK, np.inf)
    node, place = np.nonzero(np.take(e, ids, axis=1) >= least[:, None])
    return rows[node], ids[place]


def _reaching(
    logits: Array,
    peak: Array,
    total: Array,
    query: LogitQuery,
    pair: tuple[Array, Array],
) -> tuple[Array, Array]:
    """Return those of a pair (rows, tokens) that reach the minimum in float64."""
    node, token = pair
    p = np.exp(logits[node, token].astype(np.float64) - peak[node]) / total[node]
    kept = (p >= query.min_probability[node]) & (p > 0.0)
    return node[kept], token[kept]


def _kinds(states: Array, tokens: Array, vocabulary: Vocabulary) -> Array:
    """Return the kind of each token (M,) in its state."""
    kind = np.full(len(tokens), STOP, dtype=np.int64)
    for state in np.unique(states):
        in_state = states == state
        transitions = vocabulary.transitions(int(state))
        kind[in_state] = transitions.kind[tokens[in_state]]
    return kind
