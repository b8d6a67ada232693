"""Forced tokens: canonical encodings that a tree holds whatever their probability.

Strategies compare all levels and all labels, the unlikely ones too. So after an opener
every level is forced, and for a level that takes labels its intro and every label; and
after the labels' common prefix on the greedy path, every label. Where one token spans
an opener and a level, they are forced from the opener before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .grammar import spellings
from .vocabulary import prefix_token_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    from .vocabulary import Vocabulary

NO_CONTINUATION = -1
AFTER_OPENER, AFTER_LABEL_PREFIX = 0, 1  # the nodes from which all others descend


class ForcedContinuations:
    """A trie of token sequences; a continuation is a node of it.

    A tree node with a continuation gets the children that the trie has there. At a
    leaf nothing more is forced, but the tree node is still expanded.
    `state_continuations` (S,) is the continuation of a tree node in each state of the
    automaton: NO_CONTINUATION where no level may start.
    """

    def __init__(self, vocabulary: Vocabulary, *, enabled: bool = True) -> None:
        grammar = vocabulary.automaton.grammar
        self.enabled = enabled and grammar.mode == "strict"
        self._children: list[dict[int, int]] = [{}, {}]
        self.state_continuations = np.full(
            len(vocabulary.automaton.allows_level), NO_CONTINUATION
        )
        if self.enabled:
            self._build(vocabulary)
        counts = [len(children) for children in self._children]
        # The trie as flat arrays: `forced_children` follows many nodes at once.
        self._count = np.array(counts)
        self._first = np.concatenate(([0], np.cumsum(counts)[:-1]))
        pairs = [pair for children in self._children for pair in children.items()]
        table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        self._token, self._next = table[:, 0], table[:, 1]

    def forced_children(self, continuations: Array) -> tuple[Array, Array, Array]:
        """Return (node, token, continuation) of the children that nodes must get.

        `continuations` (Q,) are those of the nodes, `node` counts among them.
        """
        node = np.nonzero(continuations != NO_CONTINUATION)[0]
        count = self._count[continuations[node]]
        first = self._first[continuations[node]] - (np.cumsum(count) - count)
        child = np.arange(count.sum()) + np.repeat(first, count)
        return np.repeat(node, count), self._token[child], self._next[child]

    def subtree(self, continuation: int = AFTER_OPENER) -> tuple[Array, Array]:
        """Return the parents (-1: the top) and tokens (n,) below a continuation."""
        nodes, parents, tokens = [continuation], [], []
        for number, node in enumerate(nodes):
            for token, child in self._children[node].items():
                nodes.append(child)
                parents.append(number - 1)
                tokens.append(token)
        return np.array(parents, dtype=np.int64), np.array(tokens, dtype=np.int64)

    def _build(self, vocabulary: Vocabulary) -> None:
        automaton = vocabulary.automaton
        encodings = [
            vocabulary.encode(level.surface_form) for level in automaton.grammar.levels
        ]
        for level, tokens in enumerate(encodings):
            self._add_level(AFTER_OPENER, vocabulary, level, tokens)
        self.state_continuations[automaton.allows_level] = AFTER_OPENER
        for spanning in vocabulary.spanning_tokens:
            state = automaton.state_after(spanning.preceding_opener)
            node = int(self.state_continuations[state])
            if node in (NO_CONTINUATION, AFTER_OPENER):  # those are shared: not changed
                node = self.state_continuations[state] = self._copy(node)
            self._add_level(node, vocabulary, spanning.level, spanning.tokens)
        grammar = automaton.grammar
        for texts in spellings(grammar.label_lists[0]):
            for text in dict.fromkeys([texts[0], *_other_blanks(texts)]):
                self._add(AFTER_LABEL_PREFIX, _tokens_after_prefix(vocabulary, text))

    def _add_level(
        self, node: int, vocabulary: Vocabulary, level: int, tokens: Sequence[int]
    ) -> None:
        grammar = vocabulary.automaton.grammar
        self._add(node, tokens)
        if grammar.levels[level].takes_labels:
            for label in grammar.labels:
                after = vocabulary.encode(grammar.intro + label)
                self._add(node, [*tokens, *after])

    def _copy(self, continuation: int) -> int:
        """Return a copy of what a continuation forces, to which more can be added."""
        number = len(self._children)
        self._children.append({})
        if continuation != NO_CONTINUATION:
            for token, child in self._children[continuation].items():
                self._children[number][token] = self._copy(child)
        return number

    def _add(self, node: int, tokens: Sequence[int]) -> None:
        for token in tokens:
            if token not in self._children[node]:
                self._children[node][token] = len(self._children)
                self._children.append({})
            node = self._children[node][token]


def _other_blanks(texts: Sequence[str]) -> list[str]:
    """Return the spellings of a label that differ in the space before it alone."""
    return [text for text in texts[1:] if text.strip() == texts[0].strip()]


def _tokens_after_prefix(vocabulary: Vocabulary, label: str) -> Sequence[int]:
    """Return a label's tokens after the common prefix; () if a token spans its end."""
    prefix = vocabulary.automaton.grammar.label_prefix
    tokens = vocabulary.encode(label)
    count = prefix_token_count(vocabulary.token_bytes, tokens, prefix.encode())
    return tokens[count:] if count is not None else ()
