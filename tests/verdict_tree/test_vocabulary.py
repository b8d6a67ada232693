"""What the tokens of a vocabulary do in each state of a grammar."""

from __future__ import annotations

import re

import numpy as np
import pytest

from safebench.errors import OptionError
from safebench.testing.grammars import llama_guard
from safebench.verdict_tree.automaton import compile_grammar
from safebench.verdict_tree.vocabulary import CLOSED, OTHER, STOP, Vocabulary

CODES = tuple(f"S{i}" for i in range(1, 15))
NUMBERS = [str(i) for i in range(100)]
MERGED = ["\n\n", "safe", "unsafe", "\n", "S", ",S", ",", *NUMBERS]
DIGITS = ["\n\n", "safe", "unsafe", "\n", "S", ",", *NUMBERS[:10]]


def vocabulary_of(
    token_texts: list[str], labels: tuple[str, ...] = CODES
) -> Vocabulary:
    """Bind pieces, and an EOS after them, to a Llama Guard grammar."""
    encoded = [text.encode() for text in [*token_texts, ""]]
    automaton = compile_grammar(llama_guard(labels))
    return Vocabulary(automaton, encoded, frozenset({len(token_texts)}))


def state_after(vocabulary: Vocabulary, text: str) -> int:
    """Return the state after a text."""
    automaton, state = vocabulary.automaton, 0
    for byte in text.encode():
        state = automaton.next_state[state, automaton.byte_class[byte]]
    return int(state)


@pytest.mark.parametrize(("tokens", "token_texts"), [(32, MERGED), (50, DIGITS)])
def test_the_longest_verdict_is_counted(tokens: int, token_texts: list[str]) -> None:
    """Fourteen labels take 32 tokens if numbers are merged, 50 if digits are split."""
    assert tokens == vocabulary_of(token_texts).longest_verdict()


@pytest.mark.parametrize(
    ("text", "kind", "label", "ended"),
    [
        ("", STOP, "S1", True),  # EOS
        (")", STOP, "S1", True),  # closes S1, then off the grammar
        (",x", STOP, "S1", True),
        ("safe", STOP, "S1", True),
        (",S", CLOSED, "S1", False),
        (",", CLOSED, "S1", False),
        ("0", OTHER, None, False),  # S10
        ("5", OTHER, None, True),  # S15 is no label: nothing is closed
        ("0)", OTHER, "S10", True),
        ("0,", OTHER, "S10", False),
    ],
)
def test_transitions_where_a_label_is_pending(
    text: str, kind: int, label: str | None, ended: bool
) -> None:
    """After `unsafe S1` a token stops the verdict, closes the label, or does else."""
    token_texts = [")", ",x", "safe", ",S", ",", "0", "5", "0)", "0,", ""]
    grammar = ("S1", "S10")
    vocabulary = vocabulary_of(token_texts[:-1], grammar)
    transitions = vocabulary.transitions(state_after(vocabulary, "unsafe\nS1"))
    token = token_texts.index(text)

    assert kind == transitions.kind[token]
    assert (grammar.index(label) if label else -1) == transitions.closed_label[token]
    assert ended == vocabulary.automaton.ended[transitions.next_state[token]]


def test_transitions_split_the_vocabulary() -> None:
    """The ids of the two smaller kinds leave exactly the largest."""
    vocabulary = vocabulary_of(MERGED)
    for state in range(len(vocabulary.automaton.level)):
        transitions = vocabulary.transitions(state)
        others = np.ones(len(vocabulary), dtype=bool)
        for kind, ids in transitions.smaller_kinds:
            assert (transitions.kind[ids] == kind).all()
            others[ids] = False
        assert (transitions.kind[others] == transitions.largest_kind).all()


def test_a_token_that_closes_two_labels_is_refused() -> None:
    """A token can close one label: a tree's node has room for no more."""
    with pytest.raises(OptionError, match=re.escape("b',S2,' closes two labels")):
        vocabulary_of([*MERGED, ",S2,"])


def test_special_tokens_end_a_strict_verdict() -> None:
    """A token without text that is no EOS is off the grammar."""
    vocabulary = vocabulary_of([*MERGED, ""])
    transitions = vocabulary.transitions(0)

    assert STOP == transitions.kind[len(MERGED)]
    assert not vocabulary.eos[len(MERGED)]


def test_a_text_that_no_token_spells_is_named() -> None:
    """Binding a grammar to a vocabulary that cannot write it says what is missing."""
    with pytest.raises(OptionError, match="no token spells 'S'"):
        vocabulary_of(["safe", "unsafe", "\n", "\n\n"]).encode("S")
