"""What a verdict tree needs of next-token logits, in place of the logits.

A row of a hundred thousand logits is reduced to its log-normaliser and entropy, the
probability of each kind of token, the tokens that are likely enough to be followed, and
on the greedy path the largest logits. All of it is computed in float64 over the full
vocabulary and each row by itself, so that a result does not depend on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .vocabulary import STOP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from safebench.typing import Array

    from .vocabulary import TokenTransitions, Vocabulary

# Candidates are found by comparing exp(logit) with a scaled floor; what nearly reaches
# it is compared again as a probability, so that rounding decides the same everywhere.
_FLOOR_SLACK = 1.0 - 1e-9


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

    def node_columns(self) -> dict[str, Array]:
        """Return the columns of the expanded nodes in evidence, (Q,) each."""
        return {"log_norm": self.log_norm, "entropy": self.entropy}

    def top_columns(self) -> dict[str, Array]:
        """Return the columns of the greedy nodes in evidence, (G, K) each."""
        return {"top_ids": self.top_ids, "top_logits": self.top_logits}


class LogitSummarizer:
    """Summarizes logits with numpy; a subclass brings the arithmetic of its device.

    Calling it is the algorithm, the same on every device: rows of one state of the
    automaton are read together, and what is listed is decided in float64. The other
    public methods are the arithmetic; they get and return arrays of the device,
    except where they say numpy.
    """

    lowest_logit = -1e300  # in place of -inf, which times probability 0 would be NaN

    def __call__(
        self, logits: Any, query: LogitQuery, vocabulary: Vocabulary
    ) -> LogitSummary:
        """Summarize logits (Q, V)."""
        with self.computing():
            return self._summarize(self.as_array(logits), query, vocabulary)

    def _summarize(
        self, logits: Any, query: LogitQuery, vocabulary: Vocabulary
    ) -> LogitSummary:
        count, width = logits.shape
        log_norm, entropy = np.zeros(count), np.zeros(count)
        kind_masses, pairs = np.zeros((count, 3)), [empty_pairs()]
        max_rows = max(1, self.logits_at_once(logits) // width)
        # One buffer for all groups: fresh memory would cost as much as the arithmetic.
        scratch = self.empty((2, min(max_rows, count), width), logits)
        for state, rows in rows_by_state(query.state, max_rows):
            transitions = vocabulary.transitions(state)
            e, total, log_norm[rows], entropy[rows] = self.normalise(
                logits, rows, scratch[:, : len(rows)]
            )
            kind_masses[rows] = self._kind_masses(e, total, transitions)
            minimum = query.min_probability[rows]
            # Rows with an infinite minimum list nothing, and need no search.
            if np.isfinite(minimum).any():
                node, token, p = self.likely(e, total, minimum * _FLOOR_SLACK)
                kept = _is_listed(node, token, p, minimum, transitions, vocabulary)
                pairs.append((rows[node[kept]], token[kept]))
        # A row that a model filled with NaN must not spoil its batch: it is marked, and
        # what is computed of it is ignored.
        invalid = ~np.isfinite(log_norm)
        log_norm[invalid], entropy[invalid] = 0.0, 0.0
        argmax = np.full(count, -1, dtype=np.int64)
        greedy = np.nonzero(query.greedy & ~invalid)[0]
        # Of the greedy path alone: a partial sort of every row would cost more than all
        # the sums above.
        argmax[greedy], top_ids, top_logits = self.largest(logits, greedy, query.top_k)
        node, token = merge_listed(pairs, argmax, query, invalid, width)
        return LogitSummary(
            log_norm=log_norm,
            entropy=entropy,
            kind_masses=kind_masses,
            argmax=argmax,
            invalid=invalid,
            node=node,
            token=token,
            logp=self.values(logits, node, token) - log_norm[node],
            top_ids=top_ids,
            top_logits=top_logits,
        )

    def _kind_masses(self, e: Any, total: Any, transitions: TokenTransitions) -> Array:
        """Return the probability of each kind of token, (Q, 3), from e / total."""
        masses = np.zeros((len(e), 3))
        for kind, ids in transitions.smaller_kinds:
            masses[:, kind] = self.mass(e, total, ids)
        # The largest kind has nearly all tokens: its mass is what the others leave.
        largest = np.clip(1.0 - masses.sum(axis=1), 0.0, None)
        masses[:, transitions.largest_kind] = largest
        return masses

    def computing(self) -> AbstractContextManager[Any]:
        """Return the context in which the arithmetic is done."""
        # NaN and infinite logits are told by their row, and not by a warning.
        return np.errstate(over="ignore", invalid="ignore")

    def as_array(self, logits: Any) -> Any:
        """Return logits as an array of the device."""
        return logits

    def logits_at_once(self, logits: Any) -> int:  # noqa: ARG002 - a device may ask
        """Return how many logits are held in float64 at once."""
        return 1 << 18  # 2 MiB, which stays in a processor's cache

    def empty(self, shape: tuple[int, ...], like: Any) -> Any:  # noqa: ARG002
        """Return an array of float64 without values, where `like` is."""
        return np.empty(shape)

    def normalise(
        self, logits: Any, rows: Array, scratch: Any
    ) -> tuple[Any, Any, Array, Array]:
        """Return e = exp(z - max z) (R, V) of some rows z, and its sums (R,).

        Then, as numpy, the logsumexp and the entropy of each row, (R,). `scratch`
        (2, R, V) may be overwritten. The sum is NaN where a logit is NaN or infinite.
        """
        z, e = scratch
        z[:] = logits[rows]
        peak = z.max(axis=1)
        np.exp(np.subtract(z, peak[:, None], out=e), out=e)
        total = e.sum(axis=1)  # from 1 to V; NaN in an invalid row
        log_norm = peak + np.log(total)
        np.multiply(e, np.maximum(z, self.lowest_logit, out=z), out=z)
        return e, total, log_norm, log_norm - z.sum(axis=1) / total

    def mass(self, e: Any, total: Any, ids: Array) -> Array:
        """Return the probability of the tokens `ids` (n,) in each row, as numpy (R,).

        `ids` are the same array whenever they are the same tokens.
        """
        mass: Array = np.take(e, ids, axis=1).sum(axis=1) / total
        return mass

    def likely(self, e: Any, total: Any, least: Array) -> tuple[Array, Array, Array]:
        """Return row, token and probability where it reaches the row's `least` (R,).

        As numpy, (n,) each; `least` may be infinite, which nothing reaches.
        """
        # Where nothing is listed the sum may be NaN, and infinity times it too.
        least = np.where(np.isfinite(least), least * total, np.inf)
        node, token = np.divmod(np.flatnonzero(e >= least[:, None]), e.shape[1])
        return node, token, e[node, token] / total[node]

    def values(self, logits: Any, node: Array, token: Array) -> Array:
        """Return single logits, as numpy (n,) in float64."""
        values: Array = logits[node, token].astype(np.float64)
        return values

    def largest(
        self, logits: Any, rows: Array, count: int
    ) -> tuple[Array, Array, Array]:
        """Return of some rows the likeliest token (R,), and the `count` largest.

        Ids and logits of these are (R, count), the largest first, as numpy; of equal
        logits the lowest id comes first.
        """
        z = logits[rows]
        best = np.argpartition(-z, count - 1, axis=1)[:, :count]
        order = np.lexsort((best, -np.take_along_axis(z, best, axis=1)), axis=1)
        ids = np.take_along_axis(best, order, axis=1)
        return z.argmax(axis=1), ids, np.take_along_axis(z, ids, axis=1)


def rows_by_state(states: Array, max_rows: int) -> Iterator[tuple[int, Array]]:
    """Yield each state with the indices of its rows, at most `max_rows` at once."""
    order = np.argsort(states, kind="stable")
    cuts = np.nonzero(np.diff(states[order]))[0] + 1
    for rows in np.split(order, cuts):
        for start in range(0, len(rows), max_rows):
            yield int(states[rows[0]]), rows[start : start + max_rows]


def _is_listed(
    node: Array,
    token: Array,
    p: Array,
    min_probability: Array,
    transitions: TokenTransitions,
    vocabulary: Vocabulary,
) -> Array:
    """Return whether a token (n,) of probability `p` reaches its row's minimum."""
    listed: Array = (transitions.kind[token] != STOP) | vocabulary.eos[token]
    return listed & (p >= min_probability[node]) & (p > 0.0)


def may_be_listed(transitions: TokenTransitions, vocabulary: Vocabulary) -> Array:
    """Return which tokens are listed where they are likely enough, (V,).

    Of the tokens that stop a verdict only EOS is: what others write there is off the
    grammar, and their probability is known as a sum.
    """
    listed: Array = (transitions.kind != STOP) | vocabulary.eos
    return listed


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


def empty_pairs() -> tuple[Array, Array]:
    """Return no pair (row, token)."""
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
