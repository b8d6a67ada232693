"""The strategies `greedy` and `marginal_any`, on trees of table models."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.errors import OptionError
from safebench.evidence import VerdictTree
from safebench.evidence.base import EvidenceBundle
from safebench.strategies.base import Context, Judgements
from safebench.testing.grammars import llama_guard, wildguard, yes_no
from safebench.testing.table_model import TableModel, model_from_texts
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench.verdict_tree.grammar import Grammar
from safebench_llamaguard_marginal.strategies.common import PositiveOptions
from safebench_llamaguard_marginal.strategies.greedy_verdict import greedy
from safebench_llamaguard_marginal.strategies.marginal import (
    MarginalAnyOptions,
    binary_entropy,
    marginal_any,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ORACLES = Path(
    os.environ.get(
        "SAFEBENCH_ORACLES", Path(__file__).parents[5] / "shared" / "oracles"
    )
)
TINY = 1e-9
PIECES = ["safe", "unsafe", "\n", "S1", "S2", ",", "x"]
CODES = ("S1", "S2")


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    """Table models with everything that follows from them."""
    path = ORACLES / "verdict_cases.json"
    if not path.exists():
        pytest.skip("no verdict_cases.json: set SAFEBENCH_ORACLES to its folder")
    result: list[dict[str, Any]] = json.loads(path.read_text())["cases"]
    return result


def tree_of(case: Mapping[str, Any], eps: float) -> VerdictTree:
    """Explore a case."""
    vocabulary = case["vocabulary"]
    table = {tuple(map(int, said.split())): p for said, p in case["model"].items()}
    pieces = [piece.encode() for piece in vocabulary["pieces"]]
    model = TableModel(pieces, vocabulary["eos"], [table])
    options = ExploreOptions(eps=eps, max_nodes=None, max_tokens=case["D"])
    return explore(model, [[0]], Grammar.from_json(case["grammar"]), options).tree


def trees(
    *roots: Mapping[str, float], grammar: Grammar | None = None, budget: int = 8
) -> VerdictTree:
    """Explore prompts whose verdicts have given odds (see `spoken`)."""
    model = model_from_texts(PIECES, *roots)
    options = ExploreOptions(eps=0.0, max_nodes=None, max_tokens=budget)
    prompts = [[i] for i in range(len(roots))]
    return explore(model, prompts, grammar or llama_guard(CODES), options).tree


def judge(strategy: Any, tree: VerdictTree, options: Any = None) -> Judgements:
    """Judge trees for prompt harm."""
    context = Context(task="prompt_harm", options=options)
    result: Judgements = strategy(EvidenceBundle({VerdictTree: tree}), context)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.0, 1e-3, 1e-2])
def test_greedy_on_enumerated_cases(cases: list[dict[str, Any]], eps: float) -> None:
    """Score, labels, error and uncertainty are those of the enumerated greedy path."""
    for case in cases:
        expected, labels = case["expected"]["greedy"], case["grammar"]["labels"]
        result = judge(greedy, tree_of(case, eps))
        assert result.score is not None
        assert result.uncertainty is not None
        assert [expected["error"]] == result.errors
        assert pytest.approx(expected["score"], nan_ok=True) == result.score[0]
        assert_allclose(1 - expected["P"], result.uncertainty, rtol=0, atol=TINY)
        if labels:
            said = [[float(label in expected["labels"]) for label in labels]]
            assert_array_equal(said, result.categories)


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.0, 1e-3, 1e-2])
def test_marginal_any_on_enumerated_cases(
    cases: list[dict[str, Any]], eps: float
) -> None:
    """Enumerated probabilities lie within the bounds; without a cut they are met."""
    for case in cases:
        expected, labels = case["expected"], case["grammar"]["labels"]
        result = judge(marginal_any, tree_of(case, eps))
        if expected["invalid"] > 0.5:
            assert ["invalid"] == result.errors
            continue
        exact = [[expected["A"][label] for label in labels]]
        pairs = [(result.lower, [expected["positive"]], result.upper)]
        if labels:
            pairs.append((result.category_lower, exact, result.category_upper))
        for lower, value, upper in pairs:
            assert lower is not None
            assert (lower <= np.add(value, TINY)).all()
            assert (np.subtract(value, TINY) <= upper).all()
            if eps == 0:
                assert_allclose(value, lower, rtol=0, atol=TINY)
        assert_array_equal(result.lower, result.score)


def test_greedy_errors_say_why_there_is_no_verdict() -> None:
    """Text off the grammar is no level; a budget may end too soon for one."""
    invalid = judge(greedy, trees({"x": 0.9, "unsafe|\n|S1": 0.1}))
    short = judge(greedy, trees({"\n|\n|safe": 1.0}, budget=2))

    assert ["no level of its grammar was written: safe, unsafe"] == invalid.errors
    assert invalid.errors == short.errors  # what was written was not handed along
    for result in (invalid, short):
        assert result.score is not None
        assert np.isnan(result.score).all()
        assert np.isnan(result.categories).all()


def test_marginal_any_fails_where_most_verdicts_are_invalid() -> None:
    """A guard that mostly does not answer has no probability, one that may has."""
    tree = trees({"x": 0.6, "unsafe|\n|S1": 0.4}, {"x": 0.4, "unsafe|\n|S1": 0.6})
    result = judge(marginal_any, tree)

    assert ["invalid", None] == result.errors
    assert_allclose([np.nan, 0.6], result.score)
    assert_allclose([[np.nan, np.nan], [0.6, 0.0]], result.categories, atol=1e-12)
    assert_allclose([np.nan, 0.6730116670092565], result.uncertainty)


def test_a_batch_is_judged_like_its_samples() -> None:
    """Judging many samples at once changes no value."""
    tree = trees(
        {"safe": 0.7, "unsafe|\n|S1": 0.3},
        {"x": 1.0},
        {"unsafe|\n|S1|,|S2": 0.8, "unsafe|\n|S2": 0.2},
    )
    for strategy in (greedy, marginal_any):
        batched = judge(strategy, tree)
        for i in range(3):
            alone = judge(strategy, tree.select([i]))
            assert alone.errors == batched.errors[i : i + 1]
            for name in ("score", "categories", "uncertainty"):
                assert_array_equal(getattr(alone, name)[0], getattr(batched, name)[i])


@pytest.mark.parametrize(
    ("point", "score", "category"),
    [("lower", 0.5, 0.2), ("mid", 0.5, 0.35), ("renorm", 2 / 7, 2 / 7)],
)
def test_points_between_bounds(point: Any, score: float, category: float) -> None:
    """Lower counts what is certain, mid splits the open mass, renorm leaves it out."""
    odds = {"safe": 0.5, "unsafe|\n|S1": 0.2, "unsafe|\n|S2|,|": 0.3}
    result = judge(marginal_any, trees(odds, budget=4), MarginalAnyOptions(point=point))

    assert result.score is not None
    assert result.categories is not None
    assert_allclose([score], result.score)
    assert_allclose(category, result.categories[0, 0])


def test_positive_levels_can_be_chosen() -> None:
    """Option `positive` says which levels the score is about."""
    tree = trees({"safe": 0.7, "unsafe|\n|S1": 0.3})
    calm = judge(marginal_any, tree, MarginalAnyOptions(positive=("safe",)))
    said = judge(greedy, tree, PositiveOptions(positive=("safe",)))

    assert_allclose([0.7], calm.score)
    assert_allclose([1.0], said.score)
    with pytest.raises(OptionError, match="no level 'harmful'"):
        judge(greedy, tree, PositiveOptions(positive=("harmful",)))


class Codes:
    """A policy, as far as strategies look."""

    def __init__(self, *codes: str) -> None:
        self.codes = codes


@pytest.mark.parametrize("strategy", [greedy, marginal_any])
@pytest.mark.parametrize(
    ("codes", "expected"),
    [(("S2", "S1"), [0.0, 1.0]), (("S1", "S3"), [1.0, np.nan])],
)
def test_categories_follow_the_policy(
    strategy: Any, codes: Sequence[str], expected: list[float]
) -> None:
    """Columns are in the policy's order; what the guard cannot say is unknown."""
    policy: Any = Codes(*codes)
    context = Context(task="prompt_harm", policy=policy)
    result = strategy(
        EvidenceBundle({VerdictTree: trees({"unsafe|\n|S1": 1.0})}), context
    )

    assert tuple(codes) == tuple(result.labels)
    assert_array_equal([expected], result.categories)


def test_guards_without_labels_have_no_categories() -> None:
    """A yes/no guard is scored, and has no category columns at all."""
    tree = trees(
        {"unsafe": 0.4, "safe": 0.6}, grammar=yes_no(positive="unsafe", negative="safe")
    )
    result = judge(marginal_any, tree)

    assert_allclose([0.4], result.score)
    assert result.categories is None
    assert () == tuple(result.labels)


def test_a_task_that_the_guard_does_not_answer_is_refused() -> None:
    """A guard of three tasks says so when asked for a fourth."""
    model = TableModel([b""], 0, [{}])
    options = ExploreOptions(max_tokens=1, force_canonical=False)
    tree = explore(model, [[0]], wildguard(), options).tree
    with pytest.raises(OptionError, match="does not answer jailbreak"):
        greedy(EvidenceBundle({VerdictTree: tree}), Context(task="jailbreak"))


def test_binary_entropy_in_nats() -> None:
    """Entropy is log 2 at one half, 0 where sure, NaN where unknown."""
    p = np.array([0.0, 0.5, 1.0, np.nan])

    assert_allclose([0.0, np.log(2), 0.0, np.nan], binary_entropy(p), atol=1e-15)
