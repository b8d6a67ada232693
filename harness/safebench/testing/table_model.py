"""A language model that is a table: exact and instant, for tests of verdict trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.typing import Array

    Table = Mapping[tuple[int, ...], Sequence[float]]


class TableModel:
    """A `NextTokenModel` whose next-token probabilities are looked up.

    A table maps the token ids so far to probabilities (V,). The last id of a prompt
    selects its table. Where a table has no entry, all tokens are equally likely.
    """

    def __init__(
        self, token_bytes: Sequence[bytes], eos: int, tables: Sequence[Table]
    ) -> None:
        self.token_bytes: Sequence[bytes] = token_bytes
        self.eos = frozenset({eos})
        self.forward_calls = 0
        self._tables = tables

    def open(self, prompts: Sequence[Sequence[int]]) -> TableSession:
        """Return a session for prompts, each a list whose last id selects a table."""
        self.forward_calls += 1
        return TableSession(self, [self._tables[prompt[-1]] for prompt in prompts])

    def open_with_draft(
        self, prompts: Sequence[Sequence[int]], parents: Array, tokens: Array
    ) -> TableSession:
        """Return a session with a static tree of nodes after each prompt."""
        session = self.open(prompts)
        session.add_draft(parents, tokens)
        return session


class TableSession:
    """The `TreeSession` of a `TableModel`."""

    def __init__(self, model: TableModel, tables: Sequence[Table]) -> None:
        self._model = model
        self._tables = tables
        self._prefixes: list[tuple[int, ...]] = []
        self.dropped: set[int] = set()

    def add_draft(self, parents: Array, tokens: Array) -> None:
        """Add the nodes of a static tree after each prompt."""
        for _ in self._tables:
            first = len(self._prefixes)
            for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True):
                prefix = self._prefixes[first + parent] if parent >= 0 else ()
                self._prefixes.append((*prefix, token))

    def draft_logits(self) -> Array:
        """Return the logits at the static tree's nodes, (B, n, V)."""
        batch = len(self._tables)
        size = len(self._prefixes) // batch
        nodes = [(i // size, prefix) for i, prefix in enumerate(self._prefixes)]
        return self._logits(nodes).reshape(batch, size, -1)

    def root_logits(self) -> Array:
        """Return the logits after each prompt, (B, V)."""
        return self._logits([(row, ()) for row in range(len(self._tables))])

    def expand(self, rows: Array, parents: Array, tokens: Array) -> Array:
        """Return the logits after new nodes, (Q, V)."""
        # The protocol promises it, and sessions of real models rely on it; a table
        # would answer in any order.
        assert (np.diff(rows) >= 0).all(), f"rows not ascending: {rows}"
        assert not self.dropped.intersection(rows.tolist()), (
            "a dropped prompt is expanded"
        )
        self._model.forward_calls += 1
        nodes = []
        for row, parent, token in zip(rows, parents, tokens, strict=True):
            prefix = self._prefixes[parent] if parent >= 0 else ()
            nodes.append((int(row), (*prefix, int(token))))
        self._prefixes += [prefix for _, prefix in nodes]
        return self._logits(nodes)

    def drop(self, rows: Array) -> None:
        """Note the prompts `rows` as dropped: `expand` refuses them from now on."""
        self.dropped.update(rows.tolist())

    def join(self, other: TableSession) -> None:
        """Take over the prompts of another session and the nodes of its draft."""
        self._tables = [*self._tables, *other._tables]
        self._prefixes += other._prefixes

    def logits_after(self, nodes: Sequence[tuple[int, tuple[int, ...]]]) -> Array:
        """Return the logits (n, V) after nodes: the row of a prompt, and its tokens."""
        return self._logits(nodes)

    def _logits(self, nodes: Sequence[tuple[int, tuple[int, ...]]]) -> Array:
        width = len(self._model.token_bytes)
        uniform = np.full(width, 1.0 / width)
        rows = [self._tables[row].get(prefix, uniform) for row, prefix in nodes]
        # -inf is the logit of what cannot follow, and no mistake.
        with np.errstate(divide="ignore"):
            return np.log(np.array(rows, dtype=np.float64).reshape(-1, width))


def model_from_texts(
    token_texts: Sequence[str], *probabilities: Mapping[str, float]
) -> TableModel:
    """Return a model that writes texts with given probabilities, a mapping a prompt.

    A text is given as its tokens, joined by ``|``. EOS, the id after the last token of
    `token_texts`, follows unless the text ends with ``|``.
    """
    ids = {text: i for i, text in enumerate(token_texts)}
    eos = len(token_texts)
    tables = []
    for texts in probabilities:
        # The probability of a prefix is that of all texts which begin with it.
        mass: dict[tuple[int, ...], float] = {}
        for text, probability in texts.items():
            tokens = [ids[part] for part in text.split("|") if part]
            tokens += [] if text.endswith("|") and text else [eos]
            for end in range(len(tokens) + 1):
                prefix = tuple(tokens[:end])
                mass[prefix] = mass.get(prefix, 0.0) + probability
        # What a model gives next is the mass of the longer prefix by that of the
        # shorter.
        table = {
            prefix: [mass.get((*prefix, t), 0.0) / total for t in range(eos + 1)]
            for prefix, total in mass.items()
        }
        # Nothing follows a text that ends without EOS: with no entry, all tokens are
        # equally likely there.
        tables.append({prefix: row for prefix, row in table.items() if any(row)})
    return TableModel([*(text.encode() for text in token_texts), b""], eos, tables)
