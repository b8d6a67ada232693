"""Strategies on canonical spellings and greedy paths, with numbers by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.evidence import VerdictTree
from safebench.evidence.base import EvidenceBundle
from safebench.strategies.base import Context, Judgements
from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import model_from_texts
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench.verdict_tree.grammar import Grammar, Level
from safebench_llamaguard_marginal.strategies.canonical_spelling import (
    TokenProbabilityOptions,
)
from safebench_llamaguard_marginal.strategies.catalog import SPECS
from safebench_llamaguard_marginal.strategies.common import PositiveOptions
from safebench_llamaguard_marginal.strategies.marginal import MarginalFixedOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

PIECES = ["safe", "unsafe", "un", "controversial", "\n\n", "\n", "S", "1", "2", "0"]
PIECES += [",", ",S", "x", "1,", ",S2"]
CODES = ("S1", "S2", "S20")
SPELLED = ["first_token", "token_probability", "joint", "marginal_slot1"]
SPELLED += ["probability_uncertainty", "entropy_uncertainty", "ccp"]
LOADED = {spec.name: spec.code() for spec in SPECS}


def trees(
    *odds: Mapping[str, float], grammar: Grammar | None = None, **options: Any
) -> VerdictTree:
    """Explore prompts whose verdicts have given odds (see `spoken`)."""
    settings = ExploreOptions(**{"eps": 0.0, "max_tokens": 10, **options})
    prompts = [[i] for i in range(len(odds))]
    grammar = grammar or llama_guard(CODES)
    return explore(model_from_texts(PIECES, *odds), prompts, grammar, settings).tree


def judge(name: str, tree: VerdictTree, options: Any = None) -> Judgements:
    """Judge trees for prompt harm."""
    context = Context(task="prompt_harm", options=options)
    result: Judgements = LOADED[name](EvidenceBundle({VerdictTree: tree}), context)
    return result


def three_levels() -> Grammar:
    """Return a grammar with a level between safe and unsafe that takes labels too."""
    return Grammar(
        levels=(
            Level(name="safe"),
            Level(name="controversial", takes_labels=True),
            Level(name="unsafe", takes_labels=True, positive=True),
        ),
        labels=CODES,
    )


THREE = {"controversial|\n|S|1": 0.6, "unsafe|\n|S|1": 0.3, "safe": 0.1}
TWO = {  # P(unsafe) .8, then S2 3/4 or S1 1/4; S2 ends .5 or goes on with S1 .5
    "unsafe|\n|S|2": 0.3,
    "unsafe|\n|S|2|,S|1": 0.3,
    "unsafe|\n|S|1": 0.2,
    "safe": 0.2,
}


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("first_token", 0.3),
        ("token_probability", 0.3),
        ("joint", 0.3),
        ("marginal_any", 0.3),
        ("marginal_fixed", 0.3),
        ("verdict_entropy", 0.3),
        ("greedy", 0.0),
    ],
)
def test_three_levels(name: str, score: float) -> None:
    """Unsafe .3 is the score, whatever controversial says."""
    result = judge(name, trees(THREE, grammar=three_levels()))

    assert_allclose([score], result.score, atol=1e-12)


def test_levels_leave_first_token_unsure() -> None:
    """The entropy of .1, .6 and .3, and of the shares of what is a level at all."""
    levels = trees(THREE, grammar=three_levels())
    among = trees({"unsafe|\n|S|1": 0.5, "safe": 0.3, "x": 0.2})

    result = [judge("first_token", tree).uncertainty for tree in (levels, among)]
    assert_allclose([[_entropy(0.1, 0.6, 0.3)], [_entropy(0.625, 0.375)]], result)


def test_labels_count_under_every_level() -> None:
    """S1 after controversial .6 and after unsafe .3 gives .9."""
    tree = trees(THREE, grammar=three_levels())
    both = PositiveOptions(positive=("controversial", "unsafe"))

    for name in ("marginal_any", "marginal_fixed", "marginal_slot1", "verdict_entropy"):
        assert_allclose([[0.9, 0.0, 0.0]], judge(name, tree).categories, atol=1e-12)
    assert_allclose([0.9], judge("first_token", tree, both).score)
    assert_allclose([0.6], judge("joint", tree, both).score)
    assert_allclose([[0.6, 0, 0]], judge("joint", tree).categories, atol=1e-12)


def test_by_hand_at_the_first_and_at_later_positions() -> None:
    """S1 is 1/4 at the first place and 1 at the second; S2 is 3/4."""
    tree = trees(TWO)
    first, second = (
        judge("token_probability", tree, TokenProbabilityOptions(max_k=k))
        for k in (1, 2)
    )
    whole = judge("joint", tree)

    assert_allclose([0.8], first.score)
    assert_allclose([0.2], first.uncertainty)
    assert_allclose([[0.25, 0.75, 0.0]], first.categories, atol=1e-12)
    assert_allclose([[1.0, 0.75, 0.0]], second.categories, atol=1e-12)
    assert_allclose([0.8], whole.score)
    assert_allclose([[0.3, 0.6, 0.0]], whole.categories, atol=1e-12)
    assert_allclose([-np.log(0.3)], whole.uncertainty)


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [0.2, 0.6, 0.0]), (2, [0.3, 0, 0]), (3, [0.0, 0, 0])]
)
def test_the_label_at_a_fixed_position(k: int, expected: list[float]) -> None:
    """P(label number k is l), and the entropy of it with none included."""
    result = judge("marginal_fixed", trees(TWO), MarginalFixedOptions(k=k))
    masses = np.array([*expected, 1 - sum(expected)])
    masses = masses[masses > 0]

    assert_allclose([expected], result.categories, atol=1e-12)
    assert_allclose([expected], result.category_upper, atol=1e-12)
    assert_allclose([-(masses * np.log(masses)).sum()], result.uncertainty, atol=1e-12)


def test_first_labels_in_one_pass() -> None:
    """With one opener, spelled canonically, they are those of marginal_fixed."""
    result = judge("marginal_slot1", trees(TWO))

    assert_allclose([0.8], result.score)
    assert_allclose([[0.2, 0.6, 0.0]], result.categories, atol=1e-12)
    assert_allclose(result.categories, result.category_lower)
    assert result.category_upper is None
    assert_allclose([_entropy(0.2, 0.6, 0.2)], result.uncertainty)


def test_shares_of_first_labels() -> None:
    """S1 1/4 and S2 3/4 of P(unsafe) .8; 1/(1+3/4) and the entropy of the shares."""
    by_probability = judge("probability_uncertainty", trees(TWO))
    by_entropy = judge("entropy_uncertainty", trees(TWO))

    for result in (by_probability, by_entropy):
        assert_allclose([0.8], result.score)
        assert_allclose([[0.2, 0.6, 0.0]], result.categories, atol=1e-12)
    assert_allclose([4 / 7], by_probability.uncertainty)
    assert_allclose([_entropy(0.25, 0.75)], by_entropy.uncertainty)


def test_claim_conditioned_probability_by_hand() -> None:
    """Unsafe .8 of 1, S2 3/4 of 1, S1 1 of 1: -log .6."""
    assert_allclose([-np.log(0.6)], judge("ccp", trees(TWO)).uncertainty)


def test_claims_leave_out_what_says_nothing() -> None:
    """Text off the grammar is no level: unsafe .5 of .8."""
    odds = {"unsafe|\n|S|1": 0.5, "safe": 0.3, "x": 0.2}

    assert_allclose([-np.log(0.5 / 0.8)], judge("ccp", trees(odds)).uncertainty)


def test_another_spelling_counts_where_it_is_written() -> None:
    """The greedy un safe .6 is read as it is spelled, its canonical spelling .1 not."""
    odds = {"un|safe|\n|S|1": 0.6, "unsafe|\n|S|2": 0.1, "safe": 0.3}
    tree = trees(odds)

    assert_allclose([0.25], judge("first_token", tree).score)
    assert_allclose([0.6], judge("token_probability", tree).score)
    assert_allclose([0.6], judge("joint", tree).score)
    assert_allclose([[1, 0, 0]], judge("token_probability", tree).categories)
    assert_allclose([[0, 0.1, 0]], judge("marginal_slot1", tree).categories)
    assert_allclose([-np.log(0.6 / 0.9)], judge("ccp", tree).uncertainty)


def test_a_label_closed_by_its_own_token_counts_where_it_is_written() -> None:
    """A piece ``1,`` .6 is no canonical S1 (.1), but it is what the guard claims."""
    odds = {"unsafe|\n|S|1,|S|2": 0.6, "unsafe|\n|S|1": 0.1, "unsafe|\n|S|2": 0.3}
    tree = trees(odds)

    assert_allclose([[0.1, 0.3, 0]], judge("token_probability", tree).categories)
    assert_allclose([[0.7, 0.3, 0]], judge("marginal_fixed", tree).categories)
    assert_allclose([-np.log(0.6 / 0.9)], judge("ccp", tree).uncertainty)


def test_a_label_that_starts_inside_a_token_has_no_slot() -> None:
    """What else could follow ``,S`` was not recorded where ``,S2`` is one token."""
    tree = trees({"unsafe|\n|S|1|,S2": 0.7, "unsafe|\n|S|1": 0.3})
    result = judge("ccp", tree)

    assert_allclose([np.nan], result.uncertainty)
    assert ["n/a: a label of the greedy verdict starts inside a token"] == result.errors
    assert_allclose([[1, 0, 0]], judge("token_probability", tree).categories)


def test_openers_are_summed_and_odd_spellings_of_them_are_not() -> None:
    """Unsafe .1 at once and .2 after the opener; two single newlines do not count."""
    odds = {"unsafe|\n|S|1": 0.1, "safe": 0.1, "\n\n|unsafe|\n|S|2": 0.2}
    odds |= {"\n\n|safe": 0.3, "\n|\n|unsafe|\n|S|1": 0.3}
    tree = trees(odds)

    assert_allclose([0.3 / 0.7], judge("first_token", tree).score)
    assert_allclose([[0.1, 0.2, 0]], judge("marginal_slot1", tree).categories)
    assert_allclose([0.4], judge("token_probability", tree).score)
    assert_allclose([0.2], judge("joint", tree).score)
    assert_allclose([[0.4, 0.2, 0]], judge("marginal_fixed", tree).categories)


def test_digits_that_are_split_leave_their_prefix_alone() -> None:
    """A verdict that says S20 by way of 2 and 0 says nothing about S2."""
    tree = trees({"unsafe|\n|S|2|0": 1.0})

    for name in ("greedy", "marginal_any", "marginal_fixed", "marginal_slot1"):
        assert_allclose([[0.0, 0.0, 1.0]], judge(name, tree).categories)
    for name in ("token_probability", "joint", "entropy_uncertainty"):
        assert_allclose([[0.0, 0.0, 1.0]], judge(name, tree).categories)


def test_a_verdict_that_ends_at_once_leaves_scores_defined() -> None:
    """EOS first, .4: levels still compare, and the root is still the opener."""
    tree = trees({"": 0.4, "safe": 0.3, "unsafe|\n|S|1": 0.3})

    for name, score in [("first_token", 0.5), ("marginal_slot1", 0.5)]:
        assert_allclose([score], judge(name, tree).score)
    for name in ("token_probability", "joint", "marginal_any", "marginal_fixed"):
        assert_allclose([0.3], judge(name, tree).score)
    for name in ("token_probability", "joint", "marginal_any", "first_token"):
        assert [None] == judge(name, tree).errors
    assert_allclose([[1, 0, 0]], judge("token_probability", tree).categories)
    for name in ("greedy", "ccp"):
        assert ["no level of its grammar was written: safe, unsafe"] == judge(
            name, tree
        ).errors


@pytest.mark.parametrize("name", SPELLED)
def test_without_canonical_spellings_there_is_no_number(name: str) -> None:
    """Lenient reading and trees without forced nodes say n/a, and why."""
    lenient = trees(TWO, grammar=llama_guard(CODES, mode="lenient"))
    unforced = trees(TWO, force_canonical=False)

    for tree, why in [(lenient, "lenient"), (unforced, "not recorded")]:
        result = judge(name, tree)
        for column in (result.score, result.categories, result.uncertainty):
            assert column is None or np.isnan(column).all()
        assert result.errors[0] is not None
        assert why in result.errors[0]


def test_a_start_off_the_grammar_is_an_error() -> None:
    """Where an opener must come first, a greedy verdict without one has no place."""
    grammar = Grammar(levels=three_levels().levels, openers=("\n\n",), labels=CODES)
    odds = {"x": 0.6, "\n\n|safe": 0.2, "\n\n|unsafe|\n|S|1": 0.2}
    tree = trees(odds, grammar=grammar)

    for name in ("token_probability", "joint"):
        result = judge(name, tree)
        assert result.errors[0] is not None
        assert "does not start as the grammar does" in result.errors[0]
    assert_allclose([0.5], judge("first_token", tree).score)


def test_a_level_in_one_token_with_its_opener_has_a_probability() -> None:
    """No opener ends before it, so nothing is given one; its own .6 stays known."""
    levels = three_levels().levels
    grammar = Grammar(levels=levels, openers=("\n\n",), labels=CODES)
    odds = {"\n\nunsafe\n|S|1": 0.6, "\n\n|safe": 0.4}
    model = model_from_texts([*PIECES, "\n\nunsafe\n"], odds)
    options = ExploreOptions(eps=0.0, max_tokens=10)
    tree = explore(model, [[0]], grammar, options).tree

    result = judge("joint", tree)
    assert_allclose([0.6], result.score)
    assert_allclose([[0.6, 0.0, 0.0]], result.categories)
    assert [None] == result.errors
    assert np.isnan(judge("token_probability", tree).score).all()


@pytest.mark.parametrize("name", sorted(LOADED))
def test_a_batch_is_judged_like_its_samples(name: str) -> None:
    """Judging many samples at once changes no value."""
    tree = trees(TWO, {"x": 1.0}, {"safe": 1.0}, {"\n\n|unsafe|\n|S|1|,|S|1": 1.0})
    whole = judge(name, tree)
    for i in range(4):
        one = judge(name, tree.select([i]))
        assert whole.errors[i : i + 1] == one.errors
        for column in ("score", "categories", "uncertainty", "uncertainty_upper"):
            result, expected = getattr(one, column), getattr(whole, column)
            if expected is not None:
                assert_allclose(expected[i], result[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{"max_k": 0}, {"k": 0}])
def test_positions_count_from_one(options: dict[str, int]) -> None:
    """There is no label number 0."""
    kind: Any = MarginalFixedOptions if "k" in options else TokenProbabilityOptions
    with pytest.raises(ValueError, match="is 0, not 1 or more"):
        kind(**options)


def _entropy(*p: float) -> float:
    return float(-sum(x * np.log(x) for x in p))
