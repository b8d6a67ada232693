"""The draft: canonical spellings that are run along with the prompt, just in case.

One forward pass then gives every level and every first label. That is sound: a draft
node is used only where the tree asks for it, with its own probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from safebench.errors import OptionError

if TYPE_CHECKING:
    from .scripts import Scripts
    from .vocabulary import Vocabulary

    Array = np.ndarray[Any, np.dtype[Any]]


class Draft:
    """A static tree of n nodes: `parents` (n,) come first, -1 is the prompt's end."""

    def __init__(self, parents: Array, tokens: Array) -> None:
        self.parents = parents
        self.tokens = tokens
        self._width = 1 + int(tokens.max(initial=0))
        self._keys = (parents + 1) * self._width + tokens
        self._order = np.argsort(self._keys)

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def under(
        cls, opener: str, vocabulary: Vocabulary, scripts: Scripts
    ) -> Self | None:
        """Return the draft of what scripts force at the root and after an opener.

        None where the opener is spelled otherwise, or not at all, before a level.
        """
        levels = vocabulary.automaton.grammar.levels
        try:
            head = list(vocabulary.spell(opener))
            whole = [list(vocabulary.spell(opener + lv.words)) for lv in levels]
        except OptionError:
            return None
        if any(tokens[: len(head)] != head for tokens in whole):
            return None
        tree = _Trie()
        if vocabulary.automaton.opener[0]:
            tree.graft(-1, *scripts.below_opener())
        end = -1
        for token in head:
            end = tree.add(end, token)
        tree.graft(end, *scripts.below_opener())
        nodes = np.array(list(tree.nodes), dtype=np.int64).reshape(-1, 2)
        return cls(nodes[:, 0], nodes[:, 1])

    def find(self, parents: Array, tokens: Array) -> Array:
        """Return the node that follows each parent with a token, or -1, (Q,)."""
        keys = (parents + 1) * self._width + tokens
        at = np.searchsorted(self._keys, keys, sorter=self._order)
        found = self._order[np.minimum(at, len(self) - 1)]
        same = (self._keys[found] == keys) & (tokens < self._width)
        return np.where(same, found, -1)


class _Trie:
    """Nodes (parent, token), each once, parents first."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], int] = {}

    def add(self, parent: int, token: int) -> int:
        """Return the number of a node, new or known."""
        return self.nodes.setdefault((parent, token), len(self.nodes))

    def graft(self, place: int, parents: Array, tokens: Array) -> None:
        """Add a tree below the node `place`; its own roots have the parent -1."""
        number: list[int] = []
        for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True):
            number.append(self.add(number[parent] if parent >= 0 else place, token))


class _Block(NamedTuple):
    """A draft as it was run after B prompts from `row` on; `logits` are (B, n, V).

    Node j of the i-th of them has the handle ``first + i * n + j``.
    """

    row: int
    first: int
    logits: Array


class Drafted:
    """A draft as it was run after each prompt, a block for every time it was run."""

    def __init__(self, draft: Draft, logits: Array) -> None:
        self._draft = draft
        self._blocks: list[_Block] = [_Block(0, 0, logits)]
        self._live = np.array([len(logits)])  # prompts of each block not yet dropped
        self._rows = len(logits)

    @property
    def size(self) -> int:
        """How many nodes were run."""
        return self._rows * len(self._draft)

    def join(self, other: Drafted, first: int) -> None:
        """Take over a draft that was run once; its nodes have handles from `first`."""
        (block,) = other._blocks
        self._blocks.append(_Block(self._rows, first, block.logits))
        self._live = np.concatenate([self._live, other._live])
        self._rows += other._rows

    def drop(self, rows: Array) -> None:
        """Forget the logits of blocks whose prompts are all dropped."""
        gone = np.bincount(self._place(rows), minlength=len(self._blocks))
        self._live = self._live - gone
        for number in np.nonzero((gone > 0) & (self._live == 0))[0]:
            block = self._blocks[number]
            self._blocks[number] = block._replace(logits=block.logits[:0])

    def find(self, parents: Array, tokens: Array) -> Array:
        """Return the draft's node that follows each handle with a token, or -1."""
        firsts = np.array([block.first for block in self._blocks])
        sizes = np.diff([block.row for block in self._blocks], append=self._rows)
        place = np.searchsorted(firsts, parents, side="right") - 1
        within = parents - firsts[place]
        inside = (parents < 0) | (within < sizes[place] * len(self._draft))
        above = np.where(parents < 0, -1, within % len(self._draft))
        return np.where(inside, self._draft.find(above, tokens), -1)

    def read(self, rows: Array, nodes: Array) -> tuple[Array, Array]:
        """Return logits (Q, V) and handles; without meaning where a node is -1."""
        place = self._place(rows)
        parts = [(b, self._blocks[b]) for b in np.unique(place).tolist()]
        within = rows - np.array([block.row for block in self._blocks])[place]
        firsts = np.array([block.first for block in self._blocks])[place]
        handles = firsts + within * len(self._draft) + nodes
        (_, only), *others = parts
        if not others:
            return only.logits[within, nodes], handles
        logits = only.logits[np.zeros_like(rows), nodes]
        for number, block in parts:
            mine = place == number
            logits[mine] = block.logits[within[mine], nodes[mine]]
        return logits, handles

    def _place(self, rows: Array) -> Array:
        firsts = [block.row for block in self._blocks]
        found: Array = np.searchsorted(firsts, rows, side="right") - 1
        return found
