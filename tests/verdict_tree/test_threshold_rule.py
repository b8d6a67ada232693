"""The threshold rule: how wide trees grow, and what a smaller threshold adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench.verdict_tree.grammar import Grammar, Level
from safebench.verdict_tree.tree import EXPANDED, FORCED, GREEDY

if TYPE_CHECKING:
    from safebench.evidence import VerdictTree

PIECES = [b"safe", b"unsafe", b"\n", b"S", b"1", b"2", b",", b"x", b""]
LABELS = ("S1", "S2")
# Without entries all nine tokens are equally likely, and lenient text never ends.
ANY = TableModel(PIECES, 8, [{}])


def unforced_by_level(tree: VerdictTree) -> list[int]:
    """Count, token by token, the expanded nodes that nothing required."""
    chosen = (tree["status"] == EXPANDED) & (tree["flags"] & (GREEDY | FORCED) == 0)
    return [int(count) for count in np.bincount(TreeBounds(tree).depth[chosen])]


@pytest.mark.parametrize(
    ("eps", "counts"),
    [(0.1, [0, 7]), (1.2e-2, [0, 7, 63]), (2e-3, [0, 7, 63]), (1e-3, [0, 7, 63, 511])],
)
def test_a_level_holds_at_most_one_over_eps_nodes(
    eps: float, counts: list[int]
) -> None:
    """Of 9 tokens 8 go on and one node a level is greedy: 8^d - 1 while 9^-d >= eps."""
    unsafe = Level(name="unsafe", takes_labels=True)
    grammar = Grammar(levels=(unsafe,), labels=LABELS, mode="lenient")
    options = ExploreOptions(eps=eps, max_nodes=None, max_tokens=6)

    tree = explore(ANY, [[0]], grammar, options).tree

    assert counts == unforced_by_level(tree)
    assert max(counts) <= 1 / eps
    optional = tree["flags"] & (GREEDY | FORCED) == 0
    assert TreeBounds(tree).mass[optional].min() >= eps


def test_forced_nodes_are_kept_beside_them() -> None:
    """Above every child's probability: root, two levels, line feed, S, two labels."""
    options = ExploreOptions(eps=0.5, max_nodes=0, max_tokens=6)
    tree = explore(ANY, [[0]], llama_guard(LABELS), options).tree

    assert [] == unforced_by_level(tree)
    assert 7 == (tree["status"] == EXPANDED).sum()


def test_a_smaller_eps_never_leaves_more_open() -> None:
    """More nodes leave less open, on a model that may say anything."""
    rng = np.random.default_rng(0)
    table: dict[tuple[int, ...], list[float]] = {(): rng.dirichlet(np.ones(9)).tolist()}
    table |= {(t,): rng.dirichlet(np.full(9, 0.3)).tolist() for t in range(8)}
    grammar = Grammar(
        levels=(Level(name="safe"), Level(name="unsafe", takes_labels=True)),
        openers=("", "\n"),
        labels=LABELS,
    )
    open_masses, sizes = [], []
    for eps in (0.3, 0.1, 1e-2, 1e-3, 1e-4, 0.0):
        options = ExploreOptions(eps=eps, max_nodes=None, max_tokens=5)
        tree = explore(TableModel(PIECES, 8, [table]), [[0]], grammar, options).tree
        open_masses.append(float(TreeBounds(tree).open_mass[0]))
        sizes.append(len(tree["parent"]))

    assert sorted(open_masses, reverse=True) == open_masses
    assert sorted(sizes) == sizes
    assert open_masses[0] > open_masses[-1]
