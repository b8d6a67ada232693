"""Tokens that span an opener and a level, as SentencePiece vocabularies hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.engine.automaton import compile_grammar
from safebench.engine.cut import Cut
from safebench.engine.explore import ExploreOptions, explore
from safebench.engine.grammar import Grammar, Level
from safebench.engine.slots import Slots
from safebench.engine.spellings import Spellings
from safebench.engine.vocabulary import Spanned, Vocabulary
from safebench.testing.spoken import spoken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.evidence import VerdictTree

LEVELS = (Level(name="safe"), Level(name="unsafe", takes_labels=True, positive=True))
LABELS = ("S1", "S2")
PIECES = ["safe", "unsafe", " safe", " unsafe", " ", "\n", "S", "1", "2", ",", "x"]
SOME = [piece for piece in PIECES if piece != " safe"]  # one level has such a token
COARSE = 0.95  # above every probability: forced nodes alone are expanded


def grammar(*openers: str) -> Grammar:
    """Return safe, or unsafe and labels, after some openers."""
    return Grammar(levels=LEVELS, labels=LABELS, openers=openers)


def tree_of(
    pieces: list[str], odds: Mapping[str, float], *openers: str, eps: float = COARSE
) -> VerdictTree:
    """Explore what is said with given odds."""
    model = spoken(pieces, odds)
    options = ExploreOptions(eps=eps, budget=10)
    return explore(model, [[0]], grammar(*openers), options).tree


def vocabulary(pieces: list[str], *openers: str) -> Vocabulary:
    """Bind pieces to a grammar; what has no text ends a verdict."""
    encoded = [*(piece.encode() for piece in pieces), b""]
    table = compile_grammar(grammar(*openers))
    return Vocabulary(table, encoded, frozenset({len(pieces)}))


def test_spanning_tokens_are_found() -> None:
    """Each follows the last opener that ends before it, the start if there is none."""
    pieces = [*PIECES, "\n\n", "\n unsafe"]
    openers = ("", "\n", " ", "\n\n", "\n ", "\n\n ")

    expected = [
        Spanned(" ", 0, "", [2]),
        Spanned(" ", 1, "", [3]),
        Spanned("\n ", 0, "\n", [2]),
        Spanned("\n ", 1, "", [12]),
        Spanned("\n\n ", 0, "\n\n", [2]),
        Spanned("\n\n ", 1, "\n\n", [3]),
    ]
    assert expected == vocabulary(pieces, *openers).spanned
    assert [] == vocabulary(PIECES, "", "\n").spanned
    assert [Spanned(" ", 1, "", [2])] == vocabulary(SOME, "", " ").spanned


def test_levels_are_forced_in_the_tokens_that_span_them() -> None:
    """Whatever eps, both words are recorded with their space, .4 and .3, and without.

    The greedy `` safe`` counts as it is said: the .1 of ``safe`` is no part of it.
    """
    odds = {" unsafe|\n|S|1": 0.3, " safe": 0.4, "unsafe|\n|S|2": 0.1, "safe": 0.1}
    tree = tree_of(PIECES, odds | {"x": 0.1}, "", " ")
    spellings, slots = tree.once(Spellings), tree.once(Slots)

    assert_allclose([[0.5, 0.4]], spellings.levels, atol=1e-12)
    assert_allclose([[0.4, 0.3 + 0.1]], spellings.said_odds, atol=1e-12)
    assert_allclose([0.1, 0.3], sorted(slots.mass[slots.canonical]))
    given = slots.given[slots.first([False, True])]
    assert_allclose([[1.0, 0.0]], given, atol=1e-12)


def test_a_level_counts_in_its_own_spelling_alone() -> None:
    """Where ``safe`` may follow a space token, ``unsafe`` there is misspelt."""
    odds = {" unsafe|\n|S|1": 0.3, " |safe": 0.4, " |unsafe|\n|S|1": 0.1, "safe": 0.2}
    spellings = tree_of(SOME, odds, "", " ", eps=0.0).once(Spellings)

    assert_allclose([[0.6, 0.3]], spellings.levels, atol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 0.05, COARSE])
def test_a_guard_that_always_starts_with_a_space(eps: float) -> None:
    """The root is where its levels are read, and no level is read without the space."""
    odds = {" unsafe|\n|S|1": 0.3, " safe": 0.5, "unsafe|\n|S|2": 0.2}
    tree = tree_of(PIECES, odds, " ", eps=eps)
    spellings = tree.once(Spellings)

    assert_allclose([[0.5, 0.3]], spellings.levels, atol=1e-12)
    assert 0 == spellings.opened_at[0]
    assert_allclose([[0.5, 0.3]], spellings.said_odds, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("openers", [("", " "), (" ",), ("",)])
def test_bounds_hold_with_tokens_that_span(openers: tuple[str, ...], seed: int) -> None:
    """Levels and labels of random verdicts lie in the bounds, exactly without a cut."""
    rng = np.random.default_rng(seed)
    heads = ["safe", " safe", " |safe"]
    for word in ("unsafe", " unsafe", " |unsafe"):
        heads += [f"{word}|\n|{labels}" for labels in ("S|1", "S|2", "S|2|,|S|1")]
    odds = dict(zip(heads, rng.dirichlet(np.full(len(heads), 0.4)), strict=True))
    read = {said: said.replace("|", "") for said in odds}
    heard = {
        said: text
        for said, text in read.items()
        if (" " if text[0] == " " else "") in openers
    }
    level = [sum(odds[s] for s in heard if ("un" in s) == bad) for bad in (False, True)]
    label = [sum(odds[s] for s, text in heard.items() if x in text) for x in LABELS]

    for eps in (0.0, 1e-2, 0.2, COARSE):
        cut = Cut(tree_of(PIECES, odds, *openers, eps=eps))
        assert_allclose([1.0], cut.elements.mass.sum(), atol=1e-9)
        for i, exact in enumerate(level):
            lower, upper = cut.level_bounds([i == 0, i == 1])
            assert lower[0] - 1e-12 <= exact <= upper[0] + 1e-12
        lower, upper = cut.label_bounds
        assert (lower <= np.array(label) + 1e-12).all()
        assert (np.array(label) <= upper + 1e-12).all()
        if eps == 0:
            assert_allclose([label], lower, atol=1e-12)


def test_a_speller_that_adds_text_is_not_believed() -> None:
    """Tokens that say more than the text asked for give way to the longest pieces."""
    pieces = [*(piece.encode() for piece in PIECES), b""]
    table = compile_grammar(grammar(""))
    eos = frozenset({len(PIECES)})
    spaced = Vocabulary(table, pieces, eos, lambda text: [PIECES.index(f" {text}")])
    honest = Vocabulary(table, pieces, eos, lambda text: [4, PIECES.index(text[1:])])

    assert [PIECES.index("unsafe")] == spaced.spell("unsafe")
    assert [4, PIECES.index("unsafe")] == honest.spell(" unsafe")
