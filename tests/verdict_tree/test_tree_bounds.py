"""Bounds of trees that leave something open: a case by hand, and brute force."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench.verdict_tree.grammar import Grammar, Level

if TYPE_CHECKING:
    from collections.abc import Callable

LEVELS = (
    Level(name="safe"),
    Level(name="unsafe", takes_labels=True, positive=True),
)


def by_hand(build_model: Callable[..., TableModel]) -> TableModel:
    """Return a model: safe .1, unsafe S1 .2, ``unsafe S1,`` .6, ``unsafe S`` .1."""
    return build_model(
        ["safe", "unsafe S1", "unsafe S1,", "unsafe S", "S2", "1", "2"],
        {
            "": {"safe": 0.1, "unsafe S1": 0.2, "unsafe S1,": 0.6, "unsafe S": 0.1},
            "safe": {"$": 1.0},
            "unsafe S1": {"$": 1.0},
            "unsafe S1,": {"S2": 1.0},
            "unsafe S1,|S2": {"$": 1.0},
            "unsafe S": {"1": 0.5, "2": 0.5},
            "unsafe S|1": {"$": 1.0},
            "unsafe S|2": {"$": 1.0},
        },
    )


GRAMMAR = Grammar(levels=LEVELS, labels=("S1", "S2"), intro=" ", separators=(",",))


def test_the_case_by_hand_is_bounded(build_model: Callable[..., TableModel]) -> None:
    """Open parts count for what is certain in them, and for nothing else."""
    options = ExploreOptions(eps=0.0, max_tokens=2, force_canonical=False)
    bounds = TreeBounds(explore(by_hand(build_model), [[0]], GRAMMAR, options).tree)
    lower, upper = bounds.label_bounds

    assert_allclose([0.8, 0.9], [lower[0, 0], upper[0, 0]], atol=1e-12)
    assert_allclose([0.7], bounds.open_mass, atol=1e-12)
    assert_allclose([0.2 / 0.3], bounds.label_renormalized()[:, 0], atol=1e-12)
    assert_allclose([0.9], bounds.level_bounds([False, True]).lower, atol=1e-12)
    assert_allclose([0.2 / 0.3], bounds.level_renormalized([False, True]), atol=1e-12)


def test_the_case_by_hand_is_exact_with_room(
    build_model: Callable[..., TableModel],
) -> None:
    """With tokens enough nothing is open, and S1 has its probability."""
    options = ExploreOptions(eps=0.0, max_tokens=4, force_canonical=False)
    bounds = TreeBounds(explore(by_hand(build_model), [[0]], GRAMMAR, options).tree)

    assert_allclose(0.85, bounds.label_bounds.lower[0, 0], atol=1e-12)
    assert_allclose([0.0], bounds.open_mass, atol=1e-12)


def test_labels_out_of_reach_are_not_open(
    build_model: Callable[..., TableModel],
) -> None:
    """Where no second label may follow, the first leaves room for its kin alone."""
    grammar = Grammar(
        levels=LEVELS, labels=("S1", "S2", "S10"), intro=" ", separators=()
    )
    model = build_model(
        ["unsafe S", "1"], {"": {"unsafe S": 1.0}, "unsafe S": {"1": 1.0}}
    )
    options = ExploreOptions(max_tokens=2, force_canonical=False)
    bounds = TreeBounds(explore(model, [[0]], grammar, options).tree)

    assert_allclose([[1.0, 0.0, 1.0]], bounds.label_bounds.upper)
    assert_allclose([1.0], bounds.open_mass)


PIECES = ["\n\n", "unsafe", "safe", "\n", "S", "1", "0", ",", ",S", "1,"]
LABELS = ("S1", "S10", "S11")
BUDGET = 6


def sparse_table(rng: np.random.Generator) -> dict[tuple[int, ...], list[float]]:
    """Return a table in which three tokens may follow, likely ones of the grammar."""
    width = len(PIECES) + 1
    table: dict[tuple[int, ...], list[float]] = {}
    for depth in range(BUDGET):
        prefixes = (
            [()]
            if depth == 0
            else [
                (*prefix, token)
                for prefix, p in table.items()
                if len(prefix) == depth - 1
                for token in np.nonzero(p)[0].tolist()
                if token != len(PIECES)
            ]
        )
        for prefix in prefixes:
            likely = [[1, 2, 0], [3], [4], [5], [5, 6, 7, 8, 9]][min(depth, 4)]
            tokens = {int(rng.choice(likely)), *rng.integers(width, size=2).tolist()}
            p = np.zeros(width)
            p[sorted(tokens)] = rng.dirichlet(np.ones(len(tokens)))
            table[prefix] = p.tolist()
    return table


def verdict(text: str, *, over: bool) -> tuple[str | None, set[str]]:
    """Read a verdict with regular expressions; `over`: it ended, no more will come."""
    level_match = re.match(r"(?:\n\n)?(unsafe|safe)(?![\w-])", text)
    if level_match and level_match.end() == len(text) and not over:
        return None, set()  # the word may go on
    if not level_match or level_match[1] == "safe":
        return level_match and level_match[1], set()
    labels_read, text, separator = set(), text[level_match.end() :], r"\n"
    while match := re.match(rf"{separator}(S\d+)(.?)", text, re.DOTALL):
        if match[1] not in LABELS or not (match[2] or over):
            break
        labels_read.add(match[1])
        text, separator = text[match.end(1) :], "(?:, |,)"
    return "unsafe", labels_read


@pytest.mark.parametrize("seed", range(12))
def test_bounds_against_brute_force(seed: int) -> None:
    """Sums over all texts that the model can write lie in the bounds."""
    table = sparse_table(np.random.default_rng(seed))
    eos = len(PIECES)
    exact, unsafe, prefixes = dict.fromkeys(LABELS, 0.0), 0.0, [((), 1.0)]
    for depth in range(BUDGET):
        last, longer_prefixes = depth == BUDGET - 1, []
        for (prefix, p), token in product(prefixes, range(eos + 1)):
            mass = p * table[prefix][token]
            path: tuple[int, ...] = (*prefix, token)
            if mass and token != eos and not last:
                longer_prefixes.append((path, mass))
            elif mass:
                text = "".join(PIECES[t] for t in path if t != eos)
                level, labels = verdict(text, over=token == eos)
                unsafe += mass * (level == "unsafe")
                for label in labels:
                    exact[label] += mass
        prefixes = longer_prefixes
    model = TableModel([*(p.encode() for p in PIECES), b""], eos, [table])
    values = np.array([[exact[label] for label in LABELS]])
    for eps, force_canonical in product((0.0, 1e-3, 1e-2, 0.1, 0.4), (True, False)):
        options = ExploreOptions(
            eps=eps, max_nodes=None, max_tokens=BUDGET, force_canonical=force_canonical
        )
        bounds = TreeBounds(explore(model, [[0]], llama_guard(LABELS), options).tree)
        lower, upper = bounds.label_bounds
        level = bounds.level_bounds([False, True])
        assert (lower <= values + 1e-12).all()
        assert (values <= upper + 1e-12).all()
        assert level.lower[0] <= unsafe + 1e-12
        assert unsafe <= level.upper[0] + 1e-12
        if eps == 0:
            assert_allclose(values, lower, atol=1e-12)
            assert_allclose([unsafe], level.lower, atol=1e-12)
