"""What a verdict tree needs of next-token logits, in place of the logits.

A row of a hundred thousand logits is reduced to its log-normaliser and entropy, the
probability of each kind of token, the tokens that are likely enough to be followed, and
on the greedy path the largest logits. All of it is computed in float64 over the full
vocabulary and each row by itself, so that a result does not depend on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .vocabulary import STOP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.typing import Array

    from .vocabulary import TokenTransitions, Vocabulary

MAX_LOGITS_AT_ONCE = 1 << 18  # 2 MiB of float64, which stays in a processor's cache
LOWEST_LOGIT = -1e300  # in place of -inf, which times probability 0 would be NaN
# Candidates are found by comparing exp(logit) with a scaled floor; what nearly reaches
# it is compared again as a probability, so that rounding decides the same everywhere.
FLOOR_SLACK = 1.0 - 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogitQuery:
    """What is needed of Q rows of logits.

    `state` (Q,) is the automaton's at each row. Tokens of `min_probability` (Q,) or
    more are listed, and so are the pairs `forced_node` (row) and `forced_token` (F,).
    Of `greedy` (Q,) rows the likeliest token is listed and the `top_k` largest logits
    are kept.
    """

    state: Array
    min_probability: Array
    greedy: Array
    forced_node: Array
    forced_token: Array
    top_k: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogitSummary:
    """What Q rows of logits say; M tokens are listed, G rows are greedy.

    Per row, (Q,): `log_norm` is the logsumexp of the logits, `entropy` in nats,
    `kind_masses` (Q, 3) the probability of each kind of token (`vocabulary.STOP`,
    CLOSED, OTHER), `argmax` the likeliest token, the lowest id of equals (-1 where not
    greedy). Rows that are `invalid` hold NaN or no finite logit: nothing is listed of
    them, and their other values mean nothing. Per listed token, (M,), sorted by `node`
    (row) and `token`: its `logp`. `top_ids` and `top_logits` are (G, K).
    """

    log_norm: Array
    entropy: Array
    kind_masses: Array
    argmax: Array
    invalid: Array
    node: Array
    token: Array
    logp: Array
    top_ids: Array
    top_logits: Array


class LogitSummarizer(Protocol):
    """A function such as `summarize_logits`; a model may bring one for its device."""

    def __call__(
        self, logits: Array, query: LogitQuery, vocabulary: Vocabulary
    ) -> LogitSummary:
        """Summarize logits (Q, V)."""


def summarize_logits(
    logits: Array, query: LogitQuery, vocabulary: Vocabulary
) -> LogitSummary:
    """Summarize logits (Q, V) with numpy."""
    count, width = logits.shape
    log_norm, entropy = np.zeros(count), np.zeros(count)
    kind_masses, pairs = np.zeros((count, 3)), [_empty_pairs()]
    max_rows = max(1, MAX_LOGITS_AT_ONCE // width)
    # One buffer for all groups: fresh memory would cost as much as the arithmetic.
    scratch = np.empty((2, min(max_rows, count), width))
    for state, rows in rows_by_state(query.state, max_rows):
        transitions = vocabulary.transitions(state)
        z, e = scratch[:, : len(rows)]
        z[:] = logits[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            peak = z.max(axis=1)
            np.exp(np.subtract(z, peak[:, None], out=e), out=e)
            total = e.sum(axis=1)  # from 1 to V; NaN in an invalid row
            log_norm[rows] = peak + np.log(total)
            np.multiply(e, np.maximum(z, LOWEST_LOGIT, out=z), out=z)
            entropy[rows] = log_norm[rows] - z.sum(axis=1) / total
            kind_masses[rows] = _kind_masses(e, total, transitions)
        node, token = _likely_tokens(
            e, total, query.min_probability[rows], transitions, vocabulary
        )
        pairs.append((rows[node], token))
    invalid = ~np.isfinite(log_norm)
    log_norm[invalid], entropy[invalid] = 0.0, 0.0
    argmax, top_ids, top_logits = _greedy_tokens(logits, query, invalid)
    node, token = merge_listed(pairs, argmax, query, invalid, width)
    return LogitSummary(
        log_norm=log_norm,
        entropy=entropy,
        kind_masses=kind_masses,
        argmax=argmax,
        invalid=invalid,
        node=node,
        token=token,
        logp=logits[node, token].astype(np.float64) - log_norm[node],
        top_ids=top_ids,
        top_logits=top_logits,
    )


def rows_by_state(states: Array, max_rows: int) -> Iterator[tuple[int, Array]]:
    """Yield each state with the indices of its rows, at most `max_rows` at once."""
    order = np.argsort(states, kind="stable")
    cuts = np.nonzero(np.diff(states[order]))[0] + 1
    for rows in np.split(order, cuts):
        for start in range(0, len(rows), max_rows):
            yield int(states[rows[0]]), rows[start : start + max_rows]


def _kind_masses(e: Array, total: Array, transitions: TokenTransitions) -> Array:
    """Return the probability of each kind of token, (Q, 3), from e / total (Q, V)."""
    masses = np.zeros((len(e), 3))
    for kind, ids in transitions.smaller_kinds:
        masses[:, kind] = np.take(e, ids, axis=1).sum(axis=1) / total
    masses[:, transitions.largest_kind] = np.clip(1.0 - masses.sum(axis=1), 0.0, None)
    return masses


def _likely_tokens(
    e: Array,
    total: Array,
    min_probability: Array,
    transitions: TokenTransitions,
    vocabulary: Vocabulary,
) -> tuple[Array, Array]:
    """Return (row, token) where e / total (Q, V) reaches the row's minimum."""
    live = np.isfinite(min_probability)
    if not live.any():
        return _empty_pairs()
    threshold = np.where(live, min_probability * total * FLOOR_SLACK, np.inf)
    node, token = np.divmod(np.flatnonzero(e >= threshold[:, None]), e.shape[1])
    p = e[node, token] / total[node]
    return filter_likely((node, token), p, min_probability, transitions, vocabulary)


