"""Batches of like length waste little, and depend on seed and epoch alone."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from safebench_bert_ensemble.batching import Batcher, plan, waste
from safebench_bert_ensemble.sampling import LengthBatches
from safebench_bert_ensemble.watching import StepSeeds


@pytest.fixture
def lengths() -> list[int]:
    """Return 3,000 lengths as prompts have them: most short, some very long."""
    rng = np.random.default_rng(0)
    return np.clip(rng.lognormal(4, 1, 3000), 3, 256).astype(int).tolist()


def test_padding_is_under_a_tenth(lengths: list[int]) -> None:
    """Batches of 16 in random order would be half padding."""
    shuffled = np.random.default_rng(1).permutation(len(lengths))
    plain = [shuffled[at : at + 16].tolist() for at in range(0, len(lengths), 16)]

    assert waste(lengths, plain) > 0.4
    assert waste(lengths, LengthBatches(lengths, 16, 0).batches()) < 0.1


def test_every_row_comes_once_an_epoch_and_in_another_order(
    lengths: list[int],
) -> None:
    """Each epoch has all rows; seed and epoch decide the batches, nothing else."""
    batches = LengthBatches(lengths, 16, 5)
    first = list(batches)
    batches.set_epoch(1)
    second = list(batches)

    assert set(range(len(lengths))) == {row for batch in first for row in batch}
    assert {1} == set(Counter(row for batch in second for row in batch).values())
    assert len(batches) == len(first) == len(second)
    assert first != second
    again = LengthBatches(lengths, 16, 5)
    again.set_epoch(1)
    assert second == list(again)
    assert first != list(LengthBatches(lengths, 16, 6))


def test_long_batches_come_at_any_time(lengths: list[int]) -> None:
    """The order of batches is shuffled: length does not rise or fall over an epoch."""
    batches = LengthBatches(lengths, 16, 0).batches()
    longest = [max(lengths[row] for row in batch) for batch in batches]

    trend = np.corrcoef(np.arange(len(longest)), longest)[0, 1]

    assert abs(trend) < 0.25


@pytest.mark.parametrize("count", [1, 15, 16, 17, 31])
def test_few_rows_make_one_short_batch_at_the_end(count: int) -> None:
    """All batches but the last are full."""
    batches = LengthBatches([5] * count, 16, 0).batches()

    assert count == sum(map(len, batches))
    assert all(len(batch) == 16 for batch in batches[:-1])


def test_a_plan_keeps_its_budget(lengths: list[int]) -> None:
    """Rows x longest row is at most the budget, but for a row that is alone."""
    batches = plan(lengths, 2048)

    assert sorted(row for batch in batches for row in batch) == list(range(3000))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 2048
    assert waste(lengths, batches) < 0.05
    assert waste(lengths, plan(lengths, 10**9)) < 0.1  # however large the budget
    assert [[0], [1]] == plan([5000, 7], 2048)


def test_waste_is_the_share_of_padding() -> None:
    """Lengths 1 and 3 in one batch: 2 of 6 tokens are padding."""
    assert 2 / 6 == pytest.approx(waste([1, 3], [[0, 1]]))
    assert 0 == waste([], [])


def test_dropout_depends_on_seed_and_step_alone() -> None:
    """The same step draws the same numbers, whatever was drawn before it."""

    def draw(seed: int, step: int) -> float:
        StepSeeds(seed).on_step_begin(None, SimpleNamespace(global_step=step), None)
        return float(torch.rand(1))

    first = draw(7, 3)
    torch.rand(5)

    assert first == draw(7, 3)
    assert 3 == len({first, draw(7, 4), draw(8, 3)})


def test_work_goes_on_in_smaller_batches_when_memory_runs_out() -> None:
    """The budget halves until the work fits; what never fits comes back as None."""
    batcher = Batcher(64)

    def work(batch: list[int]) -> int:
        if len(batch) > 2 or 0 in batch:
            raise MemoryError
        return len(batch)

    found = {row: done for batch, done in batcher.run([8] * 9, work) for row in batch}

    assert None is found.pop(0)
    assert {1, 2, 3, 4, 5, 6, 7, 8} == set(found)
    assert all(found.values())
    assert batcher.budget < 64
