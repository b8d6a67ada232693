"""A `SparseModel` that hides most of what another model says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from safebench.verdict_tree.sparse_model import ListedTokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array

    from .table_model import TableModel

    NextLogits = Callable[[Sequence[Sequence[int]]], Array]


class SparseView:
    """Lists the `top_k` likeliest tokens of full distributions.

    `next_logits` returns the logits (n, V) after contexts. Up to `max_ids` tokens are
    looked up by id (0: none). `asked` keeps each call: its kind and its contexts.
    """

    def __init__(
        self,
        next_logits: NextLogits,
        token_bytes: Sequence[bytes],
        eos: frozenset[int],
        *,
        top_k: int,
        max_ids: int = 0,
    ) -> None:
        self.token_bytes: Sequence[bytes] = token_bytes
        self.eos = eos
        self.top_k = min(top_k, len(token_bytes))
        self.max_ids = max_ids
        self.forward_calls = 0
        self.asked: list[tuple[str, int]] = []
        self._next_logits = next_logits

    @classmethod
    def of_table(cls, model: TableModel, *, top_k: int, max_ids: int = 0) -> Self:
        """Return a view of a table model, whose prompts are a single id each."""

        def next_logits(contexts: Sequence[Sequence[int]]) -> Array:
            session = model.open([context[:1] for context in contexts])
            rows = [(i, tuple(context[1:])) for i, context in enumerate(contexts)]
            return session.logits_after(rows)

        return cls(
            next_logits, model.token_bytes, model.eos, top_k=top_k, max_ids=max_ids
        )

    def top_tokens(self, contexts: Sequence[Sequence[int]]) -> ListedTokens:
        """List the K likeliest tokens; of equals the lowest ids."""
        logp = self._log_probabilities("top", contexts)
        ids = np.argsort(-logp, axis=1, kind="stable")[:, : self.top_k]
        listed = np.take_along_axis(logp, ids, axis=1)
        return ListedTokens(ids=ids, logp=listed, max_unlisted=listed[:, -1])

    def look_up(
        self, contexts: Sequence[Sequence[int]], ids: Sequence[Sequence[int]]
    ) -> ListedTokens:
        """List the tokens asked for."""
        assert max(map(len, ids)) <= self.max_ids, "more ids than may be asked for"
        logp = self._log_probabilities("ids", contexts)
        rows = [
            (own, logp[row, own].tolist()) for row, own in enumerate(map(list, ids))
        ]
        return ListedTokens.from_rows(rows, [0.0] * len(rows))

    def _log_probabilities(self, kind: str, contexts: Sequence[Sequence[int]]) -> Array:
        self.forward_calls += 1
        self.asked.append((kind, len(contexts)))
        logits = np.asarray(self._next_logits(contexts), dtype=np.float64)
        with np.errstate(invalid="ignore"):
            shifted = logits - logits.max(axis=1, keepdims=True)
            logp: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return logp
