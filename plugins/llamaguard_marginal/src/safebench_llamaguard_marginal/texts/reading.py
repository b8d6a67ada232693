"""From a text to the verdict in it, by the grammar that trees are read by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from safebench.verdict_tree import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.verdict_tree import Grammar

# Servers write them where they do not take control tokens out of their answers.
_ENDS = ("<|eot_id|>", "<|end_of_text|>", "<|im_end|>", "<end_of_turn>", "</s>")
_THINKS, _THOUGHT = "<think>", "</think>"
_BYTES: Any = SimpleNamespace(
    token_bytes=[*(bytes([byte]) for byte in range(256)), b""], eos=frozenset({256})
)


class ReadText(NamedTuple):
    """What a text says: a level (-1: none), labels as bits, and whether more follows.

    `labels_mask` is that of `VerdictTree`.
    """

    level: int
    labels_mask: int
    malformed: bool


class TextReader:
    """Reads the verdict of a grammar in texts.

    Bytes are its tokens, so that the same automaton reads texts and trees. `markers`
    are the texts that end a reasoning: what follows the first is the verdict.
    """

    def __init__(self, grammar: Grammar, markers: Sequence[str] = ()) -> None:
        self.grammar = grammar
        self.markers = tuple(markers)
        self._automaton: Any = Vocabulary.of_model(grammar, _BYTES).automaton

    def read(self, text: str, *, cut: bool = False) -> ReadText:
        """Return what is read in a verdict; `cut`: it would have gone on.

        As it is, or without the blanks before it: servers cut them off, or leave them
        behind a reasoning. Of one that was cut, what more text could change is not
        read: "S1" may have become "S10".
        """
        text = text if cut else without_end(text)
        found, stripped = self._read(text, cut=cut), text.lstrip()
        if found.level >= 0 or text == stripped:
            return found
        return self._read(stripped, cut=cut)

    def verdict_in(self, text: str) -> str | None:
        """Return what follows the reasoning in a text, None if that does not end.

        Chat models may think first though no profile says so.
        """
        markers = self.markers
        if not markers and text.lstrip().startswith(_THINKS):
            markers = (_THOUGHT,)
        if not markers:
            return text
        starts = [
            (place, place + len(marker))
            for marker in markers
            if (place := text.find(marker)) >= 0
        ]
        return text[min(starts)[1] :] if starts else None

    def _read(self, text: str, *, cut: bool) -> ReadText:
        automaton, state, mask = self._automaton, 0, 0
        for byte in text.encode():
            kind = automaton.byte_class[byte]
            mask |= _bit(int(automaton.closed_label[state, kind]))
            state = int(automaton.next_state[state, kind])
        if cut:
            return ReadText(int(automaton.level[state]), mask, malformed=False)
        mask |= _bit(int(automaton.stop_label[state]))
        level = int(automaton.stop_level[state])
        accepted = bool(automaton.accepted[state])
        return ReadText(level, mask, level >= 0 and not accepted)


def without_end(text: str) -> str:
    """Return a text without the control tokens that end it."""
    shorter = text.rstrip()
    for end in _ENDS:
        if shorter.endswith(end):
            return without_end(shorter.removesuffix(end))
    return text


def _bit(label: int) -> int:
    return 1 << label if label >= 0 else 0
