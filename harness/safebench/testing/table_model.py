"""A language model that is a table: exact, instant and free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Array = np.ndarray[Any, np.dtype[Any]]
    Table = Mapping[tuple[int, ...], Sequence[float]]


class TableModel:
    """A `NextTokenModel` whose next-token probabilities are looked up.

    A table maps the token ids said so far to probabilities (V,). The last id of a
    prompt chooses its table. Where a table says nothing, all tokens are equally likely.
    """

    def __init__(
        self, pieces: Sequence[bytes], eos: int, tables: Sequence[Table]
    ) -> None:
        self.pieces: Sequence[bytes] = pieces
        self.eos = frozenset({eos})
        self.forward_calls = 0
        self._tables = tables

    def open(self, prompts: Sequence[Sequence[int]]) -> TableSession:
        """Start sessions for prompts, each a list whose last id chooses a table."""
        self.forward_calls += 1
        return TableSession(self, [self._tables[prompt[-1]] for prompt in prompts])

    def open_drafted(
        self, prompts: Sequence[Sequence[int]], parents: Array, tokens: Array
    ) -> TableSession:
        """Start a session, and a static tree of nodes after each prompt."""
        session = self.open(prompts)
        session.draft(parents, tokens)
        return session


class TableSession:
    """The `TreeSession` of a `TableModel`."""

    def __init__(self, model: TableModel, tables: Sequence[Table]) -> None:
        self._model = model
        self._tables = tables
        self._said: list[tuple[int, ...]] = []
        self.dropped: set[int] = set()

    def draft(self, parents: Array, tokens: Array) -> None:
        """Say the nodes of a static tree after each prompt."""
        for _ in self._tables:
            first = len(self._said)
            for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True):
                above = self._said[first + parent] if parent >= 0 else ()
                self._said.append((*above, token))

    def drafted(self) -> Array:
        """Return the logits at the static tree's nodes, (B, n, V)."""
        batch = len(self._tables)
        size = len(self._said) // batch
        nodes = [(i // size, said) for i, said in enumerate(self._said)]
        return self._logits(nodes).reshape(batch, size, -1)

    def roots(self) -> Array:
        """Return the logits after each prompt, (B, V)."""
        return self._logits([(row, ()) for row in range(len(self._tables))])

    def expand(self, rows: Array, parents: Array, tokens: Array) -> Array:
        """Return the logits after new nodes, (Q, V)."""
        assert (np.diff(rows) >= 0).all(), f"rows not ascending: {rows}"
        assert not self.dropped.intersection(rows.tolist()), "a dropped prompt is asked"
        self._model.forward_calls += 1
        new = []
        for row, parent, token in zip(rows, parents, tokens, strict=True):
            said = self._said[parent] if parent >= 0 else ()
            new.append((int(row), (*said, int(token))))
        self._said += [said for _, said in new]
        return self._logits(new)

    def drop(self, rows: Array) -> None:
        """Remember that the prompts `rows` are finished."""
        self.dropped.update(rows.tolist())

    def join(self, other: TableSession) -> None:
        """Take over the prompts of another session and the nodes of its draft."""
        self._tables = [*self._tables, *other._tables]
        self._said += other._said

    def _logits(self, asked: Sequence[tuple[int, tuple[int, ...]]]) -> Array:
        width = len(self._model.pieces)
        uniform = np.full(width, 1.0 / width)
        found = [self._tables[row].get(said, uniform) for row, said in asked]
        with np.errstate(divide="ignore"):
            return np.log(np.array(found, dtype=np.float64).reshape(-1, width))
