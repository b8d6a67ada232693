"""Models that list a few next tokens with their log-probabilities, and no more.

A served model does not hand out its logits. `SparseModel` is what an engine has to
offer instead; `SparseTreeModel` makes it a model whose verdicts can be explored, with
`sparse_logits.SparseSummarizer` in place of the one that reads logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListedTokens:
    """What is known of the next token after n contexts.

    `ids` (n, W) are token ids, each at most once a row; -1 fills up rows that list
    fewer than W. `logp` (n, W) are natural logarithms of their probabilities among the
    whole vocabulary at temperature 1, as the model gave them: none is renormalised.
    -inf is a probability of 0, and NaN marks a row that the model has no numbers for.
    No token that is not listed has a log-probability above `max_unlisted` (n,): that
    of the K-th of K likeliest tokens, 0 where nothing is known. `n_top` (n,) is how
    many of the likeliest tokens a row is sure to hold where an engine could not list K
    of them (None: K); the likeliest of all is always there.
    """

    ids: Array
    logp: Array
    max_unlisted: Array
    n_top: Array | None = None

    def __post_init__(self) -> None:
        count, width = self.ids.shape
        # An engine that answers out of step would give probabilities of other prompts.
        assert self.logp.shape == (count, width), (
            f"{self.logp.shape}, not {count, width}"
        )
        assert self.max_unlisted.shape == (count,), f"{self.max_unlisted.shape}"

    @classmethod
    def from_rows(
        cls,
        rows: Sequence[tuple[Sequence[int], Sequence[float]]],
        max_unlisted: Sequence[float],
    ) -> Self:
        """Return the ids and log-probabilities of rows of different lengths."""
        width = max((len(ids) for ids, _ in rows), default=0)
        all_ids = np.full((len(rows), width), -1, dtype=np.int64)
        all_logp = np.full((len(rows), width), -np.inf)
        for row, (ids, logp) in enumerate(rows):
            all_ids[row, : len(ids)] = ids
            all_logp[row, : len(logp)] = logp
        return cls(
            ids=all_ids,
            logp=all_logp,
            max_unlisted=np.array(max_unlisted, dtype=np.float64),
        )


class SparseModel(Protocol):
    """A language model that lists next tokens after token ids.

    The two kinds of question are never asked at the same time: a call returns when all
    its answers are there. A whole level of a batch of trees is one call.
    """

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """The bytes of every token, (V,), as of a `NextTokenModel`."""

    @property
    def eos(self) -> frozenset[int]:
        """The ids of the tokens that end a verdict."""

    @property
    def forward_calls(self) -> int:
        """How many calls have been answered so far."""

    @property
    def top_k(self) -> int:
        """How many of the likeliest tokens are listed (K)."""

    @property
    def max_ids(self) -> int:
        """How many tokens one context can be asked for by id; 0: none can be."""

    def top_tokens(self, contexts: Sequence[Sequence[int]]) -> ListedTokens:
        """List the K likeliest tokens after each context, or more."""

    def look_up(
        self, contexts: Sequence[Sequence[int]], ids: Sequence[Sequence[int]]
    ) -> ListedTokens:
        """List at least the tokens ``ids[i]`` after each ``contexts[i]``.

        There are at most `max_ids` of them. Contexts in one state of the grammar share
        one list, the same object, so that they can be asked for together.
        """


class UnreadRows(NamedTuple):
    """Contexts in place of their logits (Q, V): nothing has been asked about them.

    What must be known of a row depends on the grammar's state there, which a session
    does not see. So the summarizer asks.
    """

    contexts: list[list[int]]
    shape: tuple[int, int]


class SparseSession:
    """A `TreeSession` that only remembers which tokens lead to a node.

    In place of logits it returns `UnreadRows`, for a summarizer that knows them.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], width: int) -> None:
        self._prompts = [list(prompt) for prompt in prompts]
        self._width = width
        self._paths: list[tuple[int, ...]] = []

    def root_logits(self) -> Any:
        """Return the contexts of the roots, (B, V)."""
        return self._unread([*self._prompts])

    def expand(self, rows: Array, parents: Array, tokens: Array) -> Any:
        """Return the contexts of new nodes, (Q, V)."""
        contexts = []
        for row, parent, token in zip(
            rows.tolist(), parents.tolist(), tokens.tolist(), strict=True
        ):
            path = (*(self._paths[parent] if parent >= 0 else ()), token)
            self._paths.append(path)
            contexts.append([*self._prompts[row], *path])
        return self._unread(contexts)

    def drop(self, rows: Array) -> None:
        """Forget the prompts `rows`."""
        for row in rows.tolist():
            self._prompts[row] = []

    def join(self, other: Self) -> None:
        """Take over the prompts of another session, of which nothing is expanded."""
        self._prompts += other._prompts

    def _unread(self, contexts: list[list[int]]) -> UnreadRows:
        return UnreadRows(contexts, (len(contexts), self._width))


class SparseTreeModel:
    """A `SparseModel` behind the protocol of models whose verdicts can be explored."""

    def __init__(self, model: SparseModel) -> None:
        self.model = model

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """The bytes of every token, (V,)."""
        return self.model.token_bytes

    @property
    def eos(self) -> frozenset[int]:
        """The ids of the tokens that end a verdict."""
        return self.model.eos

    @property
    def forward_calls(self) -> int:
        """How many calls have been answered so far."""
        return self.model.forward_calls

    def open(self, prompts: Sequence[Sequence[int]]) -> SparseSession:
        """Return a session of prompts; the model is not asked yet."""
        return SparseSession(prompts, len(self.token_bytes))
