"""Best-first growth, and the stopping rules that end it."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.evidence import VerdictTree
from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.automaton import compile_grammar
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, TreeExplorer, explore
from safebench.verdict_tree.grammar import Grammar, Level
from safebench.verdict_tree.stopping import (
    DecisionStop,
    ExpansionStep,
    GapStop,
    RunningBounds,
    StoppingRule,
    ThresholdRule,
    TreeLimits,
    positive_levels_by_task,
)
from safebench.verdict_tree.tree import EXPANDED, FORCED, GREEDY

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECES = ["safe", "unsafe", "\n", "S", "1", "2", "0", ",", ",S"]
GRAMMAR = llama_guard(("S1", "S2", "S10", "S20"))
BUDGET = 9
FINE = ExploreOptions(eps=0.0, max_nodes=None, max_tokens=BUDGET)


def wordy_model(prompts: int, seed: int = 0) -> TableModel:
    """Return a model that mostly keeps to the grammar, with many labels likely."""
    rng = np.random.default_rng(seed)
    width = len(PIECES) + 1
    next_tokens = {"": [0, 1], "unsafe": [2], "\n": [3], "S": [4, 5], "1": [6, 8, 9]}
    next_tokens |= {"2": [6, 8, 9], "0": [8, 9], ",": [3], ",S": [4, 5], "safe": [9]}

    def table() -> dict[tuple[int, ...], Sequence[float]]:
        rows: dict[tuple[int, ...], Sequence[float]] = {}
        prefixes: list[tuple[int, ...]] = [()]
        for _ in range(BUDGET):
            longer_prefixes = []
            for prefix in prefixes:
                likely = next_tokens[PIECES[prefix[-1]] if prefix else ""]
                p = np.zeros(width)
                p[likely] = rng.dirichlet(1.5 + 3.0 * (np.array(likely) == width - 1))
                rows[prefix] = (0.99 * p + 0.01 / width).tolist()
                longer_prefixes += [
                    (*prefix, token) for token in likely if token < width - 1
                ]
            prefixes = longer_prefixes
        return rows

    token_bytes = [*(text.encode() for text in PIECES), b""]
    return TableModel(token_bytes, len(PIECES), [table() for _ in range(prompts)])


def count_optional(tree: VerdictTree) -> int:
    """Count the expanded nodes of a tree that nothing required."""
    flags = tree["flags"][tree["status"] == EXPANDED]
    return int((flags & (GREEDY | FORCED) == 0).sum())


def test_gap_stops_once_it_is_small_enough() -> None:
    """The open mass ends below delta; a smaller delta takes more nodes, never all."""
    model = wordy_model(1)
    counts = []
    for delta in (0.1, 0.05, 0.03):
        rule = GapStop(delta=delta, width=1)
        options = replace(FINE, stopping_rule=rule, force_canonical=False)
        tree = explore(model, [[0]], GRAMMAR, options).tree
        assert TreeBounds(tree).open_mass[0] <= delta
        counts.append(count_optional(tree))

    assert sorted(set(counts)) == counts
    assert counts[-1] < count_optional(explore(model, [[0]], GRAMMAR, FINE).tree) / 2


@pytest.mark.parametrize("tau", [0.2, 0.5, 0.8])
def test_certify_settles_every_decision(tau: float) -> None:
    """No bounds straddle tau, the decisions are the exact ones, nodes are saved."""
    model = wordy_model(6, seed=2)
    prompts = [[row] for row in range(6)]
    exact = explore(model, prompts, GRAMMAR, FINE).tree
    rule = DecisionStop(tau=tau, width=2)
    tree = explore(model, prompts, GRAMMAR, replace(FINE, stopping_rule=rule)).tree
    bounds, exact_bounds = TreeBounds(tree), TreeBounds(exact)

    for (lower, upper), value in [
        (bounds.label_bounds, exact_bounds.label_bounds.lower),
        (
            bounds.level_bounds([False, True]),
            exact_bounds.level_bounds([False, True]).lower,
        ),
    ]:
        assert not ((lower < tau) & (tau <= upper)).any()
        assert_array_equal(value >= tau, lower >= tau)
    assert count_optional(tree) < count_optional(exact)
    assert tau == tree.meta["stop"]["decisions_only_at"]


@pytest.mark.parametrize("max_nodes", [0, 7, 16, 40])
def test_max_nodes_takes_the_likeliest(max_nodes: int) -> None:
    """One at a time, what was expanded is likelier than all that was left open."""
    model = wordy_model(1, seed=3)
    options = replace(
        FINE,
        max_nodes=max_nodes,
        stopping_rule=StoppingRule(width=1),
        force_canonical=False,
    )
    tree = explore(model, [[0]], GRAMMAR, options).tree
    bounds = TreeBounds(tree)
    on_path = tree["flags"] & GREEDY > 0
    expanded = bounds.mass[(tree["status"] == EXPANDED) & ~on_path]
    parts = bounds.partition
    left_open = bounds.mass[parts.node[parts.open & (parts.kind == 0)]]
    within = left_open[bounds.depth[parts.node[parts.open & (parts.kind == 0)]] < 9]

    assert max_nodes == count_optional(tree)
    assert within.max(initial=0.0) <= expanded.min(initial=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 8, 32])
@pytest.mark.parametrize(
    "rule", [StoppingRule(), GapStop(delta=0.02), DecisionStop(tau=0.3)]
)
def test_forward_calls_stay_within_their_limit(rule: StoppingRule, width: int) -> None:
    """Whatever the batch: one pass a token, and one a full wave of nodes."""
    for prompts in (1, 3, 20):
        model = wordy_model(prompts, seed=4)
        options = replace(FINE, max_nodes=48, stopping_rule=replace(rule, width=width))
        explore(model, [[row] for row in range(prompts)], GRAMMAR, options)
        assert model.forward_calls <= 2 + BUDGET + ceil(48 / width)


def test_bounds_hold_under_every_rule(case: dict[str, Any]) -> None:
    """Exact values of enumerated models lie within the bounds, wherever it stops."""
    table = {tuple(map(int, prefix.split())): p for prefix, p in case["model"].items()}
    token_bytes = [text.encode() for text in case["vocabulary"]["pieces"]]
    model = TableModel(token_bytes, case["vocabulary"]["eos"], [table])
    grammar = Grammar.from_json(case["grammar"])
    labels = [[case["expected"]["A"][label] for label in grammar.labels]]
    for rule in (GapStop(delta=0.1), DecisionStop(), StoppingRule(width=8)):
        options = ExploreOptions(
            eps=1e-3, max_nodes=10, max_tokens=case["D"], stopping_rule=rule
        )
        bounds = TreeBounds(explore(model, [[0]], grammar, options).tree)
        lower, upper = bounds.level_bounds(grammar.positive_mask("prompt_harm"))
        assert lower[0] - 1e-9 <= case["expected"]["positive"] <= upper[0] + 1e-9
        assert (bounds.label_bounds.lower <= np.array(labels) + 1e-9).all()
        assert (np.array(labels) <= bounds.label_bounds.upper + 1e-9).all()


def test_a_tree_does_not_depend_on_its_batch() -> None:
    """Best-first too, every prompt's columns are those of a batch of its own."""
    model = wordy_model(5, seed=5)
    options = replace(FINE, stopping_rule=GapStop(delta=0.1, width=4))
    explorer = TreeExplorer(model, GRAMMAR, options)
    together = explorer.explore([[row] for row in range(5)]).tree
    for row in (4, 0):
        alone = explorer.explore([[row]]).tree
        for name in set(VerdictTree.SCHEMA) - VerdictTree.OPTIONAL:
            assert_array_equal(alone[name], together.select([row])[name], name)


