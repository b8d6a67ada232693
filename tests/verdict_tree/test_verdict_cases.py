"""Trees of 30 table models against enumerated values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.testing.failure_modes import malformed, truncated
from safebench.verdict_tree.bounds import Bounds, TreeBounds
from safebench.verdict_tree.tree import ENDED, MALFORMED

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.verdict_tree.explorer import Exploration

    Explore = Callable[[dict[str, Any], float], Exploration]

TINY = 1e-9
EPS = [0.0, 1e-4, 1e-3, 1e-2]


def expected_with_bounds(
    case: dict[str, Any], tree_bounds: TreeBounds
) -> list[tuple[Any, Bounds]]:
    """Pair what is expected with its bounds; all are (1,) or (1, labels)."""
    expected, grammar = case["expected"], tree_bounds.automaton.grammar
    pairs = [
        (
            expected["positive"],
            tree_bounds.level_bounds(grammar.positive_mask("prompt_harm")),
        ),
        (expected["invalid"], tree_bounds.invalid_bounds),
        (
            [[expected["A"][label] for label in grammar.labels]],
            tree_bounds.label_bounds,
        ),
    ]
    for i, level in enumerate(grammar.levels):
        levels = [i == j for j in range(len(grammar.levels))]
        pairs.append((expected["levels"][level.name], tree_bounds.level_bounds(levels)))
    if expected["malformed"] is not None:
        exploration = malformed(tree_bounds)
        assert exploration is not None
        pairs.append((expected["malformed"], exploration))
    return pairs


def test_every_quantity_is_exact_at_eps_0(
    case: dict[str, Any], explore_case: Explore
) -> None:
    """Lower bounds are the enumerated values, and what is open is the truncation."""
    tree_bounds = TreeBounds(explore_case(case, 0.0).tree)
    expected = case["expected"]

    for value, bounds in expected_with_bounds(case, tree_bounds):
        assert_allclose(bounds.lower, value, rtol=0, atol=TINY)
    assert_allclose(tree_bounds.open_mass, expected["truncated"], rtol=0, atol=TINY)
    assert_allclose(truncated(tree_bounds), expected["truncated"], rtol=0, atol=TINY)
    assert_allclose(
        tree_bounds.label_bounds.lower.sum(),
        expected["expected_labels"],
        rtol=0,
        atol=TINY,
    )
    assert_allclose(
        tree_bounds.invalid_bounds.upper - tree_bounds.invalid_bounds.lower,
        expected["truncated_without_level"],
        rtol=0,
        atol=TINY,
    )


@pytest.mark.parametrize("eps", EPS)
def test_bounds_hold_the_exact_value(
    case: dict[str, Any], explore_case: Explore, eps: float
) -> None:
    """Exact values lie in the bounds, which differ by no more than the open mass."""
    tree_bounds = TreeBounds(explore_case(case, eps).tree)

    assert case["expected"]["truncated"] <= tree_bounds.open_mass[0] + TINY
    for value, (lower, upper) in expected_with_bounds(case, tree_bounds):
        assert (lower <= np.array(value) + TINY).all()
        assert (np.array(value) <= upper + TINY).all()
    assert (
        np.ptp(tree_bounds.label_bounds, axis=0) <= tree_bounds.open_mass[0] + TINY
    ).all()


@pytest.mark.parametrize("eps", EPS)
def test_mass_is_kept(case: dict[str, Any], explore_case: Explore, eps: float) -> None:
    """The parts of a tree sum to 1, and so do a node's children and remainders."""
    tree = explore_case(case, eps).tree
    tree_bounds = TreeBounds(tree)

    children = np.bincount(
        tree["parent"][1:], np.exp(tree["logp"][1:]), len(tree["parent"])
    )
    split = children[tree["node"]] + tree["stop"] + tree["closed"] + tree["rest"]
    assert_allclose(tree_bounds.partition.mass.sum(), 1.0, rtol=0, atol=TINY)
    assert_allclose(split, 1.0, rtol=0, atol=TINY)


@pytest.mark.parametrize("eps", EPS)
def test_greedy_path_is_followed_to_its_end(
    case: dict[str, Any], explore_case: Explore, eps: float
) -> None:
    """The greedy path has the enumerated tokens, text, end, level, labels and P."""
    exploration = explore_case(case, eps)
    tree, tree_bounds, expected = (
        exploration.tree,
        TreeBounds(exploration.tree),
        case["expected"]["greedy"],
    )
    grammar, last = tree_bounds.automaton.grammar, tree_bounds.greedy_end[0]
    path = [n for n in range(1, len(tree["parent"])) if tree["flags"][n] & 1]
    labels = [tree["label"][n] for n in path if tree["label"][n] >= 0]
    level = tree["level"][last]
    ended, flagged = tree["status"][last] == ENDED, tree["flags"][last] & MALFORMED
    eos = tree["token"][last] == case["vocabulary"]["eos"]

    assert expected["ids"] == tree["token"][path].tolist()
    assert expected["text"] == exploration.stats[0].raw
    assert expected["labels"] == [grammar.labels[label] for label in labels]
    assert expected["level"] == (grammar.levels[level].name if level >= 0 else None)
    assert bool(expected["malformed"]) == bool(flagged)
    assert expected["end"] == (
        "budget" if not ended else "eos" if eos else "off_grammar"
    )
    assert_allclose(tree_bounds.mass[last], expected["P"], rtol=0, atol=TINY)
