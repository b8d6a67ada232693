"""A model's vocabulary bound to a grammar: what every piece does in every state."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .automaton import Automaton
    from .grammar import Level

    Array = np.ndarray[Any, np.dtype[Any]]
    Spell = Callable[[str], Sequence[int]]

# What a token does to a verdict:
STOP = 0  # ends it as if it had stopped before the token (EOS, text off the grammar)
CLOSED = 1  # closes the pending label with its first character, and goes on
OTHER = 2  # all else


class Moves(NamedTuple):
    """What each of V tokens does in one state: `kind` (V,), `next` state, `closes`.

    `masses` are the ids of the two smaller kinds: ((kind, ids), (kind, ids)), and
    `largest` is the third kind.
    """

    kind: Array
    next: Array
    closes: Array
    masses: tuple[tuple[int, Array], ...]
    largest: int


class Spanned(NamedTuple):
    """A level whose spelling after `opener` holds a token that spans the two.

    `tokens` follow what has been read up to there: `start`, another opener or "".
    """

    opener: str
    level: int
    start: str
    tokens: list[int]


class Vocabulary:
    """Token pieces read by an automaton, one state at a time and cached.

    Raises OptionError for a piece that closes two labels: a node can hold only one.
    """

    def __init__(
        self,
        automaton: Automaton,
        pieces: Sequence[bytes],
        eos: frozenset[int],
        spell: Spell | None = None,
    ) -> None:
        self.automaton = automaton
        self.pieces = pieces
        self.eos = np.zeros(len(pieces), dtype=bool)
        self.eos[sorted(eos)] = True
        self.lengths = np.array([len(piece) for piece in pieces], dtype=np.int32)
        self.lengths[self.eos] = 0
        self.starts = np.concatenate(([0], np.cumsum([len(p) for p in pieces])[:-1]))
        raw = np.frombuffer(b"".join(pieces), dtype=np.uint8)
        self.text = automaton.byte_class[raw]
        self._cache: dict[int, Moves] = {}
        self._ids: dict[bytes, int] | None = None
        self._spell = spell
        self._refuse_double_labels()

    def __len__(self) -> int:
        return len(self.pieces)

    def moves(self, state: int) -> Moves:
        """Return what every token does in `state`."""
        if state not in self._cache:
            self._cache[state] = self._read(state)
        return self._cache[state]

    def budget(self) -> int:
        """Return the tokens of the longest canonical verdict, EOS included."""
        grammar = self.automaton.grammar
        longest = max(len(self.spell(opener)) for opener in grammar.openers)
        return longest + max(map(self._level_tokens, grammar.levels)) + 1

    def spell(self, text: str) -> list[int]:
        """Return the canonical tokens of a text: the tokenizer's, if they say just it.

        Else the longest pieces from the left; raises OptionError if there are none.
        """
        if self._spell is not None:
            tokens = [int(token) for token in self._spell(text)]
            if b"".join(self.pieces[token] for token in tokens) == text.encode():
                return tokens
        return self._longest_pieces(text)

    def spelled_openers(self) -> list[list[int]]:
        """Return the canonical tokens of every opener that the vocabulary can spell.

        Nothing is one, with no tokens, where a token may hold an opener and a level.
        """
        out: list[list[int]] = []
        starts = [one.start for one in self.spanned]
        for opener in dict.fromkeys([*self.automaton.grammar.openers, *starts]):
            with suppress(OptionError):
                out.append(self.spell(opener))
        return out

    @cached_property
    def spanned(self) -> list[Spanned]:
        """Return the levels that are spelled together with the end of an opener.

        As ``\u2581unsafe`` is, where a verdict may begin with a space.
        """
        grammar, out = self.automaton.grammar, []
        for opener in grammar.openers:
            for number, words in enumerate(level.words for level in grammar.levels):
                with suppress(OptionError):
                    tokens = self.spell(opener + words)
                    if align(self.pieces, tokens, opener.encode()) is None:
                        start, read = self._last_start(tokens, opener)
                        out.append(Spanned(opener, number, start, tokens[read:]))
        return out

    def _last_start(self, tokens: Sequence[int], opener: str) -> tuple[str, int]:
        """Return the longest opener that ends before a token of an `opener`, or ""."""
        found = {"": 0}
        for shorter in self.automaton.grammar.openers:
            read = align(self.pieces, tokens, shorter.encode())
            if read is not None and opener.startswith(shorter):
                found[shorter] = read
        longest = max(found, key=len)
        return longest, found[longest]

    def _level_tokens(self, level: Level) -> int:
        grammar = self.automaton.grammar
        text = level.words
        if level.takes_labels:
            text += grammar.intro + grammar.separators[0].join(grammar.labels)
        return max(len(self.spell(text + tail)) for tail in ("", *level.tails))

    def _read(self, state: int) -> Moves:
        table = self.automaton
        after, closes, first, _ = self._walk(state)
        same = table.ended[after] & (table.level[after] == table.stop_level[state])
        same &= closes == table.stop_label[state]
        special = (self.lengths == 0) & (table.grammar.mode == "strict")
        kind = np.full(len(self), OTHER, dtype=np.int8)
        kind[first & ~table.ended[after]] = CLOSED
        kind[same | special | self.eos] = STOP
        ended = table.ended_state(table.stop_level[state])
        after[kind == STOP] = ended
        closes[kind == STOP] = table.stop_label[state]
        sizes = np.bincount(kind, minlength=3)
        largest = int(sizes.argmax())
        masses = tuple((k, np.nonzero(kind == k)[0]) for k in range(3) if k != largest)
        return Moves(kind, after, closes, masses, largest)

    def _walk(self, state: int) -> tuple[Array, Array, Array, Array]:
        """Read all pieces from `state`, byte by byte.

        Returns (V,) arrays: the state after, the last label closed, whether the first
        byte closed one, and how many were closed.
        """
        table = self.automaton
        after = np.full(len(self), state, dtype=np.int16)
        closes = np.full(len(self), -1, dtype=np.int8)
        count = np.zeros(len(self), dtype=np.int16)
        first = np.zeros(len(self), dtype=bool)
        alive, at = np.nonzero(self.lengths)[0], 0
        while len(alive):
            byte = self.text[self.starts[alive] + at]
            closed = table.closes[after[alive], byte]
            after[alive] = table.next[after[alive], byte]
            labelled = alive[closed >= 0]
            closes[labelled] = closed[closed >= 0]
            count[labelled] += 1
            if at == 0:
                first[labelled] = True
            at += 1
            alive = alive[(self.lengths[alive] > at) & ~table.ended[after[alive]]]
        return after, closes, first, count

    def _refuse_double_labels(self) -> None:
        """Read every piece from every state inside the labels of one level."""
        level = self.automaton.level
        taking = level[(self.automaton.labels_below > 0) & (level >= 0)]
        for state in np.nonzero(level == taking[0])[0] if len(taking) else ():
            double = self._walk(int(state))[3] > 1
            if double.any():
                piece = self.pieces[int(double.argmax())]
                raise OptionError(f"grammar: the token {piece!r} closes two labels")

    def _longest_pieces(self, text: str) -> list[int]:
        """Spell `text` by the longest piece that fits, from the left."""
        if self._ids is None:
            known = [(p, i) for i, p in enumerate(self.pieces) if p and not self.eos[i]]
            self._ids = dict(reversed(known))  # the lowest id of a piece wins
        raw, at, out = text.encode(), 0, []
        longest = int(self.lengths.max(initial=1))
        while at < len(raw):
            ends = range(min(at + longest, len(raw)), at, -1)
            fits = next((end for end in ends if raw[at:end] in self._ids), None)
            if fits is None:
                raise OptionError(f"grammar: no token spells {text[at:]!r}")
            out.append(self._ids[raw[at:fits]])
            at = fits
        return out


def align(pieces: Sequence[bytes], tokens: Sequence[int], prefix: bytes) -> int | None:
    """Return how many of `tokens` spell exactly `prefix`, None if none do."""
    read = b""
    for count, token in enumerate([*tokens, -1]):
        if read == prefix:
            return count
        if token < 0 or len(read) > len(prefix):
            return None
        read += pieces[token]
    return None
