"""Batches of like length: their padding, and their plan under a token budget."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="batches are for its networks")

from safebench.torch_utils import Batcher, pad
from safebench.torch_utils.batching import plan_batches

MIN_LENGTH_RATIO = 0.8


@pytest.fixture
def lengths() -> list[int]:
    """Return 3,000 lengths as prompts have them: most short, some very long."""
    rng = np.random.default_rng(0)
    return np.clip(rng.lognormal(4, 1, 3000), 3, 256).astype(int).tolist()


def padding_share(lengths: list[int], batches: list[list[int]]) -> float:
    """Return the share of padding among all tokens of some batches."""
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    return 1 - sum(lengths) / padded


def test_a_length_ratio_bounds_padding_whatever_the_budget(lengths: list[int]) -> None:
    """A budget alone does not: in one batch, most of the tokens are padding."""
    unbounded = plan_batches(lengths, 10**9)
    bounded = plan_batches(lengths, 10**9, MIN_LENGTH_RATIO)

    assert 1 == len(unbounded)
    assert padding_share(lengths, unbounded) > 0.6
    assert padding_share(lengths, bounded) < 0.1
    assert sorted(row for batch in bounded for row in batch) == list(range(3000))


def test_a_length_ratio_keeps_the_budget(lengths: list[int]) -> None:
    """Rows x longest row is at most the budget, but for a row that is alone."""
    batches = plan_batches(lengths, 2048, MIN_LENGTH_RATIO)

    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 2048
    assert padding_share(lengths, batches) < 0.05
    assert [[0], [1]] == plan_batches([5000, 7], 2048, MIN_LENGTH_RATIO)


def test_small_batches_are_not_cut_for_their_lengths() -> None:
    """Eight rows stay together, however different; the ninth must be long enough."""
    assert [list(range(8))] == plan_batches([100, *[1] * 7], 10**9, MIN_LENGTH_RATIO)
    assert [list(range(8)), [8]] == plan_batches([100, *[1] * 8], 10**9, 0.8)


@pytest.mark.slow
def test_a_batcher_tells_that_its_budget_shrank() -> None:
    """The budget halves until the work fits; what never fits comes back as None."""
    batcher = Batcher(64, MIN_LENGTH_RATIO)
    assert {} == batcher.state

    def work(batch: list[int]) -> int:
        if len(batch) > 2 or 0 in batch:
            raise MemoryError
        return len(batch)

    results = {row: done for batch, done in batcher.run([8] * 9, work) for row in batch}

    assert None is results.pop(0)
    assert {1, 2, 3, 4, 5, 6, 7, 8} == set(results)
    assert all(results.values())
    assert {"batch_tokens": batcher.budget} == batcher.state


def test_rows_are_filled_up_on_either_side() -> None:
    """Zeros stand before or behind the tokens, and are told from a token 0."""
    rows = [(5, 0), (7,)]

    tokens, real = pad(rows)
    assert [[5, 0], [0, 7]] == tokens.tolist()
    assert [[True, True], [False, True]] == real.tolist()
    tokens, real = pad(rows, "right")
    assert [[5, 0], [7, 0]] == tokens.tolist()
    assert [[True, True], [True, False]] == real.tolist()


def test_a_budget_of_none_is_what_the_device_holds() -> None:
    """A batch of a GPU is larger; a budget that is given stands for both."""
    budgets = [Batcher.for_device(device).budget for device in ("cpu", "cuda")]

    assert budgets[0] < budgets[1]
    assert 7 == Batcher.for_device("cuda", 7).budget
    assert [[1], [0]] == Batcher.for_device("cpu", 9).plan([3, 8])
