"""Stop rules that grow trees best-first."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.engine.automaton import compile_grammar
from safebench.engine.cut import Cut
from safebench.engine.explore import ExploreOptions, Explorer, explore
from safebench.engine.forest import EXPANDED, FORCED, GREEDY
from safebench.engine.grammar import Grammar, Level
from safebench.engine.grammars import llama_guard
from safebench.engine.ledger import Ledger, positive_levels
from safebench.engine.rules import EpsRule, Limits, Step
from safebench.engine.until import Until, UntilCertain, UntilGap
from safebench.evidence import VerdictTree
from safebench.testing.table_model import TableModel

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECES = ["safe", "unsafe", "\n", "S", "1", "2", "0", ",", ",S"]
GRAMMAR = llama_guard(("S1", "S2", "S10", "S20"))
BUDGET = 9
FINE = ExploreOptions(eps=0.0, max_nodes=None, budget=BUDGET)


def wordy_model(prompts: int, seed: int = 0) -> TableModel:
    """Return a model that mostly keeps to the grammar, with many labels likely."""
    rng = np.random.default_rng(seed)
    width = len(PIECES) + 1
    after = {"": [0, 1], "unsafe": [2], "\n": [3], "S": [4, 5], "1": [6, 8, 9]}
    after |= {"2": [6, 8, 9], "0": [8, 9], ",": [3], ",S": [4, 5], "safe": [9]}

    def table() -> dict[tuple[int, ...], Sequence[float]]:
        rows: dict[tuple[int, ...], Sequence[float]] = {}
        front: list[tuple[int, ...]] = [()]
        for _ in range(BUDGET):
            longer = []
            for said in front:
                likely = after[PIECES[said[-1]] if said else ""]
                p = np.zeros(width)
                p[likely] = rng.dirichlet(1.5 + 3.0 * (np.array(likely) == width - 1))
                rows[said] = (0.99 * p + 0.01 / width).tolist()
                longer += [(*said, token) for token in likely if token < width - 1]
            front = longer
        return rows

    pieces = [*(piece.encode() for piece in PIECES), b""]
    return TableModel(pieces, len(PIECES), [table() for _ in range(prompts)])


def free(tree: VerdictTree) -> int:
    """Count the expanded nodes of a tree that nothing required."""
    flags = tree["flags"][tree["status"] == EXPANDED]
    return int((flags & (GREEDY | FORCED) == 0).sum())


def test_gap_stops_once_it_is_small_enough() -> None:
    """The gap ends below delta; a smaller delta takes more nodes, but never all."""
    model = wordy_model(1)
    counts = []
    for delta in (0.1, 0.05, 0.03):
        until = UntilGap(delta=delta, width=1)
        options = replace(FINE, until=until, forced=False)
        tree = explore(model, [[0]], GRAMMAR, options).tree
        assert Cut(tree).gap[0] <= delta
        counts.append(free(tree))

    assert sorted(set(counts)) == counts
    assert counts[-1] < free(explore(model, [[0]], GRAMMAR, FINE).tree) / 2


@pytest.mark.parametrize("tau", [0.2, 0.5, 0.8])
def test_certify_settles_every_decision(tau: float) -> None:
    """No bounds straddle tau, the decisions are the exact ones, nodes are saved."""
    model = wordy_model(6, seed=2)
    prompts = [[row] for row in range(6)]
    exact = explore(model, prompts, GRAMMAR, FINE).tree
    until = UntilCertain(tau=tau, width=2)
    tree = explore(model, prompts, GRAMMAR, replace(FINE, until=until)).tree
    cut, whole = Cut(tree), Cut(exact)

    for (lower, upper), value in [
        (cut.label_bounds, whole.label_bounds.lower),
        (cut.level_bounds([False, True]), whole.level_bounds([False, True]).lower),
    ]:
        assert not ((lower < tau) & (tau <= upper)).any()
        assert_array_equal(value >= tau, lower >= tau)
    assert free(tree) < free(exact)
    assert tau == tree.meta["stop"]["decisions_only_at"]


@pytest.mark.parametrize("most", [0, 7, 16, 40])
def test_max_nodes_takes_the_likeliest(most: int) -> None:
    """One at a time, what was expanded is likelier than all that was left open."""
    model = wordy_model(1, seed=3)
    options = replace(FINE, max_nodes=most, until=Until(width=1), forced=False)
    tree = explore(model, [[0]], GRAMMAR, options).tree
    cut = Cut(tree)
    on_path = tree["flags"] & GREEDY > 0
    chosen = cut.mass[(tree["status"] == EXPANDED) & ~on_path]
    elements = cut.elements
    left = cut.mass[elements.node[elements.open & (elements.kind == 0)]]
    within = left[cut.depth[elements.node[elements.open & (elements.kind == 0)]] < 9]

    assert most == free(tree)
    assert within.max(initial=0.0) <= chosen.min(initial=1.0)


@pytest.mark.parametrize("width", [1, 8, 32])
@pytest.mark.parametrize(
    "until", [Until(), UntilGap(delta=0.02), UntilCertain(tau=0.3)]
)
def test_forward_calls_stay_within_their_limit(until: Until, width: int) -> None:
    """Whatever the batch: one pass a token, and one a full wave of nodes."""
    for prompts in (1, 3, 20):
        model = wordy_model(prompts, seed=4)
        options = replace(FINE, max_nodes=48, until=replace(until, width=width))
        explore(model, [[row] for row in range(prompts)], GRAMMAR, options)
        assert model.forward_calls <= 2 + BUDGET + ceil(48 / width)


def test_bounds_hold_under_every_rule(case: dict[str, Any]) -> None:
    """Exact values of enumerated models lie within the bounds, wherever it stops."""
    table = {tuple(map(int, said.split())): p for said, p in case["model"].items()}
    pieces = [piece.encode() for piece in case["vocabulary"]["pieces"]]
    model = TableModel(pieces, case["vocabulary"]["eos"], [table])
    grammar = Grammar.from_json(case["grammar"])
    labels = [[case["expected"]["A"][label] for label in grammar.labels]]
    for until in (UntilGap(delta=0.1), UntilCertain(), Until(width=8)):
        options = ExploreOptions(eps=1e-3, max_nodes=10, budget=case["D"], until=until)
        cut = Cut(explore(model, [[0]], grammar, options).tree)
        lower, upper = cut.level_bounds(grammar.positives("prompt_harm"))
        assert lower[0] - 1e-9 <= case["expected"]["positive"] <= upper[0] + 1e-9
        assert (cut.label_bounds.lower <= np.array(labels) + 1e-9).all()
        assert (np.array(labels) <= cut.label_bounds.upper + 1e-9).all()


def test_a_tree_does_not_depend_on_its_batch() -> None:
    """Best-first too, every prompt's columns are those of a batch of its own."""
    model = wordy_model(5, seed=5)
    options = replace(FINE, until=UntilGap(delta=0.1, width=4))
    explorer = Explorer(model, GRAMMAR, options)
    together = explorer.explore([[row] for row in range(5)]).tree
    for row in (4, 0):
        alone = explorer.explore([[row]]).tree
        for name in set(VerdictTree.SCHEMA) - VerdictTree.OPTIONAL:
            assert_array_equal(alone[name], together.take([row])[name], name)


