"""Guards whose verdicts have other forms, explored by the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from numpy.testing import assert_allclose

from safebench.testing.grammars import llama_guard, wildguard
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench.verdict_tree.grammar import Grammar, Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.testing.table_model import TableModel

    BuildModel = Callable[..., TableModel]

EXACT = ExploreOptions(eps=0.0, max_nodes=None)
LABELS = ("S1", "S10")
WILDGUARD = wildguard()


def test_split_digits_do_not_give_s10_to_s1(build_model: BuildModel) -> None:
    """Where digits are tokens, S1 counts only once nothing can continue it."""
    model = build_model(
        ["unsafe", "\n", "S", "1", "0"],
        {
            "": {"unsafe": 1.0},
            "unsafe": {"\n": 1.0},
            "unsafe|\n": {"S": 1.0},
            "unsafe|\n|S": {"1": 1.0},
            "unsafe|\n|S|1": {"0": 0.7, "$": 0.3},
            "unsafe|\n|S|1|0": {"$": 1.0},
        },
    )
    grammar = Grammar(
        levels=(Level(name="unsafe", takes_labels=True, positive=True),),
        labels=LABELS,
        separators=("\n",),
    )
    bounds = TreeBounds(explore(model, [[0]], grammar, EXACT).tree)

    assert_allclose([[0.3, 0.7]], bounds.label_bounds.lower, atol=1e-12)


def test_three_levels(build_model: BuildModel) -> None:
    """A label counts under all levels that take labels; P(positive) under one."""
    model = build_model(
        ["controversial", "unsafe", "safe", "\n", "S1"],
        {
            "": {"controversial": 0.6, "unsafe": 0.3, "safe": 0.1},
            "safe": {"$": 1.0},
            **{
                text: {following: 1.0}
                for level in ("controversial", "unsafe")
                for text, following in (
                    (level, "\n"),
                    (f"{level}|\n", "S1"),
                    (f"{level}|\n|S1", "$"),
                )
            },
        },
    )
    levels = (
        Level(name="safe"),
        Level(name="controversial", takes_labels=True),
        Level(name="unsafe", takes_labels=True, positive=True),
    )
    grammar = Grammar(levels=levels, labels=("S1",), separators=("\n",))
    bounds = TreeBounds(explore(model, [[0]], grammar, EXACT).tree)

    assert_allclose([[0.9]], bounds.label_bounds.lower, atol=1e-12)
    assert_allclose(
        [0.3], bounds.level_bounds(grammar.positive_mask("any")).lower, atol=1e-12
    )


def test_one_text_that_answers_three_tasks(build_model: BuildModel) -> None:
    """P(positive) of each task sums the combinations in which it is answered so."""
    request, refusal, response = (
        "Harmful request: ",
        "\nResponse refusal: ",
        "\nHarmful response: ",
    )
    rows = {"": {request: 1.0}, request: {"yes": 0.8, "no": 0.2}}
    for first in ("yes", "no"):
        after_first = f"{request}|{first}"
        rows[after_first] = {refusal: 1.0}
        rows[f"{after_first}|{refusal}"] = {"yes": 0.5, "no": 0.1, "N/A": 0.4}
        for second in ("yes", "no", "N/A"):
            after_second = f"{after_first}|{refusal}|{second}"
            rows[after_second] = {response: 0.75, "$": 0.25}
            rows[f"{after_second}|{response}"] = {"yes": 0.2, "no": 0.6, "N/A": 0.2}
            for third in ("yes", "no", "N/A"):
                rows[f"{after_second}|{response}|{third}"] = {"$": 1.0}
    model = build_model([request, refusal, response, "yes", "no", "N/A"], rows)
    tree = explore(model, [[0]], WILDGUARD, EXACT).tree
    bounds = TreeBounds(tree)
    probabilities = {
        task: bounds.level_bounds(WILDGUARD.positive_mask(task)).lower[0]
        for task in ("prompt_harm", "refusal", "response_harm")
    }

    assert {
        "prompt_harm": pytest.approx(0.8 * 0.75),
        "refusal": pytest.approx(0.5 * 0.75),
        "response_harm": pytest.approx(0.75 * 0.2),
    } == probabilities
    assert_allclose([0.25], bounds.invalid_bounds.lower, atol=1e-12)
    assert bounds.open_mass[0] < 1e-12


def test_answers_that_are_already_read_narrow_the_bounds(
    build_model: BuildModel,
) -> None:
    """In an open composite verdict only the tasks not yet answered are open."""
    pieces = ["Harmful request: yes", "\nResponse refusal: ", "no"]
    first, second, _ = pieces
    model = build_model(pieces, {"": {first: 1.0}, first: {second: 1.0}})
    options = ExploreOptions(max_tokens=2, force_canonical=False)
    bounds = TreeBounds(explore(model, [[0]], WILDGUARD, options).tree)
    no_request = [level.name.startswith("no|") for level in WILDGUARD.levels]

    assert [0.0] == bounds.level_bounds(no_request).upper
    assert [1.0] == bounds.level_bounds(WILDGUARD.positive_mask("refusal")).upper


def test_greedy_eos_at_the_root(build_model: BuildModel) -> None:
    """A model that writes nothing has an invalid greedy verdict, and still bounds."""
    pieces = ["safe", "unsafe", "\n", "S", "1", "0", ","]
    model = build_model(pieces, {"": {"$": 0.6, "safe": 0.4}, "safe": {"$": 1.0}})
    probabilities = explore(model, [[0]], llama_guard(LABELS), EXACT)
    bounds = TreeBounds(probabilities.tree)
    last = bounds.greedy_end[0]

    assert "" == probabilities.stats[0].raw
    assert (-1, 0) == (
        probabilities.tree["level"][last],
        probabilities.tree["flags"][last] & 8,
    )
    assert_allclose([0.6], bounds.invalid_bounds.lower, atol=1e-12)
    assert_allclose([0.4], bounds.level_bounds([True, False]).lower, atol=1e-12)
