"""A batch takes in more prompts as others finish, within a token budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.engine.cut import Cut
from safebench.engine.explore import Exploration, ExploreOptions, Explorer
from safebench.engine.grammars import llama_guard
from safebench.engine.intake import Intake
from safebench.engine.until import Until, UntilCertain, UntilGap
from safebench.testing.table_model import TableModel

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECES = ["safe", "unsafe", "\n", "S", "1", "2", ",S"]
GRAMMAR = llama_guard(("S1", "S2"))
DEPTH = 12
Rows = dict[tuple[int, ...], "Sequence[float]"]


def table(labels: int, rng: np.random.Generator) -> Rows:
    """Return a verdict of some labels, with a little of everything else beside it."""
    said, out = (), Rows()
    says = ["unsafe", "\n", "S", "1"] + [",S", "2"] * (labels - 1)
    tokens = [PIECES.index(piece) for piece in says] if labels else [0]
    for token in [*tokens, len(PIECES)]:
        p = 0.2 * rng.dirichlet(np.full(len(PIECES) + 1, 0.5))
        p[token] += 0.8
        out[said] = p.tolist()
        said = (*said, token)
    return out


def model_of(count: int) -> TableModel:
    """Return a model of prompts that end early and late, in no order."""
    rng = np.random.default_rng(1)
    pieces = [*(piece.encode() for piece in PIECES), b""]
    tables = [table((0, 0, 0, 1, 4)[i % 5], rng) for i in range(count)]
    return TableModel(pieces, len(PIECES), tables)


def explored(count: int, budget: int | None, **options: Any) -> tuple[Exploration, int]:
    """Explore prompts of one token each; return what was found and the passes."""
    model = model_of(count)
    chosen = ExploreOptions(**({"eps": 0.01, "budget": DEPTH} | options))
    explorer = Explorer(model, GRAMMAR, chosen)
    return explorer.explore([[i] for i in range(count)], budget), model.forward_calls


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"draft": ""},
        {"forced": False},
        {"max_nodes": 3},
        {"until": UntilGap(width=2)},
        {"until": Until(width=1), "max_nodes": 5, "draft": ""},
        {"until": UntilCertain(width=2)},
    ],
)
@pytest.mark.parametrize("budget", [1, 5, 16])
def test_refilled_trees_are_those_of_one_batch(
    options: dict[str, Any], budget: int
) -> None:
    """Bit for bit, under every rule, whoever was beside a prompt."""
    count = 23
    if options.get("draft") is not None:
        budget *= 12  # draft and prompt
    whole, _ = explored(count, None, **options)
    refilled, _ = explored(count, budget, **options)

    for name in ("logp", "token", "flags", "status", "stop", "rest", "top_logits"):
        for row in range(count):
            one, two = whole.tree.take([row]), refilled.tree.take([row])
            if options.get("draft") is None:
                assert_array_equal(one[name], two[name], name)
            else:  # nodes that waited for a pass come in another order
                assert_array_equal(np.sort(one[name], 0), np.sort(two[name], 0), name)
    assert_allclose(Cut(whole.tree).gap, Cut(refilled.tree).gap)
    for one, two in zip(whole.facts, refilled.facts, strict=True):
        assert (one.raw, one.tokens) == (two.raw, two.tokens)


@pytest.mark.parametrize("budget", [4, 16, 50])
def test_forward_calls_are_bounded_by_full_batches(budget: int) -> None:
    """At most 1 + D passes for each half of a full batch that is let in.

    A refill brings at least half of a batch's rows (the last may bring fewer), takes
    one pass itself, and is live for at most D passes.
    """
    count = 100
    found, calls = explored(count, budget)
    halves = 1 + int(np.ceil(count / (budget / 2)))

    assert calls <= halves * (1 + DEPTH)
    assert calls == pytest.approx(sum(fact.forward_passes for fact in found.facts))


def test_refilling_takes_fewer_passes_than_batches() -> None:
    """Where a few prompts go deep, the others need not wait for them."""
    count, budget = 100, 20
    _, refilled = explored(count, budget)
    model = model_of(count)
    explorer = Explorer(model, GRAMMAR, ExploreOptions(eps=0.01, budget=DEPTH))
    for first in range(0, count, budget):
        explorer.explore([[i] for i in range(first, first + budget)])

    assert refilled < 0.85 * model.forward_calls


def test_draws_refuse_a_budget() -> None:
    """They need all prompts at once."""
    with pytest.raises(AssertionError, match="draws need all prompts"):
        explored(3, 2, mc_samples=4)


def test_intake_by_hand() -> None:
    """Rows times the longest within the budget; in again below half."""
    intake = Intake([6, 5, 5, 3, 3, 2, 2, 2, 1], 18)
    nobody = np.empty(0, dtype=np.int64)

    assert intake.due(nobody)
    assert range(3) == intake.admit(nobody)
    assert not intake.due(np.array([0, 1]))
    assert intake.due(np.array([1]))
    assert range(3, 5) == intake.admit(np.array([1]))
    assert intake.due(np.array([4]))
    assert range(5, 9) == intake.admit(np.array([4]))
    assert not intake.waiting
    assert not intake.due(nobody)


def test_a_prompt_above_the_budget_is_let_in_alone() -> None:
    """It would never fit beside another."""
    intake = Intake([50, 4, 4], 10)
    nobody = np.empty(0, dtype=np.int64)

    assert range(1) == intake.admit(nobody)
    assert range(1, 3) == intake.admit(nobody)
