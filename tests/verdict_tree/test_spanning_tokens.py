"""Tokens that span an opener and a level, as SentencePiece vocabularies hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.testing.table_model import model_from_texts
from safebench.verdict_tree.automaton import compile_grammar
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.canonical_tokenizations import CanonicalTokenizations
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench.verdict_tree.grammar import Grammar, Level
from safebench.verdict_tree.label_slots import LabelSlots
from safebench.verdict_tree.vocabulary import SpanningToken, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.evidence import VerdictTree

LEVELS = (Level(name="safe"), Level(name="unsafe", takes_labels=True, positive=True))
LABELS = ("S1", "S2")
PIECES = ["safe", "unsafe", " safe", " unsafe", " ", "\n", "S", "1", "2", ",", "x"]
SOME = [text for text in PIECES if text != " safe"]  # one level has such a token
COARSE = 0.95  # above every probability: forced nodes alone are expanded


def grammar(*openers: str) -> Grammar:
    """Return safe, or unsafe and labels, after some openers."""
    return Grammar(levels=LEVELS, labels=LABELS, openers=openers)


def tree_of(
    token_texts: list[str],
    probabilities: Mapping[str, float],
    *openers: str,
    eps: float = COARSE,
) -> VerdictTree:
    """Return the tree of a model that writes texts with given probabilities."""
    model = model_from_texts(token_texts, probabilities)
    options = ExploreOptions(eps=eps, max_tokens=10)
    return explore(model, [[0]], grammar(*openers), options).tree


def vocabulary(token_texts: list[str], *openers: str) -> Vocabulary:
    """Bind pieces to a grammar; what has no text ends a verdict."""
    encoded = [*(text.encode() for text in token_texts), b""]
    table = compile_grammar(grammar(*openers))
    return Vocabulary(table, encoded, frozenset({len(token_texts)}))


def test_spanning_tokens_are_found() -> None:
    """Each follows the last opener that ends before it, the start if there is none."""
    token_texts = [*PIECES, "\n\n", "\n unsafe"]
    openers = ("", "\n", " ", "\n\n", "\n ", "\n\n ")

    expected = [
        SpanningToken(" ", 0, "", [2]),
        SpanningToken(" ", 1, "", [3]),
        SpanningToken("\n ", 0, "\n", [2]),
        SpanningToken("\n ", 1, "", [12]),
        SpanningToken("\n\n ", 0, "\n\n", [2]),
        SpanningToken("\n\n ", 1, "\n\n", [3]),
    ]
    assert expected == vocabulary(token_texts, *openers).spanning_tokens
    assert [] == vocabulary(PIECES, "", "\n").spanning_tokens
    assert [SpanningToken(" ", 1, "", [2])] == vocabulary(SOME, "", " ").spanning_tokens


def test_levels_are_forced_in_the_tokens_that_span_them() -> None:
    """Whatever eps, both words are recorded with their space, .4 and .3, and without.

    The greedy `` safe`` counts as it is written, without the .1 of ``safe``.
    """
    probabilities = {
        " unsafe|\n|S|1": 0.3,
        " safe": 0.4,
        "unsafe|\n|S|2": 0.1,
        "safe": 0.1,
    }
    tree = tree_of(PIECES, probabilities | {"x": 0.1}, "", " ")
    tokenizations, slots = tree.cached(CanonicalTokenizations), tree.cached(LabelSlots)

    assert_allclose([[0.5, 0.4]], tokenizations.level_probability, atol=1e-12)
    assert_allclose(
        [[0.4, 0.3 + 0.1]], tokenizations.level_given_greedy_opener, atol=1e-12
    )
    assert_allclose([0.1, 0.3], sorted(slots.mass[slots.canonical]))
    given = slots.label_given_slot[slots.first_slot([False, True])]
    assert_allclose([[1.0, 0.0]], given, atol=1e-12)


def test_a_level_counts_in_its_canonical_tokens_alone() -> None:
    """Where ``safe`` may follow a space token, ``unsafe`` there is not canonical."""
    probabilities = {
        " unsafe|\n|S|1": 0.3,
        " |safe": 0.4,
        " |unsafe|\n|S|1": 0.1,
        "safe": 0.2,
    }
    tokenizations = tree_of(SOME, probabilities, "", " ", eps=0.0).cached(
        CanonicalTokenizations
    )

    assert_allclose([[0.6, 0.3]], tokenizations.level_probability, atol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 0.05, COARSE])
def test_a_guard_that_always_starts_with_a_space(eps: float) -> None:
    """The root is where its levels are read, and no level is read without the space."""
    probabilities = {" unsafe|\n|S|1": 0.3, " safe": 0.5, "unsafe|\n|S|2": 0.2}
    tree = tree_of(PIECES, probabilities, " ", eps=eps)
    tokenizations = tree.cached(CanonicalTokenizations)

    assert_allclose([[0.5, 0.3]], tokenizations.level_probability, atol=1e-12)
    assert 0 == tokenizations.greedy_opener_node[0]
    assert_allclose([[0.5, 0.3]], tokenizations.level_given_greedy_opener, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("openers", [("", " "), (" ",), ("",)])
def test_bounds_hold_with_tokens_that_span(openers: tuple[str, ...], seed: int) -> None:
    """Levels and labels of random verdicts lie in the bounds, exactly at eps 0."""
    rng = np.random.default_rng(seed)
    heads = ["safe", " safe", " |safe"]
    for word in ("unsafe", " unsafe", " |unsafe"):
        heads += [f"{word}|\n|{labels}" for labels in ("S|1", "S|2", "S|2|,|S|1")]
    probabilities = dict(
        zip(heads, rng.dirichlet(np.full(len(heads), 0.4)), strict=True)
    )
    read = {tokens: tokens.replace("|", "") for tokens in probabilities}
    heard = {
        tokens: text
        for tokens, text in read.items()
        if (" " if text[0] == " " else "") in openers
    }
    level = [
        sum(probabilities[s] for s in heard if ("un" in s) == bad)
        for bad in (False, True)
    ]
    label = [
        sum(probabilities[s] for s, text in heard.items() if x in text) for x in LABELS
    ]

    for eps in (0.0, 1e-2, 0.2, COARSE):
        bounds = TreeBounds(tree_of(PIECES, probabilities, *openers, eps=eps))
        assert_allclose([1.0], bounds.partition.mass.sum(), atol=1e-9)
        for i, exact in enumerate(level):
            lower, upper = bounds.level_bounds([i == 0, i == 1])
            assert lower[0] - 1e-12 <= exact <= upper[0] + 1e-12
        lower, upper = bounds.label_bounds
        assert (lower <= np.array(label) + 1e-12).all()
        assert (np.array(label) <= upper + 1e-12).all()
        if eps == 0:
            assert_allclose([label], lower, atol=1e-12)


def test_a_speller_that_adds_text_is_not_believed() -> None:
    """Tokens that say more than the text asked for give way to the longest pieces."""
    token_texts = [*(text.encode() for text in PIECES), b""]
    table = compile_grammar(grammar(""))
    eos = frozenset({len(PIECES)})
    spaced = Vocabulary(
        table, token_texts, eos, lambda text: [PIECES.index(f" {text}")]
    )
    honest = Vocabulary(
        table, token_texts, eos, lambda text: [4, PIECES.index(text[1:])]
    )

    assert [PIECES.index("unsafe")] == spaced.encode("unsafe")
    assert [4, PIECES.index("unsafe")] == honest.encode(" unsafe")
