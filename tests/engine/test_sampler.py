"""Monte Carlo draws from what trees left open."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.engine.automaton import label_bits
from safebench.engine.cut import Cut
from safebench.engine.estimates import label_drawn, level_drawn, place_drawn
from safebench.engine.explore import ExploreOptions, explore
from safebench.engine.grammar import Grammar, Level
from safebench.engine.places import Places
from safebench.engine.sampler import Draws
from safebench.errors import OptionError
from safebench.evidence import VerdictTree
from safebench.testing.table_model import TableModel

if TYPE_CHECKING:
    from collections.abc import Callable

    Told = Callable[..., TableModel]

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
) -> tuple[Any, Cut]:
    """Return independent estimates (SEEDS, 2 L + 1), and their cut.

    Of labels anywhere, of labels in the first place, and of a positive level.
    A prompt's draws are seeded by all of it, but the model heeds its last token alone.
    """
    prompts = [[seed, 0] for seed in range(SEEDS)]
    cut = Cut(explore(model, prompts, grammar, options).tree)
    level = level_drawn(cut, grammar.positives("prompt_harm"))
    first = place_drawn(Places(cut, 1))
    return np.column_stack([label_drawn(cut), first, level]), cut


def test_the_case_by_hand_is_unbiased(told: Told) -> None:
    """All draws count: the mean is .85, not .839, that of draws that can still say S1.

    Open are ``unsafe S1,`` (.6) and ``unsafe S`` (.1), which says S1 half of the time.
    """
    options = ExploreOptions(eps=0.0, budget=2, forced=False)
    one = explore(told(PIECES, HAND), [[0]], GRAMMAR, options).tree
    rng, size = np.random.default_rng(0), 20_000
    tree = one.take(np.zeros(size, dtype=np.int64))
    pair = rng.random((size, 10)) < 6 / 7
    labels = np.where(pair, 0b11, rng.integers(1, 3, size=(size, 10)))
    where = {
        [*PIECES, "$"][token]: n for n, token in enumerate(one["token"].tolist()) if n
    }
    node = np.where(pair, where["unsafe S1,"], where["unsafe S"])
    row = np.repeat(np.arange(size), 10)
    begin = tree.offsets["N"][row]
    zero = np.zeros(size * 10, dtype=np.int64)
    draws = Draws(
        row, begin + node.ravel(), zero, zero, labels.ravel(), zero, zero[:size]
    )
    cut = Cut(draws.added_to(Cut(tree)))
    found = label_drawn(cut)[:, 0]
    hits, met = (~pair & (labels & 1 > 0)).sum(1), (~pair).sum(1)
    biased = 0.8 + 0.1 * np.divide(hits, met, out=np.zeros(size), where=met > 0)
    error = found.std() / np.sqrt(size)

    assert abs(found.mean() - 0.85) <= 4 * error
    assert_allclose(0.8393, biased.mean(), atol=4 * error)
    assert found.var() <= 0.7 * 0.1 / 10


def exact(case: dict[str, Any]) -> Any:
    """Return the enumerated values of what is estimated."""
    expected, labels = case["expected"], case["grammar"]["labels"]
    values = [expected[name][label] for name in ("A", "F_1") for label in labels]
    return np.array([*values, expected["positive"]])


@pytest.mark.parametrize("eps", [0.3, 0.05])
def test_draws_are_unbiased(case: dict[str, Any], eps: float) -> None:
    """On enumerated models the mean of 200 seeds is within 4 standard errors."""
    table = {tuple(map(int, said.split())): p for said, p in case["model"].items()}
    pieces = [piece.encode() for piece in case["vocabulary"]["pieces"]]
    model = TableModel(pieces, case["vocabulary"]["eos"], [table])
    grammar = Grammar.from_json(case["grammar"])
    options = ExploreOptions(eps=eps, budget=case["D"], mc_samples=8, forced=False)
    found, cut = estimates(model, grammar, options)
    error = found.std(axis=0, ddof=1) / np.sqrt(SEEDS)
    limit = min(cut.gap[0] ** 2 / 4, 1.0) / 8

    # A probability so small that no draw met it has no standard error of its own.
    unseen = cut.gap[0] * 3.0 / (SEEDS * 8)
    assert (
        np.abs(found.mean(axis=0) - exact(case)) <= 4 * error + unseen + 1e-12
    ).all()
    assert (found.var(axis=0, ddof=1) <= 1.5 * limit + 1e-12).all()


def test_without_a_gap_nothing_is_drawn(told: Told) -> None:
    """A whole tree has no draws, and its estimate is its exact value, always."""
    options = ExploreOptions(eps=0.0, budget=4, forced=False, mc_samples=50)
    tree = explore(told(PIECES, HAND), [[0]], GRAMMAR, options).tree
    cut = Cut(tree)

    assert 0 == len(tree["mc_node"])
    assert_array_equal(cut.label_bounds.lower, label_drawn(cut))
    assert_array_equal(Places(cut, 1).bounds.lower, place_drawn(Places(cut, 1)))
    assert_allclose([0.9], level_drawn(cut, [False, True]))


def test_draws_hold_what_their_element_does(case: dict[str, Any]) -> None:
    """A draw's verdict contains its element's labels and level, on an open element."""
    table = {tuple(map(int, said.split())): p for said, p in case["model"].items()}
    pieces = [piece.encode() for piece in case["vocabulary"]["pieces"]]
    model = TableModel(pieces, case["vocabulary"]["eos"], [table])
    grammar = Grammar.from_json(case["grammar"])
    options = ExploreOptions(eps=0.05, budget=case["D"], mc_samples=64)
    tree = explore(model, [[0]], grammar, options).tree
    cut, node = Cut(tree), tree["mc_node"]
    table_of = cut.table
    closing = label_bits(table_of.stop_label[tree["state"][node]])
    held = tree["labels_mask"][node] | np.where(tree["mc_kind"] == 1, closing, 0)
    level, first = tree["level"][node], tree["mc_first"]

    assert_array_equal(held, held & tree["mc_labels"])
    assert_array_equal(level[level >= 0], tree["mc_level"][level >= 0])
    assert_array_equal(first >= 0, tree["mc_labels"] > 0)
    assert (label_bits(first) & ~tree["mc_labels"] == 0).all()
    open_ = {
        (n, k)
        for n, k, o in zip(*cut.elements[:2], cut.elements.open, strict=True)
        if o
    }
    assert set(zip(node.tolist(), tree["mc_kind"].tolist(), strict=True)) <= open_


def test_draws_depend_on_prompt_and_seed_alone(told: Told) -> None:
    """Beside other prompts a sample's draws are the same; another seed gives others."""
    model = told(PIECES, HAND, HAND, HAND)
    options = ExploreOptions(eps=0.15, budget=4, forced=False, mc_samples=40)
    together = explore(model, [[0], [1], [2]], GRAMMAR, options).tree
    alone = explore(model, [[1]], GRAMMAR, options).tree
    other = explore(model, [[1]], GRAMMAR, replace(options, mc_seed=1)).tree

    for name in VerdictTree.SCHEMA:
        assert_array_equal(alone[name], together.take([1])[name], name)
    assert alone["mc_labels"].tolist() != other["mc_labels"].tolist()
    assert (40, 1) == (other.meta["mc_samples"], other.meta["mc_seed"])


@pytest.mark.parametrize("prompts", [1, 5])
def test_draws_cost_a_pass_a_token(told: Told, prompts: int) -> None:
    """Draws of a whole batch take at most one pass a token, and count their nodes."""
    model = told(PIECES, *[HAND] * prompts)
    options = ExploreOptions(eps=0.15, budget=4, forced=False, mc_samples=40)
    asked = [[i] for i in range(prompts)]
    found = explore(model, asked, GRAMMAR, options)
    plain = explore(model, asked, GRAMMAR, replace(options, mc_samples=0))
    calls = sum(fact.forward_passes for fact in found.facts)

    assert calls - sum(fact.forward_passes for fact in plain.facts) <= 3
    assert found.facts[0].tokens > plain.facts[0].tokens


def test_estimates_need_draws(told: Told) -> None:
    """Without draws the estimate says which option records them."""
    options = ExploreOptions(forced=False, budget=4)
    cut = Cut(explore(told(PIECES, HAND), [[0]], GRAMMAR, options).tree)
    with pytest.raises(OptionError, match="mc_samples"):
        label_drawn(cut)
