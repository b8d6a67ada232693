"""The three splits, as properties of random datasets."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safebench.errors import OptionError
from safebench.records import Dataset, GroundTruth, Label, Sample, Turn
from safebench.training.splits import SPLIT_NAMES, parse_shares, split_by_group

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}
ROWS = st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=200)
SHARE_TEXTS = st.lists(st.integers(1, 90), min_size=3, max_size=3)


def dataset(rows: Sequence[tuple[int, bool]], order: Sequence[int] = ()) -> Dataset:
    """Return a dataset of (group, class) rows, in another order if one is given."""
    order = order or range(len(rows))
    return Dataset(
        name="d",
        config=None,
        split="train",
        task="prompt_harm",
        policy=None,
        revision="r",
        samples=[
            Sample(id=f"s{i}", turns=(Turn("user", f"{i}"),), group=f"g{rows[i][0]}")
            for i in order
        ],
        ground_truth=[GroundTruth(label=Label(value=rows[i][1])) for i in order],
    )


def ids(split: Dataset) -> set[str]:
    """Return the ids of a split's samples."""
    return {sample.id for sample in split.samples}


@given(rows=ROWS, seed=st.integers(0, 5))
def test_splits_cover_all_rows_and_share_no_group(
    rows: list[tuple[int, bool]], seed: int
) -> None:
    """Every row is in one split, with its own label; every group in one split."""
    whole = dataset(rows)

    splits = split_by_group(whole, SHARES, seed)

    split_ids = [ids(splits[name]) for name in SPLIT_NAMES]
    assert ids(whole) == set.union(*split_ids)
    assert len(rows) == sum(map(len, split_ids))
    groups = [{sample.group for sample in splits[name].samples} for name in SPLIT_NAMES]
    assert len({group for group, _ in rows}) == sum(map(len, groups))
    for name in SPLIT_NAMES:
        assert name == splits[name].split
        for sample, truth in zip(
            splits[name].samples, splits[name].ground_truth, strict=True
        ):
            assert rows[int(sample.id[1:])][1] is truth.label.value


@pytest.mark.slow
@given(rows=ROWS, numbers=SHARE_TEXTS, seed=st.integers(0, 5))
def test_splits_have_their_shares_up_to_whole_groups(
    rows: list[tuple[int, bool]], numbers: list[int], seed: int
) -> None:
    """In each class composition a split misses its share by less than one group."""
    shares = parse_shares("/".join(map(str, numbers)))

    splits = split_by_group(dataset(rows), shares, seed)

    members: dict[str, list[bool]] = {}
    for group, value in rows:
        members.setdefault(f"g{group}", []).append(value)
    strata: dict[frozenset[bool], Counter[str]] = {}
    for group, values in members.items():
        strata.setdefault(frozenset(values), Counter())[group] = len(values)
    for sizes in strata.values():
        for name in SPLIT_NAMES:
            there = sum(sample.group in sizes for sample in splits[name].samples)
            miss = abs(there - shares[name] * sizes.total())
            assert miss <= max(sizes.values()) + 1e-9, name


@pytest.mark.slow
@given(rows=ROWS, seed=st.integers(0, 5), order=st.randoms(use_true_random=False))
def test_splits_do_not_depend_on_the_order_of_rows(
    rows: list[tuple[int, bool]], seed: int, order: random.Random
) -> None:
    """The same rows, shuffled, fall into the same splits."""
    places = list(range(len(rows)))
    order.shuffle(places)

    first = split_by_group(dataset(rows), SHARES, seed)
    again = split_by_group(dataset(rows, places), SHARES, seed)

    assert {name: ids(split) for name, split in first.items()} == {
        name: ids(split) for name, split in again.items()
    }


@settings(max_examples=20)
@given(seeds=st.sets(st.integers(0, 1000), min_size=2, max_size=2))
def test_another_seed_is_another_split(seeds: set[int]) -> None:
    """Of 300 groups, two seeds never choose the same test split."""
    first, second = seeds
    whole = dataset([(i, i % 2 == 0) for i in range(300)])

    assert ids(split_by_group(whole, SHARES, first)["test"]) != ids(
        split_by_group(whole, SHARES, second)["test"]
    )


def test_the_published_sizes_come_out() -> None:
    """10,000 single rows of two classes give 7,000, 1,500 and 1,500."""
    whole = dataset([(i, i % 20 < 9) for i in range(10_000)])

    splits = split_by_group(whole, SHARES, seed=0)

    assert [7000, 1500, 1500] == [len(splits[name]) for name in SPLIT_NAMES]
    harmful = [
        sum(g.label.value is True for g in splits[n].ground_truth) for n in SPLIT_NAMES
    ]
    assert [3150, 675, 675] == harmful


@pytest.mark.parametrize(
    "text", ["70/30", "70/15/15/0", "70/15/x", "70/0/30", "1/-1/1", "", "inf/1/1"]
)
def test_shares_that_cannot_be_cut_are_refused(text: str) -> None:
    """Three numbers above zero, or a message with an example."""
    with pytest.raises(OptionError, match="three numbers above 0 such as 70/15/15"):
        parse_shares(text)


def test_shares_add_up_to_one_whatever_their_sum() -> None:
    """8/1/1 is 80, 10 and 10 percent."""
    assert {"train": 0.8, "val": 0.1, "test": 0.1} == parse_shares("8/1/1")
