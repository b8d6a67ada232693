"""The calibration part and subsamples, as properties of random datasets."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safebench.datasets.splits import (
    calibration_ids,
    describe_lost_classes,
    subsample,
)
from safebench.errors import OptionError
from safebench.records import Dataset, GroundTruth, Label, Sample, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Row = tuple[int, bool | None]


def dataset(rows: Sequence[Row]) -> Dataset:
    """Return a dataset of (group, class) rows."""
    samples = [
        Sample(id=f"s{i}", turns=(Turn("user", f"text {i}"),), group=f"g{group}")
        for i, (group, _) in enumerate(rows)
    ]
    truths = [GroundTruth(label=Label(value=value)) for _, value in rows]
    return Dataset(
        name="d",
        config=None,
        split="test",
        task="prompt_harm",
        policy=None,
        revision="r",
        samples=samples,
        ground_truth=truths,
    )


def shuffled(whole: Dataset, seed: int) -> Dataset:
    """Return the same rows in another order."""
    from dataclasses import replace

    pairs = list(zip(whole.samples, whole.ground_truth, strict=True))
    random.Random(seed).shuffle(pairs)
    return replace(
        whole, samples=[s for s, _ in pairs], ground_truth=[t for _, t in pairs]
    )


ROWS = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from([True, False, None])), max_size=120
)
FRACTIONS = st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.9])


@pytest.mark.slow
@settings(deadline=None)
@given(rows=ROWS, fraction=FRACTIONS, seed=st.integers(0, 9))
def test_calibration_keeps_groups_whole_and_ignores_the_order_of_rows(
    rows: list[Row], fraction: float, seed: int
) -> None:
    """No group is cut, no share is exceeded, and a shuffle changes nothing."""
    whole = dataset(rows)

    part = calibration_ids(whole, fraction)

    taken = {s.group for s in whole.samples if s.id in part}
    assert {s.id for s in whole.samples if s.group in taken} == part
    assert len(part) <= fraction * len(rows) + 1e-9
    assert calibration_ids(shuffled(whole, seed), fraction) == part


@pytest.mark.slow
@settings(deadline=None)
@given(n=st.integers(3, 200), m=st.integers(3, 200))
def test_calibration_of_single_samples_is_stratified_by_class(n: int, m: int) -> None:
    """With groups of one, each class gives exactly a third, rounded down."""
    whole = dataset([(i, i < n) for i in range(n + m)])

    part = calibration_ids(whole)

    classes = Counter(
        truth.label.value
        for sample, truth in zip(whole.samples, whole.ground_truth, strict=True)
        if sample.id in part
    )
    assert (n // 3, m // 3) == (classes[True], classes[False])


@settings(deadline=None)
@given(rows=ROWS, small=st.integers(1, 60), more=st.integers(0, 60), seed=st.integers())
def test_a_larger_subsample_contains_the_smaller(
    rows: list[Row], small: int, more: int, seed: int
) -> None:
    """Groups stay whole, at most n samples are kept unless one group is larger."""
    whole = dataset(rows)

    few, many = subsample(whole, small, seed), subsample(whole, small + more, seed)

    kept = {s.id for s in few.samples}
    assert kept <= {s.id for s in many.samples}
    groups = {s.group for s in few.samples}
    assert {s.id for s in whole.samples if s.group in groups} == kept
    assert len(few) <= small or 1 == len(groups)
    assert not rows or few.samples


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(seed=st.integers())
def test_a_subsample_has_both_classes_of_a_sorted_set(seed: int) -> None:
    """Three of 1,000 prompts that are sorted by class already show both classes."""
    whole = dataset([(i, i < 400) for i in range(1000)])

    few = subsample(whole, 3, seed)

    assert {True, False} == {truth.label.value for truth in few.ground_truth}
    shares = Counter(
        truth.label.value for truth in subsample(whole, 100, seed).ground_truth
    )
    assert {True: 40, False: 60} == shares


def classes_of_parts(part_of: Dataset, held_out: frozenset[str]) -> set[object]:
    """Return the (held out, class) pairs of a dataset, without unknown labels."""
    return {
        (sample.id in held_out, truth.label.value)
        for sample, truth in zip(part_of.samples, part_of.ground_truth, strict=True)
        if truth.label.value is not None
    }


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(rows=ROWS, n=st.integers(1, 120), fraction=FRACTIONS, seed=st.integers(0, 9))
def test_a_limit_that_leaves_a_part_without_a_class_says_so(
    rows: list[Row], n: int, fraction: float, seed: int
) -> None:
    """It says so exactly then, and the limit that it names is the smallest that helps.

    Compared with all limits tried in turn.
    """
    whole = dataset(rows)
    held_out = calibration_ids(whole, fraction)
    wanted = classes_of_parts(whole, held_out)
    few = subsample(whole, n, seed)
    present = classes_of_parts(few, held_out)

    message = describe_lost_classes(whole, few, held_out, seed)

    parts = [False, True] if held_out else [False]
    missing = {(part, value) for part in parts for _, value in wanted} - present
    assert bool(message) is (len(few) < len(whole) and bool(missing))
    if not message:
        return
    for part, value in missing:
        name = "calibration" if part else "test"
        assert f"no {'positive' if value else 'negative'} in the {name} part" in message
    assert message.count(" in the ") == len(missing)
    named = re.search(r"--limit (\d+) takes", message)
    enough = next(
        m
        for m in range(1, len(whole) + 1)
        if classes_of_parts(subsample(whole, m, seed), held_out) == wanted
    )
    assert (named is not None) is bool(missing & wanted)
    assert named is None or enough == int(named[1])


def test_a_subsample_keeps_the_order_and_the_labels() -> None:
    """The rows that stay keep their order and their truth."""
    whole = dataset([(i, i % 3 == 0) for i in range(50)])

    few = subsample(whole, 20, 1)

    numbers = [int(sample.id[1:]) for sample in few.samples]
    assert sorted(numbers) == numbers
    assert [n % 3 == 0 for n in numbers] == [
        truth.label.value for truth in few.ground_truth
    ]


def test_another_seed_is_another_subsample() -> None:
    """Two seeds draw other prompts."""
    whole = dataset([(i, i % 2 == 0) for i in range(200)])

    first, second = (
        {sample.id for sample in subsample(whole, 40, seed).samples} for seed in (0, 1)
    )

    assert first != second


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    """A calibration part of everything leaves nothing to test."""
    with pytest.raises(OptionError, match="calibration fraction"):
        calibration_ids(dataset([(0, True)]), fraction)


def test_a_subsample_of_nothing_is_refused() -> None:
    """At least one sample."""
    with pytest.raises(OptionError, match="at least 1"):
        subsample(dataset([(0, True)]), 0)


def test_the_starter_set_leaves_a_test_part_of_300(
    load: Callable[..., Dataset],
) -> None:
    """A third of the groups calibrates, both classes stay balanced in both parts."""
    starter = load("starter")

    part = calibration_ids(starter)

    parts = Counter(
        (sample.id in part, truth.label.value)
        for sample, truth in zip(starter.samples, starter.ground_truth, strict=True)
    )
    assert parts[False, True] + parts[False, False] >= 300
    assert abs(parts[True, True] - parts[True, False]) <= 0.15 * len(part)
