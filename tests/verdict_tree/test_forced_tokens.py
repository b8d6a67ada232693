"""Canonical tokens that are recorded whatever their probability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.tree import EXPANDED, GREEDY, LABEL_START, LEVEL_START

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.verdict_tree.explorer import Exploration

    Explore = Callable[[dict[str, Any], float], Exploration]

EPS = [0.0, 1e-3, 1e-2]


def follow(tree: Any, node: int, tokens: list[int]) -> int | None:
    """Follow tokens from a node of a one-sample tree; None where a node is missing."""
    for token in tokens:
        matches = (tree["parent"] == node) & (tree["token"] == token)
        if not matches.any():
            return None
        node = int(matches.argmax())
    return node


@pytest.mark.parametrize("eps", EPS)
def test_forced_levels_give_first_token(
    strict_case: dict[str, Any], explore_case: Explore, eps: float
) -> None:
    """Canonical levels are recorded under every likely opener, however unlikely."""
    expected, canonical = strict_case["expected"], strict_case["canonical"]
    tree = explore_case(strict_case, eps).tree
    bounds = TreeBounds(tree)
    likely = [p > 0 and p >= eps for p in expected["opener_P"].values()]
    positive, everything = 0.0, 0.0
    for opener in (o for o, p in zip(canonical["openers"], likely, strict=True) if p):
        slot = follow(tree, 0, opener)
        assert slot is not None
        assert tree["flags"][slot] & LEVEL_START
        for i, tokens in enumerate(canonical["levels"]):
            node = follow(tree, slot, tokens)
            assert node is not None
            everything += bounds.mass[node]
            positive += (
                bounds.mass[node] * strict_case["grammar"]["levels"][i]["positive"]
            )

    if eps < min(p for p in [*expected["opener_P"].values(), 1.0] if p > 0):
        assert_allclose(positive / everything, expected["first_token"], atol=1e-9)


@pytest.mark.parametrize("eps", EPS)
def test_forced_labels_give_the_first_slot(
    strict_case: dict[str, Any], explore_case: Explore, eps: float
) -> None:
    """At the first slot every label is recorded up to where it is closed."""
    tree = explore_case(strict_case, eps).tree
    bounds = TreeBounds(tree)
    starts = np.nonzero((tree["flags"] & LABEL_START > 0) & (tree["slot"] == 0))[0]
    greedy = [n for n in starts if tree["flags"][n] & GREEDY]
    labels = strict_case["expected"]["c_1"] or {}
    slot = greedy[0] if greedy else canonical_slot(strict_case, tree) if labels else 0
    prefix_tokens = count_prefix_tokens(strict_case)
    probabilities = {}
    for label in labels:
        node = follow(
            tree, slot, strict_case["canonical"]["labels"][label][prefix_tokens:]
        )
        probabilities[label] = 0.0
        if node is not None and tree["status"][node] == EXPANDED:
            probability = np.exp(bounds.path_logp[node] - bounds.path_logp[slot])
            probabilities[label] = probability * closing_probability(
                strict_case, tree, node
            )

    assert pytest.approx(labels, abs=1e-9) == probabilities


@pytest.mark.parametrize("eps", [1e-3, 0.5])
def test_every_label_is_recorded_at_later_slots_of_the_greedy_path(
    strict_case: dict[str, Any], explore_case: Explore, eps: float
) -> None:
    """Where the greedy path names another label, all others stand beside it."""
    tree = explore_case(strict_case, eps).tree
    flags = LABEL_START | GREEDY
    depth = TreeBounds(tree).depth
    starts = np.nonzero((tree["flags"] & flags == flags) & (tree["slot"] > 0))[0]
    prefix_tokens, missing = count_prefix_tokens(strict_case), []
    for slot in starts:
        for label, tokens in strict_case["canonical"]["labels"].items():
            fits_in = depth[slot] + len(tokens) - prefix_tokens <= strict_case["D"]
            if fits_in and follow(tree, int(slot), tokens[prefix_tokens:]) is None:
                missing.append((int(slot), label))

    assert [] == missing


def canonical_slot(case: dict[str, Any], tree: Any) -> int:
    """Return the first slot on the canonical verdict."""
    expected, canonical = case["expected"]["greedy"], case["canonical"]
    levels = case["grammar"]["levels"]
    openers = zip(case["grammar"]["openers"], canonical["openers"], strict=True)
    matching = [(o, ids) for o, ids in openers if expected["text"].startswith(o)]
    opener = max(matching, key=lambda pair: len(pair[0]))[1]
    greedy_levels = [
        i for i, lv in enumerate(levels) if lv["name"] == expected["level"]
    ]
    with_labels = [i for i in greedy_levels if levels[i]["takes_labels"]]
    level = (with_labels or [i for i, lv in enumerate(levels) if lv["positive"]])[0]
    label = next(iter(canonical["labels"].values()))
    tokens = opener + canonical["levels"][level] + canonical["intro"]
    node = follow(tree, 0, tokens + label[: count_prefix_tokens(case)])
    assert node is not None
    return node


def count_prefix_tokens(case: dict[str, Any]) -> int:
    """Count the tokens that all labels start with."""
    strict_case = list(case["canonical"]["labels"].values())
    length = 0
    while len({tuple(ids[: length + 1]) for ids in strict_case}) == 1:
        length += 1
    return length


def closing_probability(case: dict[str, Any], tree: Any, node: int) -> float:
    """Return the probability that a label read at a node is closed by what follows."""
    row = int(np.nonzero(tree["node"] == node)[0][0])
    pieces, cont = case["vocabulary"]["pieces"], case["grammar"]["cont"]
    children = np.nonzero(tree["parent"] == node)[0]
    closing_mass = sum(
        np.exp(tree["logp"][child])
        for child in children
        if tree["token"][child] == case["vocabulary"]["eos"]
        or pieces[tree["token"][child]][0] not in cont
    )
    return float(closing_mass + tree["stop"][row] + tree["closed"][row])
