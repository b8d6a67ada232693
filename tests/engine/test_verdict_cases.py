"""The engine against 30 enumerated table models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.engine.cut import Bounds, Cut
from safebench.engine.faults import malformed, truncated
from safebench.engine.forest import ENDED, MALFORMED

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.engine.explore import Exploration

    Explore = Callable[[dict[str, Any], float], Exploration]

TINY = 1e-9
EPS = [0.0, 1e-4, 1e-3, 1e-2]


def bounded(case: dict[str, Any], cut: Cut) -> list[tuple[Any, Bounds]]:
    """Pair what is expected with its bounds; all are (1,) or (1, labels)."""
    expected, grammar = case["expected"], cut.table.grammar
    pairs = [
        (expected["positive"], cut.level_bounds(grammar.positives("prompt_harm"))),
        (expected["invalid"], cut.invalid),
        ([[expected["A"][label] for label in grammar.labels]], cut.label_bounds),
    ]
    for i, level in enumerate(grammar.levels):
        wanted = [i == j for j in range(len(grammar.levels))]
        pairs.append((expected["levels"][level.name], cut.level_bounds(wanted)))
    if expected["malformed"] is not None:
        found = malformed(cut)
        assert found is not None
        pairs.append((expected["malformed"], found))
    return pairs


def test_without_a_cut_every_quantity_is_exact(
    case: dict[str, Any], explore_case: Explore
) -> None:
    """At eps 0 the lower bounds are the enumerated values, the gap the truncation."""
    cut = Cut(explore_case(case, 0.0).tree)
    expected = case["expected"]

    for value, bounds in bounded(case, cut):
        assert_allclose(bounds.lower, value, rtol=0, atol=TINY)
    assert_allclose(cut.gap, expected["truncated"], rtol=0, atol=TINY)
    assert_allclose(truncated(cut), expected["truncated"], rtol=0, atol=TINY)
    assert_allclose(
        cut.label_bounds.lower.sum(), expected["expected_labels"], rtol=0, atol=TINY
    )
    assert_allclose(
        cut.invalid.upper - cut.invalid.lower,
        expected["truncated_without_level"],
        rtol=0,
        atol=TINY,
    )


@pytest.mark.parametrize("eps", EPS)
def test_bounds_hold_the_exact_value(
    case: dict[str, Any], explore_case: Explore, eps: float
) -> None:
    """Whatever the cut, exact values lie between bounds no further apart than gap."""
    cut = Cut(explore_case(case, eps).tree)

    assert case["expected"]["truncated"] <= cut.gap[0] + TINY
    for value, (lower, upper) in bounded(case, cut):
        assert (lower <= np.array(value) + TINY).all()
        assert (np.array(value) <= upper + TINY).all()
    assert (np.ptp(cut.label_bounds, axis=0) <= cut.gap[0] + TINY).all()


@pytest.mark.parametrize("eps", EPS)
def test_mass_is_kept(case: dict[str, Any], explore_case: Explore, eps: float) -> None:
    """The elements of a cut sum to 1, and so do a node's children and remainders."""
    tree = explore_case(case, eps).tree
    cut = Cut(tree)

    children = np.bincount(
        tree["parent"][1:], np.exp(tree["logp"][1:]), len(tree["parent"])
    )
    split = children[tree["node"]] + tree["stop"] + tree["closed"] + tree["rest"]
    assert_allclose(cut.elements.mass.sum(), 1.0, rtol=0, atol=TINY)
    assert_allclose(split, 1.0, rtol=0, atol=TINY)


@pytest.mark.parametrize("eps", EPS)
def test_greedy_path_is_followed_to_its_end(
    case: dict[str, Any], explore_case: Explore, eps: float
) -> None:
    """The greedy path has the enumerated tokens, text, end, level, labels and P."""
    found = explore_case(case, eps)
    tree, cut, expected = found.tree, Cut(found.tree), case["expected"]["greedy"]
    grammar, last = cut.table.grammar, cut.greedy[0]
    path = [n for n in range(1, len(tree["parent"])) if tree["flags"][n] & 1]
    labels = [tree["label"][n] for n in path if tree["label"][n] >= 0]
    level = tree["level"][last]
    ended, flagged = tree["status"][last] == ENDED, tree["flags"][last] & MALFORMED
    eos = tree["token"][last] == case["vocabulary"]["eos"]

    assert expected["ids"] == tree["token"][path].tolist()
    assert expected["text"] == found.facts[0].raw
    assert expected["labels"] == [grammar.labels[label] for label in labels]
    assert expected["level"] == (grammar.levels[level].name if level >= 0 else None)
    assert bool(expected["malformed"]) == bool(flagged)
    assert expected["end"] == (
        "budget" if not ended else "eos" if eos else "off_grammar"
    )
    assert_allclose(cut.mass[last], expected["P"], rtol=0, atol=TINY)
