"""Forced nodes: canonical spellings that are read whatever their probability.

Under an opener: every level, and for a level that takes labels its intro and every
label; so too where a token spans an opener and a level, from the opener before it.
Where the labels' common stem has been read on the greedy path: every label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .vocabulary import align

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .vocabulary import Vocabulary

    Array = np.ndarray[Any, np.dtype[Any]]

NONE, OPENER, STEM = -1, 0, 1  # no script, and the two that others start from


class Scripts:
    """Token sequences as a trie; a script is a place in it that forces what follows.

    `follow` lists the forced children of many nodes at once. A script at its end
    forces nothing more, but its node is still expanded. `opening` (S,) is the script of
    each state of the automaton in which a level may start (NONE: in the others).
    """

    def __init__(self, vocabulary: Vocabulary, *, wanted: bool = True) -> None:
        grammar = vocabulary.automaton.grammar
        self.wanted = wanted and grammar.mode == "strict"
        self._children: list[dict[int, int]] = [{}, {}]
        self.opening = np.full(len(vocabulary.automaton.opener), NONE)
        if self.wanted:
            self._write(vocabulary)
        counts = [len(children) for children in self._children]
        self._count = np.array(counts)
        self._first = np.concatenate(([0], np.cumsum(counts)[:-1]))
        pairs = [pair for children in self._children for pair in children.items()]
        table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        self._token, self._next = table[:, 0], table[:, 1]

    def follow(self, scripts: Array) -> tuple[Array, Array, Array]:
        """Return (node, token, script) of what `scripts` (Q,) of nodes force next."""
        node = np.nonzero(scripts != NONE)[0]
        count = self._count[scripts[node]]
        first = self._first[scripts[node]] - (np.cumsum(count) - count)
        at = np.arange(count.sum()) + np.repeat(first, count)
        return np.repeat(node, count), self._token[at], self._next[at]

    def first(self, opener: bool) -> int:
        """Return the script of a root at which a level may start, or may not."""
        return int(self.opening[0]) if opener else NONE

    def below_opener(self, script: int = OPENER) -> tuple[Array, Array]:
        """Return parents (-1: the opener) and tokens (n,) of what an opener forces."""
        places, parents, tokens = [script], [], []
        for number, place in enumerate(places):
            for token, child in self._children[place].items():
                places.append(child)
                parents.append(number - 1)
                tokens.append(token)
        return np.array(parents, dtype=np.int64), np.array(tokens, dtype=np.int64)

    def _write(self, vocabulary: Vocabulary) -> None:
        table = vocabulary.automaton
        heads = [vocabulary.spell(level.words) for level in table.grammar.levels]
        for level, head in enumerate(heads):
            self._write_level(OPENER, vocabulary, level, head)
        self.opening[table.opener] = OPENER
        for one in vocabulary.spanned:
            state = table.state_after(one.start)
            if self.opening[state] in (NONE, OPENER):
                self.opening[state] = self._copied(int(self.opening[state]))
            at = int(self.opening[state])
            self._write_level(at, vocabulary, one.level, one.tokens)
        for label in table.grammar.labels:
            self._insert(STEM, _after_stem(vocabulary, label))

    def _write_level(
        self, at: int, vocabulary: Vocabulary, level: int, head: Sequence[int]
    ) -> None:
        grammar = vocabulary.automaton.grammar
        self._insert(at, head)
        if grammar.levels[level].takes_labels:
            intro = vocabulary.spell(grammar.intro)
            for label in grammar.labels:
                self._insert(at, [*head, *intro, *vocabulary.spell(label)])

    def _copied(self, script: int) -> int:
        """Return a new script that forces what `script` does; NONE forces nothing."""
        number = len(self._children)
        self._children.append({})
        for token, child in self._children[script].items() if script != NONE else ():
            self._children[number][token] = self._copied(child)
        return number

    def _insert(self, at: int, tokens: Sequence[int]) -> None:
        for token in tokens:
            if token not in self._children[at]:
                self._children[at][token] = len(self._children)
                self._children.append({})
            at = self._children[at][token]


def _after_stem(vocabulary: Vocabulary, label: str) -> Sequence[int]:
    """Return a label's tokens after the labels' common stem, none if one spans it."""
    stem = vocabulary.automaton.grammar.stem
    tokens = vocabulary.spell(label)
    read = align(vocabulary.pieces, tokens, stem.encode())
    return tokens[read:] if read is not None else ()