def test_running_bounds_agree_with_stored_trees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the last wave the running bounds are those of the packed trees."""
    table = compile_grammar(GRAMMAR)
    all_running: list[RunningBounds] = []

    class RecordingRule(ThresholdRule):
        def __init__(self, limits: TreeLimits) -> None:
            super().__init__(limits)
            all_running.append(RunningBounds(table))

        def add_roots(self, start: Any) -> None:
            all_running[-1].add_roots(start)
            super().add_roots(start)

        def select(self, step: ExpansionStep) -> Any:
            all_running[-1].update(step)
            return super().select(step)

    monkeypatch.setattr("safebench.verdict_tree.explorer.ThresholdRule", RecordingRule)
    for eps in (0.1, 0.01):
        options = ExploreOptions(eps=eps, max_tokens=BUDGET)
        tree = explore(wordy_model(3), [[0], [1], [2]], GRAMMAR, options).tree
        bounds, running = TreeBounds(tree), all_running[-1]
        level = bounds.level_bounds([False, True])
        assert_allclose(bounds.open_mass, running.open_mass, atol=1e-12)
        assert_allclose(
            np.column_stack([bounds.label_bounds.lower, level.lower]), running.lower
        )
        assert_allclose(
            np.column_stack([bounds.label_bounds.upper, level.upper]),
            running.upper,
            atol=1e-12,
        )


def test_every_task_has_its_positive_levels() -> None:
    """A level may be positive for one task and not for another: both are certified."""
    levels = (
        Level(name="a", positive={"prompt_harm": True, "refusal": False}),
        Level(name="b", positive={"prompt_harm": False, "refusal": True}),
    )
    assert [[False, True], [True, False]] == positive_levels_by_task(
        Grammar(levels=levels)
    ).tolist()
    assert [[False, True]] == positive_levels_by_task(GRAMMAR).tolist()
