"""The order of training rows: by seed and epoch, with like lengths side by side."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="samplers are those of its data loaders")

from safebench.torch_utils import LengthGroupedSampler


@pytest.fixture
def lengths() -> list[int]:
    """Return 400 lengths between 1 and 99."""
    return np.random.default_rng(0).integers(1, 100, 400).tolist()


def test_the_order_depends_on_seed_and_epoch_alone(lengths: list[int]) -> None:
    """A resumed training, which sets the epoch at once, sees the same rows."""
    sampler = LengthGroupedSampler(lengths, 8, 3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    resumed = LengthGroupedSampler(lengths, 8, 3)
    resumed.set_epoch(1)

    assert set(range(400)) == set(first) == set(second)
    assert 400 == len(first) == len(sampler)
    assert first != second
    assert second == list(resumed)
    assert first != list(LengthGroupedSampler(lengths, 8, 4))


@pytest.mark.parametrize("longest_first", [True, False])
def test_batches_hold_rows_of_like_length(
    lengths: list[int], longest_first: bool
) -> None:
    """Within a window of all rows, a batch spans few lengths, in the order asked."""
    sampler = LengthGroupedSampler(lengths, 8, 0, longest_first=longest_first)
    rows = list(sampler)
    batches = [[lengths[row] for row in rows[i : i + 8]] for i in range(0, 400, 8)]

    assert max(max(batch) - min(batch) for batch in batches) < 15
    for batch in batches:
        assert batch == sorted(batch, reverse=longest_first)
    longest = [max(batch) for batch in batches]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_groups_stay_together_and_a_short_batch_comes_last() -> None:
    """Rows of a group follow each other, and 10 rows make two fours and a two."""
    groups = [f"g{row // 2}" for row in range(10)]
    sampler = LengthGroupedSampler([5] * 10, 4, 0, groups)

    order = list(sampler)

    pairs = [
        (groups[a], groups[b]) for a, b in zip(order[::2], order[1::2], strict=True)
    ]
    assert all(a == b for a, b in pairs)
    assert list(range(10)) == sorted(order)
