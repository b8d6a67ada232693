"""A batch admits more prompts as others finish, within a limit on its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import (
    BatchAdmission,
    Exploration,
    ExploreOptions,
    TreeExplorer,
)
from safebench.verdict_tree.stopping import DecisionStop, GapStop, StoppingRule

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECES = ["safe", "unsafe", "\n", "S", "1", "2", ",S"]
GRAMMAR = llama_guard(("S1", "S2"))
DEPTH = 12
Rows = dict[tuple[int, ...], "Sequence[float]"]


def table(labels: int, rng: np.random.Generator) -> Rows:
    """Return a likely verdict of some labels, and little probability elsewhere."""
    prefix, rows = (), Rows()
    texts = ["unsafe", "\n", "S", "1"] + [",S", "2"] * (labels - 1)
    tokens = [PIECES.index(text) for text in texts] if labels else [0]
    for token in [*tokens, len(PIECES)]:
        p = 0.2 * rng.dirichlet(np.full(len(PIECES) + 1, 0.5))
        p[token] += 0.8
        rows[prefix] = p.tolist()
        prefix = (*prefix, token)
    return rows


def model_of(count: int) -> TableModel:
    """Return a model of short and long verdicts, in no order."""
    rng = np.random.default_rng(1)
    token_bytes = [*(text.encode() for text in PIECES), b""]
    tables = [table((0, 0, 0, 1, 4)[i % 5], rng) for i in range(count)]
    return TableModel(token_bytes, len(PIECES), tables)


def explored(
    count: int, batch_tokens: int | None, **options: Any
) -> tuple[Exploration, int]:
    """Explore prompts of one token each; return the trees and the forward passes."""
    model = model_of(count)
    explore_options = ExploreOptions(**({"eps": 0.01, "max_tokens": DEPTH} | options))
    explorer = TreeExplorer(model, GRAMMAR, explore_options)
    return explorer.explore(
        [[i] for i in range(count)], batch_tokens
    ), model.forward_calls


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"draft_opener": ""},
        {"force_canonical": False},
        {"max_nodes": 3},
        {"stopping_rule": GapStop(width=2)},
        {"stopping_rule": StoppingRule(width=1), "max_nodes": 5, "draft_opener": ""},
        {"stopping_rule": DecisionStop(width=2)},
    ],
)
@pytest.mark.parametrize("batch_tokens", [1, 16])
def test_refilled_trees_are_those_of_one_batch(
    options: dict[str, Any], batch_tokens: int
) -> None:
    """Bit for bit, under every rule, whichever prompts shared the batch."""
    count = 23
    if options.get("draft_opener") is not None:
        batch_tokens *= 12  # draft and prompt
    whole, _ = explored(count, None, **options)
    refilled, _ = explored(count, batch_tokens, **options)

    for name in ("logp", "token", "flags", "status", "stop", "rest", "top_logits"):
        for row in range(count):
            first, second = whole.tree.select([row]), refilled.tree.select([row])
            if options.get("draft_opener") is None:
                assert_array_equal(first[name], second[name], name)
            else:  # nodes that waited for a pass come in another order
                assert_array_equal(
                    np.sort(first[name], 0), np.sort(second[name], 0), name
                )
    assert_allclose(
        TreeBounds(whole.tree).open_mass, TreeBounds(refilled.tree).open_mass
    )
    for first, second in zip(whole.stats, refilled.stats, strict=True):
        assert (first.raw, first.tokens) == (second.raw, second.tokens)


@pytest.mark.parametrize("batch_tokens", [4, 16, 50])
def test_forward_calls_are_bounded_by_full_batches(batch_tokens: int) -> None:
    """At most 1 + D passes for each half of a full batch that is admitted.

    A refill brings at least half of a batch's rows (the last may bring fewer), takes
    one pass itself, and is live for at most D passes.
    """
    count = 100
    exploration, calls = explored(count, batch_tokens)
    half_batches = 1 + int(np.ceil(count / (batch_tokens / 2)))

    assert calls <= half_batches * (1 + DEPTH)
    assert calls == pytest.approx(
        sum(stats.forward_passes for stats in exploration.stats)
    )


@pytest.mark.slow
def test_refilling_takes_fewer_passes_than_batches() -> None:
    """Where a few prompts go deep, the others need not wait for them."""
    count, batch_tokens = 100, 20
    _, refilled = explored(count, batch_tokens)
    model = model_of(count)
    explorer = TreeExplorer(model, GRAMMAR, ExploreOptions(eps=0.01, max_tokens=DEPTH))
    for start in range(0, count, batch_tokens):
        explorer.explore([[i] for i in range(start, start + batch_tokens)])

    assert refilled < 0.85 * model.forward_calls


def test_monte_carlo_samples_refuse_a_token_limit() -> None:
    """They need all prompts at once."""
    with pytest.raises(AssertionError, match="samples need all prompts"):
        explored(3, 2, mc_samples=4)


def test_admission_by_hand() -> None:
    """Rows times the longest row stay within the limit; it refills below half."""
    admission = BatchAdmission([6, 5, 5, 3, 3, 2, 2, 2, 1], 18)
    none_live = np.empty(0, dtype=np.int64)

    assert admission.has_room(none_live)
    assert range(3) == admission.admit(none_live)
    assert not admission.has_room(np.array([0, 1]))
    assert admission.has_room(np.array([1]))
    assert range(3, 5) == admission.admit(np.array([1]))
    assert admission.has_room(np.array([4]))
    assert range(5, 9) == admission.admit(np.array([4]))
    assert not admission.waiting
    assert not admission.has_room(none_live)


def test_a_prompt_above_the_limit_is_admitted_alone() -> None:
    """It would never fit beside another."""
    admission = BatchAdmission([50, 4, 4], 10)
    none_live = np.empty(0, dtype=np.int64)

    assert range(1) == admission.admit(none_live)
    assert range(1, 3) == admission.admit(none_live)
