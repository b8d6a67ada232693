"""Monte Carlo samples from what trees left open, and the estimates made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.errors import OptionError
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.automaton import label_bitmask
from safebench.verdict_tree.bounds import LabelPositions, TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench.verdict_tree.grammar import Grammar, Level
from safebench.verdict_tree.monte_carlo import (
    MonteCarloSamples,
    label_estimate,
    level_estimate,
    position_estimate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    BuildModel = Callable[..., TableModel]

SEEDS = 200
LEVELS = (Level(name="safe"), Level(name="unsafe", takes_labels=True, positive=True))
GRAMMAR = Grammar(levels=LEVELS, labels=("S1", "S2"), intro=" ", separators=(",",))
PIECES = ["safe", "unsafe S1", "unsafe S1,", "unsafe S", "S2", "1", "2"]
ROOT = {"safe": 0.1, "unsafe S1": 0.2, "unsafe S1,": 0.6, "unsafe S": 0.1}
HAND = {
    "": ROOT,
    "safe": {"$": 1.0},
    "unsafe S1": {"$": 1.0},
    "unsafe S1,": {"S2": 1.0},
    "unsafe S1,|S2": {"$": 1.0},
    "unsafe S": {"1": 0.5, "2": 0.5},
    "unsafe S|1": {"$": 1.0},
    "unsafe S|2": {"$": 1.0},
}


def estimates(
    model: TableModel, grammar: Grammar, options: ExploreOptions
) -> tuple[Any, TreeBounds]:
    """Return independent estimates (SEEDS, 2 L + 1), and the bounds of their trees.

    They are of each label, of each label as the first, and of a positive level. A
    prompt seeds its samples by all its tokens, and the model reads the last one alone.
    """
    prompts = [[seed, 0] for seed in range(SEEDS)]
    bounds = TreeBounds(explore(model, prompts, grammar, options).tree)
    level = level_estimate(bounds, grammar.positive_mask("prompt_harm"))
    first_label = position_estimate(LabelPositions(bounds, 1))
    return np.column_stack([label_estimate(bounds), first_label, level]), bounds


@pytest.mark.slow
def test_the_case_by_hand_is_unbiased(build_model: BuildModel) -> None:
    """All samples count: the mean is .85; of those that may still read S1 it is .839.

    Open are ``unsafe S1,`` (.6) and ``unsafe S`` (.1), which says S1 half of the time.
    """
    options = ExploreOptions(eps=0.0, max_tokens=2, force_canonical=False)
    tree_of_one = explore(build_model(PIECES, HAND), [[0]], GRAMMAR, options).tree
    rng, size = np.random.default_rng(0), 20_000
    tree = tree_of_one.select(np.zeros(size, dtype=np.int64))
    in_pair = rng.random((size, 10)) < 6 / 7
    labels = np.where(in_pair, 0b11, rng.integers(1, 3, size=(size, 10)))
    node_of = {
        [*PIECES, "$"][token]: n
        for n, token in enumerate(tree_of_one["token"].tolist())
        if n
    }
    node = np.where(in_pair, node_of["unsafe S1,"], node_of["unsafe S"])
    row = np.repeat(np.arange(size), 10)
    begin = tree.offsets["N"][row]
    zero = np.zeros(size * 10, dtype=np.int64)
    samples = MonteCarloSamples(
        row, begin + node.ravel(), zero, zero, labels.ravel(), zero, zero[:size]
    )
    bounds = TreeBounds(samples.add_to(TreeBounds(tree)))
    estimates_by_seed = label_estimate(bounds)[:, 0]
    with_label, open_samples = (~in_pair & (labels & 1 > 0)).sum(1), (~in_pair).sum(1)
    biased = 0.8 + 0.1 * np.divide(
        with_label, open_samples, out=np.zeros(size), where=open_samples > 0
    )
    error = estimates_by_seed.std() / np.sqrt(size)

    assert abs(estimates_by_seed.mean() - 0.85) <= 4 * error
    assert_allclose(0.8393, biased.mean(), atol=4 * error)
    assert estimates_by_seed.var() <= 0.7 * 0.1 / 10


def exact(case: dict[str, Any]) -> Any:
    """Return the enumerated values of what is estimated."""
    expected, labels = case["expected"], case["grammar"]["labels"]
    values = [expected[name][label] for name in ("A", "F_1") for label in labels]
    return np.array([*values, expected["positive"]])


@pytest.mark.slow
def test_estimates_are_unbiased(case: dict[str, Any]) -> None:
    """On enumerated models the mean of 200 seeds is within 4 standard errors."""
    table = {tuple(map(int, prefix.split())): p for prefix, p in case["model"].items()}
    token_bytes = [text.encode() for text in case["vocabulary"]["pieces"]]
    model = TableModel(token_bytes, case["vocabulary"]["eos"], [table])
    grammar = Grammar.from_json(case["grammar"])
    options = ExploreOptions(
        eps=0.1, max_tokens=case["D"], mc_samples=8, force_canonical=False
    )
    estimates_by_seed, bounds = estimates(model, grammar, options)
    error = estimates_by_seed.std(axis=0, ddof=1) / np.sqrt(SEEDS)
    variance_limit = min(bounds.open_mass[0] ** 2 / 4, 1.0) / 8

    # A probability so small that no sample met it has no standard error.
    unseen = bounds.open_mass[0] * 3.0 / (SEEDS * 8)
    assert (
        np.abs(estimates_by_seed.mean(axis=0) - exact(case))
        <= 4 * error + unseen + 1e-12
    ).all()
    assert (estimates_by_seed.var(axis=0, ddof=1) <= 1.5 * variance_limit + 1e-12).all()


def test_a_closed_tree_has_no_samples(build_model: BuildModel) -> None:
    """Its estimate is its exact value."""
    options = ExploreOptions(
        eps=0.0, max_tokens=4, force_canonical=False, mc_samples=50
    )
    tree = explore(build_model(PIECES, HAND), [[0]], GRAMMAR, options).tree
    bounds = TreeBounds(tree)

    assert 0 == len(tree["mc_node"])
    assert_array_equal(bounds.label_bounds.lower, label_estimate(bounds))
    assert_array_equal(
        LabelPositions(bounds, 1).bounds.lower,
        position_estimate(LabelPositions(bounds, 1)),
    )
    assert_allclose([0.9], level_estimate(bounds, [False, True]))


def test_samples_contain_what_their_part_is_certain_of(case: dict[str, Any]) -> None:
    """A sampled verdict has the labels and level of the open part it was drawn from."""
    table = {tuple(map(int, prefix.split())): p for prefix, p in case["model"].items()}
    token_bytes = [text.encode() for text in case["vocabulary"]["pieces"]]
    model = TableModel(token_bytes, case["vocabulary"]["eos"], [table])
    grammar = Grammar.from_json(case["grammar"])
    options = ExploreOptions(eps=0.05, max_tokens=case["D"], mc_samples=64)
    tree = explore(model, [[0]], grammar, options).tree
    bounds, node = TreeBounds(tree), tree["mc_node"]
    automaton = bounds.automaton
    closing = label_bitmask(automaton.stop_label[tree["state"][node]])
    certain = tree["labels_mask"][node] | np.where(tree["mc_kind"] == 1, closing, 0)
    level, first_label = tree["level"][node], tree["mc_first"]

    assert_array_equal(certain, certain & tree["mc_labels"])
    assert_array_equal(level[level >= 0], tree["mc_level"][level >= 0])
    assert_array_equal(first_label >= 0, tree["mc_labels"] > 0)
    assert (label_bitmask(first_label) & ~tree["mc_labels"] == 0).all()
    open_ = {
        (n, k)
        for n, k, o in zip(*bounds.partition[:2], bounds.partition.open, strict=True)
        if o
    }
    assert set(zip(node.tolist(), tree["mc_kind"].tolist(), strict=True)) <= open_


def test_samples_depend_on_prompt_and_seed_alone(build_model: BuildModel) -> None:
    """They do not depend on the batch; another seed gives others."""
    model = build_model(PIECES, HAND, HAND, HAND)
    options = ExploreOptions(
        eps=0.15, max_tokens=4, force_canonical=False, mc_samples=40
    )
    together = explore(model, [[0], [1], [2]], GRAMMAR, options).tree
    alone = explore(model, [[1]], GRAMMAR, options).tree
    other = explore(model, [[1]], GRAMMAR, replace(options, mc_seed=1)).tree

    assert alone.arrays.keys() == together.arrays.keys()
    for name in alone.arrays:
        assert_array_equal(alone[name], together.select([1])[name], name)
    assert alone["mc_labels"].tolist() != other["mc_labels"].tolist()
    assert (40, 1) == (other.meta["mc_samples"], other.meta["mc_seed"])


@pytest.mark.parametrize("prompts", [1, 5])
def test_samples_cost_a_forward_pass_a_token(
    build_model: BuildModel, prompts: int
) -> None:
    """Those of a whole batch take at most one pass a token, and count their nodes."""
    model = build_model(PIECES, *[HAND] * prompts)
    options = ExploreOptions(
        eps=0.15, max_tokens=4, force_canonical=False, mc_samples=40
    )
    prompts = [[i] for i in range(prompts)]
    estimates_by_seed = explore(model, prompts, GRAMMAR, options)
    without_samples = explore(model, prompts, GRAMMAR, replace(options, mc_samples=0))
    passes = sum(stats.forward_passes for stats in estimates_by_seed.stats)

    assert passes - sum(stats.forward_passes for stats in without_samples.stats) <= 3
    assert estimates_by_seed.stats[0].tokens > without_samples.stats[0].tokens


def test_estimates_need_samples(build_model: BuildModel) -> None:
    """Without samples the error says which option records them."""
    options = ExploreOptions(force_canonical=False, max_tokens=4)
    bounds = TreeBounds(
        explore(build_model(PIECES, HAND), [[0]], GRAMMAR, options).tree
    )
    with pytest.raises(OptionError, match="mc_samples"):
        label_estimate(bounds)
