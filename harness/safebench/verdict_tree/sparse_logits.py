"""What a verdict tree needs of next tokens of which only some are listed.

The probability that is not listed, u = 1 - sum of those that are, is put where it is
certain to be. An unlisted token has at most the probability p of the last of the
likeliest. So the n unlisted tokens that go on with the verdict have at most m =
min(u, n p), of which nothing more is known; the k that close a label have at most
min(u - m, k p); and what is left of u, or more, ends the verdict. Labels are then read
with at least u - m, as after tokens that close them or end the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import numpy as np

from .logits import LogitSummary
from .vocabulary import CLOSED, OTHER, STOP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    from .logits import LogitQuery
    from .sparse_model import ListedTokens, SparseModel, UnreadRows
    from .vocabulary import Vocabulary

    Unlisted = Literal["auto", "rest", "cap", "ids"]

_FLOAT64 = 1e-12  # by which a sum of exact probabilities may miss 1
_ALL = np.iinfo(np.int64).max  # of the K likeliest tokens
# Of probability at one node: so the bounds of a category stay within a thousandth.
_WIDE = 3e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseSummary(LogitSummary):
    """What Q rows of listed tokens say; there are no logits, and no entropies.

    Per row, (Q,): `unlisted` is the probability of tokens of the kind OTHER about which
    nothing more is known, part of `kind_masses`; `unlisted_forced` counts the forced
    tokens that are not listed, of which none is likelier than `unlisted`. `top_logits`
    (G, K) are log-probabilities.
    """

    unlisted: Array
    unlisted_forced: Array

    def node_columns(self) -> dict[str, Array]:
        """Return the columns of the expanded nodes in evidence, (Q,) each."""
        return {"unlisted": self.unlisted, "unlisted_forced": self.unlisted_forced}

    def top_columns(self) -> dict[str, Array]:
        """Return the columns of the greedy nodes in evidence, (G, K) each."""
        return {"top_ids": self.top_ids, "top_logp": self.top_logits}


class SparseSummarizer:
    """Asks a sparse model about the nodes of a wave, and summarizes its answers.

    `unlisted` says how probability that is not listed is bounded: by the whole of it
    (``rest``), by the last of the likeliest tokens (``cap``), or by asking for every
    token that the grammar could go on with (``ids``), whose probabilities are then as
    exact as from logits. ``auto`` is ``ids`` where the model can be asked, else
    ``cap``. In the first two, a model that can be asked is asked for the forced tokens
    that are not among the likeliest, and where the cap leaves more than `_WIDE` open,
    for every token as with ``ids``.
    """

    def __init__(self, model: SparseModel, unlisted: Unlisted = "auto") -> None:
        self.model = model
        if unlisted == "auto":
            unlisted = "ids" if model.max_ids else "cap"
        assert unlisted != "ids" or model.max_ids, "the model cannot look tokens up"
        self.unlisted: Unlisted = unlisted
        self._wanted: dict[tuple[Vocabulary, int], WantedTokens] = {}

    def __call__(
        self, logits: UnreadRows, query: LogitQuery, vocabulary: Vocabulary
    ) -> SparseSummary:
        """Summarize the next tokens after contexts."""
        capped = self.unlisted != "rest"
        answers = self._ask(logits.contexts, query, vocabulary)
        summary = _summarize(answers, query, vocabulary, capped=capped)
        if self.unlisted != "cap" or not self.model.max_ids:
            return summary
        rows = np.nonzero(summary.unlisted > _WIDE)[0]
        if not len(rows):
            return summary
        by_id = self._look_up(logits.contexts, rows, query, vocabulary)
        return _summarize(answers.and_also(by_id), query, vocabulary, capped=True)

    def _look_up(
        self,
        contexts: Sequence[Sequence[int]],
        rows: Array,
        query: LogitQuery,
        vocabulary: Vocabulary,
    ) -> _Answers:
        """Ask for the tokens that go on after the contexts `rows`."""
        states = query.state[rows].tolist()
        ids = [self._wanted_in(vocabulary, state).ids for state in states]
        listed = self.model.look_up([contexts[row] for row in rows.tolist()], ids)
        return _Answers.of(listed, rows, len(vocabulary), len(contexts))

    def _ask(
        self,
        contexts: Sequence[Sequence[int]],
        query: LogitQuery,
        vocabulary: Vocabulary,
    ) -> _Answers:
        width = len(vocabulary)
        if self.unlisted == "ids":
            wanted = [self._wanted_in(vocabulary, s) for s in query.state.tolist()]
            everywhere = np.arange(len(contexts))
            answers = self._look_up(contexts, everywhere, query, vocabulary)
            # The likeliest tokens are what greedy verdicts are, and the cap of states
            # that could go on with more tokens than one question may hold.
            partial = np.array([not tokens.complete for tokens in wanted], dtype=bool)
            rows = np.nonzero(query.greedy | partial)[0]
            top = [contexts[row] for row in rows.tolist()]
            if top:
                answers = answers.and_also(
                    _Answers.of(self.model.top_tokens(top), rows, width, len(contexts))
                )
        else:
            top_tokens = self.model.top_tokens(contexts)
            answers = _Answers.of(top_tokens, np.arange(len(contexts)), width)
        return self._with_forced(answers, contexts, query)

    def _with_forced(
        self,
        answers: _Answers,
        contexts: Sequence[Sequence[int]],
        query: LogitQuery,
    ) -> _Answers:
        """Ask for the forced tokens that no answer holds, if that is possible."""
        keys = query.forced_node * answers.width + query.forced_token
        missing = ~np.isin(keys, answers.keys)
        if not self.model.max_ids or not missing.any():
            return answers
        rows, tokens = query.forced_node[missing], query.forced_token[missing]
        asked: list[list[int]] = []
        at: list[int] = []
        for row in np.unique(rows).tolist():
            of_row = tokens[rows == row].tolist()
            for start in range(0, len(of_row), self.model.max_ids):
                at.append(row)
                asked.append(of_row[start : start + self.model.max_ids])
        listed = self.model.look_up([contexts[row] for row in at], asked)
        more = _Answers.of(listed, np.array(at), answers.width, len(contexts))
        return answers.and_also(more)

    def _wanted_in(self, vocabulary: Vocabulary, state: int) -> WantedTokens:
        key = (vocabulary, state)
        if key not in self._wanted:
            self._wanted[key] = WantedTokens.of(vocabulary, state, self.model.max_ids)
        return self._wanted[key]


class WantedTokens(NamedTuple):
    """The tokens with which a verdict could go on or end in a state of the grammar.

    They are `complete` if one question may hold them all.
    """

    ids: tuple[int, ...]
    complete: bool

    @classmethod
    def of(cls, vocabulary: Vocabulary, state: int, most: int) -> Self:
        """Return the tokens of a state, the more telling first if there are too many.

        Of those that go on, what can still be read counts first: a run of digits that
        is no label is as good as over.
        """
        transitions = vocabulary.transitions(state)
        ends = np.nonzero(vocabulary.eos)[0]
        going_on = np.nonzero(transitions.kind != STOP)[0]
        dead = ~vocabulary.automaton.open[transitions.next_state[going_on]]
        going_on = going_on[np.argsort(dead, kind="stable")]
        ids = [*ends.tolist(), *going_on.tolist()]
        return cls(tuple(ids[:most]), len(ids) <= most)


class _Answers(NamedTuple):
    """All that is listed after Q contexts: M tokens, sorted by row and id, each once.

    `keys` (M,) are row * `width` + id, `logp` (M,) their log-probabilities;
    `max_unlisted` (Q,) is as in `ListedTokens`, and `known` (Q,) says whether there are
    numbers at all. `n_top` (Q,) is as in `ListedTokens`, `_ALL` where K are listed.
    """

    keys: Array
    logp: Array
    max_unlisted: Array
    known: Array
    width: int
    n_top: Array

    @classmethod
    def of(
        cls, listed: ListedTokens, rows: Array, width: int, count: int | None = None
    ) -> Self:
        """Return the answer about the contexts `rows` (n,) of `count` (default: n)."""
        count = len(rows) if count is None else count
        valid = listed.ids >= 0
        assert (listed.ids < width).all(), "a token that the vocabulary does not have"
        keys = (rows[:, None] * width + listed.ids)[valid]
        keys, first = np.unique(keys, return_index=True)
        logp = listed.logp[valid][first]
        known = np.ones(count, dtype=bool)
        known[keys[np.isnan(logp)] // width] = False
        known[rows[~valid.any(axis=1)]] = False
        max_unlisted = np.zeros(count)
        np.minimum.at(max_unlisted, rows, np.nan_to_num(listed.max_unlisted, nan=0.0))
        n_top = np.full(count, _ALL)
        if listed.n_top is not None:
            n_top[rows] = listed.n_top
        return cls(keys, logp, max_unlisted, known, width, n_top)

    def and_also(self, other: Self) -> Self:
        """Return this with what another answer adds; of both, this one counts."""
        keys = np.concatenate([self.keys, other.keys])
        logp = np.concatenate([self.logp, other.logp])
        keys, first = np.unique(keys, return_index=True)
        return self._replace(
            keys=keys,
            logp=logp[first],
            max_unlisted=np.minimum(self.max_unlisted, other.max_unlisted),
            known=self.known & other.known,
            n_top=np.minimum(self.n_top, other.n_top),
        )

    def of_sum_one(self, count: int) -> Self:
        """Return the answers of Q = `count` rows, whose probabilities exceed 1 no more.

        Engines round them, and a bound that takes them as they are would leave [0, 1].
        Rows that sum to less stay as they are: the rest was not listed.
        """
        row = self.keys // self.width
        sums = np.bincount(row, weights=np.exp(self.logp), minlength=count)
        excess = np.log(np.where(sums > 1 + _FLOAT64, sums, 1.0))
        if not excess.any():
            return self
        return self._replace(logp=self.logp - excess[row])

    def find(self, keys: Array) -> tuple[Array, Array]:
        """Return the places of `keys`, and whether each is there."""
        place = np.searchsorted(self.keys, keys)
        place = np.minimum(place, max(0, len(self.keys) - 1))
        return place, np.isin(keys, self.keys)


def _summarize(
    answers: _Answers, query: LogitQuery, vocabulary: Vocabulary, *, capped: bool
) -> SparseSummary:
    count, width = len(query.state), answers.width
    answers = answers.of_sum_one(count)
    row, token = np.divmod(answers.keys, width)
    p = np.exp(answers.logp)
    kind, sizes = _kinds(query.state, row, token, vocabulary)
    sums: Array = np.bincount(row * 3 + kind, weights=p, minlength=3 * count)
    masses = sums.reshape(count, 3)
    # Rounding can leave a little less than nothing.
    left = np.clip(1.0 - masses.sum(axis=1), 0.0, None)
    unlisted, closing = left.copy(), np.zeros(count)
    if capped:
        known = np.bincount(row * 3 + kind, minlength=3 * count).reshape(count, 3)
        most = (sizes - known) * np.exp(answers.max_unlisted)[:, None]
        unlisted = np.minimum(left, most[:, OTHER])
        closing = np.minimum(left - unlisted, most[:, CLOSED])
    masses[:, OTHER] += unlisted
    masses[:, CLOSED] += closing
    masses[:, STOP] += left - unlisted - closing
    invalid = ~answers.known
    greedy = query.greedy & ~invalid
    argmax, top_ids, top_logp = _largest(answers, row, token, greedy, query.top_k)
    places, missing = _listed(answers, query, vocabulary, argmax, invalid, kind)
    return SparseSummary(
        log_norm=np.zeros(count),
        entropy=np.zeros(count),
        kind_masses=masses,
        argmax=argmax,
        invalid=invalid,
        node=row[places],
        token=token[places],
        logp=answers.logp[places],
        top_ids=top_ids,
        top_logits=top_logp,
        unlisted=unlisted,
        unlisted_forced=missing,
    )


def _kinds(
    states: Array, row: Array, token: Array, vocabulary: Vocabulary
) -> tuple[Array, Array]:
    """Return the kind of each listed token (M,), and how many of each are in a row."""
    kind = np.zeros(len(row), dtype=np.int64)
    sizes = np.zeros((len(states), 3), dtype=np.int64)
    for state in np.unique(states).tolist():
        kinds = vocabulary.transitions(state).kind
        sizes[states == state] = np.bincount(kinds, minlength=3)
        in_state = states[row] == state
        kind[in_state] = kinds[token[in_state]]
    return kind, sizes


def _largest(
    answers: _Answers, row: Array, token: Array, greedy: Array, top_k: int
) -> tuple[Array, Array, Array]:
    """Return the likeliest token of greedy rows (Q,), -1 of others, and the top K.

    Ids and log-probabilities of these are (G, K), -1 and NaN of those that were not
    listed; of equals the lowest id comes first.
    """
    order = np.lexsort((token, -answers.logp, row))
    rows = np.nonzero(greedy)[0]
    begins, ends = (
        np.searchsorted(row[order], rows, side=side) for side in ("left", "right")
    )
    # where fewer are listed, nobody knows which are the next ones
    count = np.minimum(ends - begins, answers.n_top[rows])[:, None]
    within = np.arange(top_k) < count
    places = np.minimum(begins[:, None] + np.arange(top_k), len(order) - 1)
    best = order[places] if len(rows) else np.empty((0, top_k), dtype=np.int64)
    argmax = np.full(len(greedy), -1, dtype=np.int64)
    argmax[greedy] = token[best[:, 0]]
    return (
        argmax,
        np.where(within, token[best], -1),
        np.where(within, answers.logp[best], np.nan),
    )


def _listed(
    answers: _Answers,
    query: LogitQuery,
    vocabulary: Vocabulary,
    argmax: Array,
    invalid: Array,
    kind: Array,
) -> tuple[Array, Array]:
    """Return the places of the tokens that become nodes, and (Q,) those missed.

    They are the likely ones, the greedy and the forced; of the tokens that stop a
    verdict, EOS alone, as from logits.
    """
    row, token = np.divmod(answers.keys, answers.width)
    p = np.exp(answers.logp)
    chosen = ((kind != STOP) | vocabulary.eos[token]) & (p > 0)
    chosen &= p >= query.min_probability[row]
    chosen |= token == argmax[row]
    keys = query.forced_node * answers.width + query.forced_token
    place, found = answers.find(keys)
    chosen[place[found]] = True
    missing = np.bincount(query.forced_node[~found], minlength=len(query.state))
    return np.nonzero(chosen & ~invalid[row])[0], missing
