"""Batches of like length waste little, and depend on seed and epoch alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from safebench_bert_ensemble.train.member_trainer import (
    LengthBatchSampler,
    padding_share,
)


@pytest.fixture
def lengths() -> list[int]:
    """Return 3,000 lengths as prompts have them: most short, some very long."""
    rng = np.random.default_rng(0)
    return np.clip(rng.lognormal(4, 1, 3000), 3, 256).astype(int).tolist()


def test_padding_is_under_a_tenth(lengths: list[int]) -> None:
    """Batches of 16 in random order would be half padding."""
    shuffled = np.random.default_rng(1).permutation(len(lengths))
    plain = [shuffled[at : at + 16].tolist() for at in range(0, len(lengths), 16)]

    assert padding_share(lengths, plain) > 0.4
    assert padding_share(lengths, LengthBatchSampler(lengths, 16, 0).batches()) < 0.1


def test_every_row_comes_once_an_epoch_and_in_another_order(
    lengths: list[int],
) -> None:
    """Each epoch has all rows; seed and epoch decide the batches, nothing else."""
    batches = LengthBatchSampler(lengths, 16, 5)
    first = list(batches)
    batches.set_epoch(1)
    second = list(batches)

    assert set(range(len(lengths))) == {row for batch in first for row in batch}
    assert {1} == set(Counter(row for batch in second for row in batch).values())
    assert len(batches) == len(first) == len(second)
    assert first != second
    again = LengthBatchSampler(lengths, 16, 5)
    again.set_epoch(1)
    assert second == list(again)
    assert first != list(LengthBatchSampler(lengths, 16, 6))


def test_long_batches_come_at_any_time(lengths: list[int]) -> None:
    """The order of batches is shuffled: length does not rise or fall over an epoch."""
    batches = LengthBatchSampler(lengths, 16, 0).batches()
    longest = [max(lengths[row] for row in batch) for batch in batches]

    trend = np.corrcoef(np.arange(len(longest)), longest)[0, 1]

    assert abs(trend) < 0.25


@pytest.mark.parametrize("count", [1, 15, 16, 17, 31])
def test_few_rows_make_one_short_batch_at_the_end(count: int) -> None:
    """All batches but the last are full."""
    batches = LengthBatchSampler([5] * count, 16, 0).batches()

    assert count == sum(map(len, batches))
    assert all(len(batch) == 16 for batch in batches[:-1])


def test_padding_share_by_hand() -> None:
    """Lengths 1 and 3 in one batch: 2 of 6 tokens are padding."""
    assert 2 / 6 == pytest.approx(padding_share([1, 3], [[0, 1]]))
    assert 0 == padding_share([], [])
