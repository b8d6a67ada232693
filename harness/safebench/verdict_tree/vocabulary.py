"""A tokenizer's vocabulary bound to a grammar: what each token does in each state."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from safebench.errors import OptionError

from .automaton import compile_grammar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array

    from .automaton import Automaton
    from .grammar import Grammar, Level
    from .model import NextTokenModel

    Encode = Callable[[str], Sequence[int]]

# What a token does to a verdict.
STOP = 0  # EOS, or text off the grammar: the verdict is what it was before the token
CLOSED = 1  # its first byte completes the pending label, and the verdict goes on
OTHER = 2  # anything else


class TokenTransitions(NamedTuple):
    """What each of V tokens does in one state, (V,) arrays.

    `kind` is STOP, CLOSED or OTHER, and `closed_label` the label that the token
    completes (-1: none). `smaller_kinds` are the token ids of the two rarer kinds,
    ((kind, ids), (kind, ids)), and `largest_kind` is the third: its probability is
    what the others leave of 1, which saves most of a sum over the vocabulary.
    """

    kind: Array
    next_state: Array
    closed_label: Array
    smaller_kinds: tuple[tuple[int, Array], ...]
    largest_kind: int


class SpanningToken(NamedTuple):
    """A level that is encoded together with the end of the opener before it.

    `level` is its number. `tokens` encode the rest of opener and level after
    `preceding_opener`, the longest opener (or "") that ends between two tokens.
    """

    opener: str
    level: int
    preceding_opener: str
    tokens: list[int]


class Vocabulary:
    """The tokens of a model, read by an automaton, one state at a time and cached.

    `encode` is the tokenizer's (default: the longest tokens from the left). Raises
    OptionError for a token that completes two labels: a tree node can hold only one.
    """

    def __init__(
        self,
        automaton: Automaton,
        token_bytes: Sequence[bytes],
        eos: frozenset[int],
        encode: Encode | None = None,
    ) -> None:
        self.automaton = automaton
        self.token_bytes = token_bytes
        self.eos = np.zeros(len(token_bytes), dtype=bool)
        self.eos[sorted(eos)] = True
        self.lengths = np.array([len(text) for text in token_bytes], dtype=np.int32)
        self.lengths[self.eos] = 0  # some models give their EOS a text
        self.offsets = np.concatenate(
            ([0], np.cumsum([len(text) for text in token_bytes])[:-1])
        )
        # All tokens in one array of bytes: a state then reads the whole vocabulary by a
        # few numpy steps, and not by a hundred thousand Python ones.
        joined = np.frombuffer(b"".join(token_bytes), dtype=np.uint8)
        self.byte_classes = automaton.byte_class[joined]
        # A tree visits few of the automaton's states: they are computed when needed.
        self._cache: dict[int, TokenTransitions] = {}
        self._ids: dict[bytes, int] | None = None
        self._encode = encode
        self._check_double_labels()

    @classmethod
    def of_model(
        cls, grammar: Grammar, model: NextTokenModel, encode: Encode | None = None
    ) -> Self:
        """Return the tokens of a model, read by the automaton of a grammar."""
        return cls(compile_grammar(grammar), model.token_bytes, model.eos, encode)

    def __len__(self) -> int:
        return len(self.token_bytes)

    def transitions(self, state: int) -> TokenTransitions:
        """Return what every token does in `state`."""
        if state not in self._cache:
            self._cache[state] = self._compute_transitions(state)
        return self._cache[state]

    def longest_verdict(self) -> int:
        """Return how many tokens the longest canonical verdict has, EOS included."""
        grammar = self.automaton.grammar
        longest = max(len(self.encode(opener)) for opener in grammar.openers)
        most = longest + max(map(self._longest_encoding, grammar.levels)) + 1
        # Blanks that are read over take tokens, too: one more for every two.
        return most + most // 2 if grammar.ignore_blanks else most

    def encode(self, text: str) -> list[int]:
        """Return the canonical tokens of a text.

        They are the tokenizer's if they decode to exactly the text (some tokenizers
        add a space in front), and else the longest tokens from the left. Raises
        OptionError if no tokens write the text.
        """
        # Canonical tokens are looked up as bytes, so they must write just the text.
        if self._encode is not None:
            tokens = [int(token) for token in self._encode(text)]
            if b"".join(self.token_bytes[token] for token in tokens) == text.encode():
                return tokens
        return self._encode_greedily(text)

    def encoded_openers(self) -> list[list[int]]:
        """Return the canonical tokens of every opener that the vocabulary can write.

        The empty opener is among them where one token may hold an opener and a level.
        """
        encoded: list[list[int]] = []
        preceding = [token.preceding_opener for token in self.spanning_tokens]
        for opener in dict.fromkeys([*self.automaton.grammar.openers, *preceding]):
            with suppress(OptionError):
                encoded.append(self.encode(opener))
        return encoded

    @cached_property
    def spanning_tokens(self) -> list[SpanningToken]:
        """The levels that are encoded together with the end of an opener.

        As ``\u2581unsafe`` is, where a verdict may begin with a space.
        """
        grammar, spanning = self.automaton.grammar, []
        for opener in grammar.openers:
            for number, text in enumerate(
                level.surface_form for level in grammar.levels
            ):
                with suppress(OptionError):
                    tokens = self.encode(opener + text)
                    if (
                        prefix_token_count(self.token_bytes, tokens, opener.encode())
                        is None
                    ):
                        preceding, consumed = self._last_opener_before(tokens, opener)
                        spanning.append(
                            SpanningToken(opener, number, preceding, tokens[consumed:])
                        )
        return spanning

    def _last_opener_before(
        self, tokens: Sequence[int], opener: str
    ) -> tuple[str, int]:
        """Return the longest opener that ends between two `tokens`, and at which.

        That is "" and 0 if none does.
        """
        boundaries = {"": 0}
        for shorter in self.automaton.grammar.openers:
            count = prefix_token_count(self.token_bytes, tokens, shorter.encode())
            if count is not None and opener.startswith(shorter):
                boundaries[shorter] = count
        longest = max(boundaries, key=len)
        return longest, boundaries[longest]

    def _longest_encoding(self, level: Level) -> int:
        grammar = self.automaton.grammar
        text = level.surface_form
        if level.takes_labels:
            text += grammar.intro + grammar.separators[0].join(grammar.labels)
        lines = "".join(
            line.intro
            + (line.separators[0] if line.separators else "").join(
                line.labels if line.separators else [max(line.labels, key=len)]
            )
            for line in grammar.lines
        )
        return max(len(self.encode(text + tail + lines)) for tail in ("", *level.tails))

    def _compute_transitions(self, state: int) -> TokenTransitions:
        automaton = self.automaton
        next_state, closed_label, at_first_byte, _ = self._walk(state)
        stops = automaton.ended[next_state] & (
            automaton.level[next_state] == automaton.stop_level[state]
        )
        stops &= closed_label == automaton.stop_label[state]
        # Special tokens have no text. Strict grammars end at one; lenient ones skip it.
        special = (self.lengths == 0) & (automaton.grammar.mode == "strict")
        kind = np.full(len(self), OTHER, dtype=np.int8)
        kind[at_first_byte & ~automaton.ended[next_state]] = CLOSED
        kind[stops | special | self.eos] = STOP
        ended = automaton.end_state(automaton.stop_level[state])
        next_state[kind == STOP] = ended
        closed_label[kind == STOP] = automaton.stop_label[state]
        sizes = np.bincount(kind, minlength=3)
        largest = int(sizes.argmax())
        smaller = tuple((k, np.nonzero(kind == k)[0]) for k in range(3) if k != largest)
        return TokenTransitions(kind, next_state, closed_label, smaller, largest)

    def _walk(self, state: int) -> tuple[Array, Array, Array, Array]:
        """Feed every token to the automaton from `state`, all tokens a byte at a time.

        Returns (V,) arrays: the state after, the last label that was completed (-1:
        none), whether the first byte completed one, and how many were.
        """
        automaton = self.automaton
        state_after = np.full(len(self), state, dtype=np.int16)
        closed_label = np.full(len(self), -1, dtype=np.int8)
        count = np.zeros(len(self), dtype=np.int16)
        at_first_byte = np.zeros(len(self), dtype=bool)
        alive, position = np.nonzero(self.lengths)[0], 0
        while len(alive):
            byte = self.byte_classes[self.offsets[alive] + position]
            completed = automaton.closed_label[state_after[alive], byte]
            state_after[alive] = automaton.next_state[state_after[alive], byte]
            labelled = alive[completed >= 0]
            closed_label[labelled] = completed[completed >= 0]
            count[labelled] += 1
            if position == 0:
                at_first_byte[labelled] = True
            position += 1
            alive = alive[
                (self.lengths[alive] > position) & ~automaton.ended[state_after[alive]]
            ]
        return state_after, closed_label, at_first_byte, count

    def _check_double_labels(self) -> None:
        """Raise OptionError for a token that completes two labels from any state."""
        # Every level reads its labels in the same way: one level is enough.
        level = self.automaton.level
        taking = level[(self.automaton.reachable_labels > 0) & (level >= 0)]
        most = np.bincount(taking).argmax() if len(taking) else -1
        for state in np.nonzero(level == most)[0] if len(taking) else ():
            double = self._walk(int(state))[3] > 1
            if double.any():
                piece = self.token_bytes[int(double.argmax())]
                raise OptionError(f"grammar: the token {piece!r} closes two labels")

    def _encode_greedily(self, text: str) -> list[int]:
        """Encode `text` by the longest token that fits, from the left."""
        if self._ids is None:
            texts = enumerate(self.token_bytes)
            ids = [(token, i) for i, token in texts if token and not self.eos[i]]
            self._ids = dict(reversed(ids))  # of equal tokens, the lowest id wins
        encoded, position, tokens = text.encode(), 0, []
        longest = int(self.lengths.max(initial=1))
        while position < len(encoded):
            ends = range(min(position + longest, len(encoded)), position, -1)
            end = next((e for e in ends if encoded[position:e] in self._ids), None)
            if end is None:
                raise OptionError(f"grammar: no token spells {text[position:]!r}")
            tokens.append(self._ids[encoded[position:end]])
            position = end
        return tokens


def prefix_token_count(
    token_bytes: Sequence[bytes], tokens: Sequence[int], prefix: bytes
) -> int | None:
    """Return how many of `tokens` write exactly `prefix`; None if one goes past it."""
    written = b""
    for count, token in enumerate([*tokens, -1]):
        if written == prefix:
            return count
        if token < 0 or len(written) > len(prefix):
            return None
        written += token_bytes[token]
    return None