def filter_likely(
    pairs: tuple[Array, Array],
    p: Array,
    min_probability: Array,
    transitions: TokenTransitions,
    vocabulary: Vocabulary,
) -> tuple[Array, Array]:
    """Return the pairs (row, token) whose probability `p` reaches the row's minimum.

    Of the tokens that stop a verdict only EOS is kept: what others write there is off
    the grammar, and their probability is known as a sum.
    """
    node, token = pairs
    kept = (transitions.kind[token] != STOP) | vocabulary.eos[token]
    kept &= (p >= min_probability[node]) & (p > 0.0)
    return node[kept], token[kept]


def merge_listed(
    likely: Sequence[tuple[Array, Array]],
    argmax: Array,
    query: LogitQuery,
    invalid: Array,
    width: int,
) -> tuple[Array, Array]:
    """Return all pairs (row, token) to list: likely, greedy and forced ones.

    They are sorted, each comes once, and none is of an invalid row.
    """
    greedy = np.nonzero(argmax >= 0)[0]
    forced = query.forced_node, query.forced_token
    pairs = [*likely, (greedy, argmax[greedy]), forced]
    keys = np.unique(np.concatenate([node * width + token for node, token in pairs]))
    node, token = keys // width, keys % width
    return node[~invalid[node]], token[~invalid[node]]


def _greedy_tokens(
    logits: Array, query: LogitQuery, invalid: Array
) -> tuple[Array, Array, Array]:
    """Return the likeliest token of greedy rows (Q,), and their top K: ids, logits."""
    argmax = np.full(len(logits), -1, dtype=np.int64)
    rows = np.nonzero(query.greedy & ~invalid)[0]
    z = logits[rows]
    argmax[rows] = z.argmax(axis=1)
    best = np.argpartition(-z, query.top_k - 1, axis=1)[:, : query.top_k]
    order = np.lexsort((best, -np.take_along_axis(z, best, axis=1)), axis=1)
    ids = np.take_along_axis(best, order, axis=1)
    return argmax, ids, np.take_along_axis(z, ids, axis=1)


def _empty_pairs() -> tuple[Array, Array]:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