def test_a_ledger_agrees_with_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last wave the running bounds are those of the packed trees."""
    table = compile_grammar(GRAMMAR)
    books: list[Ledger] = []

    class Booked(EpsRule):
        def __init__(self, limits: Limits) -> None:
            super().__init__(limits)
            books.append(Ledger(table))

        def admit(self, start: Any) -> None:
            books[-1].admit(start)
            super().admit(start)

        def choose(self, step: Step) -> Any:
            books[-1].record(step)
            return super().choose(step)

    monkeypatch.setattr("safebench.engine.explore.EpsRule", Booked)
    for eps in (0.1, 0.01):
        options = ExploreOptions(eps=eps, budget=BUDGET)
        tree = explore(wordy_model(3), [[0], [1], [2]], GRAMMAR, options).tree
        cut, book = Cut(tree), books[-1]
        level = cut.level_bounds([False, True])
        assert_allclose(cut.gap, book.gap, atol=1e-12)
        assert_allclose(
            np.column_stack([cut.label_bounds.lower, level.lower]), book.lower
        )
        assert_allclose(
            np.column_stack([cut.label_bounds.upper, level.upper]),
            book.upper,
            atol=1e-12,
        )


def test_every_task_has_its_positive_levels() -> None:
    """A level may be positive for one task and not for another: both are certified."""
    levels = (
        Level(name="a", positive={"prompt_harm": True, "refusal": False}),
        Level(name="b", positive={"prompt_harm": False, "refusal": True}),
    )
    assert [[False, True], [True, False]] == positive_levels(
        Grammar(levels=levels)
    ).tolist()
    assert [[False, True]] == positive_levels(GRAMMAR).tolist()
