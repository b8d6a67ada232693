"""Multi-label metrics: masks by hand, the rest against scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from safebench.metrics import Outcome
from safebench.metrics.categories import (
    hamming_loss,
    macro_f1,
    micro_f1,
    subset_accuracy,
)


def make_outcome(gold: list[str], predicted: list[str], mask: list[str]) -> Outcome:
    """Build an outcome from one string of 0 and 1 a sample."""
    columns = [
        np.array([[char == "1" for char in row] for row in rows])
        for rows in (gold, predicted, mask)
    ]
    size = len(gold)
    return Outcome(
        y=np.ones(size, dtype=bool),
        failed=np.zeros(size, dtype=bool),
        groups=list(map(str, range(size))),
        labels=tuple("ABC"),
        gold=columns[0],
        predicted=columns[1],
        mask=columns[2],
    )


MASKED = make_outcome(
    gold=["110", "001", "100", "111"],
    predicted=["100", "001", "111", "000"],
    mask=["111", "101", "100", "000"],
)
# known cells: A: 1/1, 0/0, 1/1   B: 1/0   C: 0/0, 1/1   (gold/predicted)


def test_masked_cells_never_count() -> None:
    """Six known cells, one of them a miss; the last sample has none."""
    micro, hamming = micro_f1(MASKED), hamming_loss(MASKED)

    assert 2 * 3 / (2 * 3 + 0 + 1) == pytest.approx(micro.value)
    assert 1 / 6 == pytest.approx(hamming.value)
    assert (3, 3) == (micro.n_scored, hamming.n_scored)


def test_masked_subset_accuracy() -> None:
    """Of three samples with a known cell two are right on all of theirs."""
    result = subset_accuracy(MASKED)

    assert (pytest.approx(2 / 3), 3) == (result.value, result.n_scored)


def test_masked_macro_f1() -> None:
    """A 1, B 0, C 1: the mean of three, and the note says of how many."""
    result = macro_f1(MASKED)

    assert 2 / 3 == pytest.approx(result.value)
    assert "mean over 3 of 3 categories" == result.note


def test_macro_f1_leaves_out_categories_without_a_positive() -> None:
    """B is flagged but nowhere true: it has no F1, and is not counted as 0."""
    result = macro_f1(make_outcome(["100", "000"], ["110", "010"], ["111", "111"]))

    assert 1.0 == result.value
    assert "mean over 1 of 3 categories" == result.note


def test_full_mask_equals_scikit_learn() -> None:
    """Without masks all four are the multi-label metrics of scikit-learn."""
    rng = np.random.default_rng(3)
    gold, predicted = rng.random((2, 50, 6)) < 0.3
    outcome = Outcome(
        y=gold.any(axis=1),
        failed=np.zeros(50, dtype=bool),
        groups=list(map(str, range(50))),
        gold=gold,
        predicted=predicted,
        mask=np.ones_like(gold),
    )

    assert sk.f1_score(gold, predicted, average="micro") == micro_f1(outcome).value
    assert sk.f1_score(gold, predicted, average="macro") == macro_f1(outcome).value
    assert sk.hamming_loss(gold, predicted) == pytest.approx(
        hamming_loss(outcome).value
    )
    assert sk.accuracy_score(gold, predicted) == subset_accuracy(outcome).value


@pytest.mark.parametrize("metric", [micro_f1, macro_f1, hamming_loss, subset_accuracy])
def test_nothing_known_is_null(metric: object) -> None:
    """With every cell masked there is no value, and a note."""
    result = metric(make_outcome(["100"], ["100"], ["000"]))  # type: ignore[operator]

    assert (None, 0) == (result.value, result.n_scored)
    assert result.note


@pytest.mark.parametrize("metric", [micro_f1, macro_f1])
def test_f1_needs_a_positive(metric: object) -> None:
    """Where no category is true F1 is undefined, however much is flagged."""
    assert metric(make_outcome(["000"], ["100"], ["111"])).value is None  # type: ignore[operator]
