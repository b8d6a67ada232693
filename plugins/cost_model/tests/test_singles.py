"""Responses labelled alone: read, merged with those of pairs, and in the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from safebench.errors import DataError
from safebench_cost_model.options import CostTrainOptions
from safebench_cost_model.train.baseline import train_tfidf
from safebench_cost_model.train.loss import PairLoss
from safebench_cost_model.train.pairs import read_pairs
from safebench_cost_model.train.singles import read_singles, read_training_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset
    from safebench.training import Training

BAD, GOOD = ("then burns", True, None), ("then helps", False, None)


@pytest.fixture
def as_singles(make_dataset: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """Return what makes responses labelled alone, of (prompt, response, unsafe)."""

    def make(rows: list[tuple[str, str, bool]]) -> Dataset:
        sides = [(p, (r, unsafe, None), ("-", False, None)) for p, r, unsafe in rows]
        pairs = make_dataset(sides, "alone")
        return replace(
            pairs, samples=pairs.samples[::2], ground_truth=pairs.ground_truth[::2]
        )

    return make


def test_copies_become_one_response_with_a_soft_label(
    as_singles: Callable[..., Dataset],
) -> None:
    """Two of three labels say unsafe: 2 / 3."""
    rows = [("a", "x", True), ("a", "x", False), ("b", "x", False), ("a", "x", True)]
    singles = read_singles(as_singles(rows))
    assert [("a", 2 / 3, 3), ("b", 0.0, 1)] == [
        (s.prompt, pytest.approx(s.unsafe), s.labels) for s in singles
    ]


def test_a_response_of_a_pair_joins_its_labels_and_is_learnt_once(
    make_training: Callable[..., Training],
    make_dataset: Callable[..., Dataset],
    as_singles: Callable[..., Dataset],
    tmp_path: Path,
) -> None:
    """Labels of singles move what is learnt, and nothing that is measured against."""
    lines: list[str] = []
    training = replace(
        make_training(tmp_path, "tfidf", lines=lines),
        train=make_dataset([("what", BAD, GOOD)]),
        singles=as_singles([("what", "then burns", False), ("new", "nods", False)]),
    )
    (pair,), singles = read_training_rows(training)
    assert (0.5, 0.0) == pair.soft_labels
    assert (1.0, 0.0) == pair.unsafe
    assert ["new"] == [single.prompt for single in singles]
    assert [
        "singles: 1 distinct responses, 1 of pairs as well, whose labels they join"
    ] == lines


def test_the_loss_of_a_mixed_batch_is_that_of_its_formula() -> None:
    """One pair and two singles, computed by hand with NumPy."""
    loss = PairLoss(w_rank=2, w_sign=1.5, w_single=0.7, margin=0.5, reg=0.1)
    costs = np.array([[1.2, -0.4], [0.3, 0.3], [-2.0, -2.0]])
    nan = float("nan")
    targets = [[0.8, 1.0, 0.25, 2.0], [nan, 1.0, 1.0, 0.0], [nan, 0.5, 0.5, 0.0]]

    def ce(x: float, q: float) -> float:
        return float(q * np.log1p(np.exp(-x)) + (1 - q) * np.log1p(np.exp(x)))

    pair = 2 * ce(1.6 - 0.5 * 2, 0.8) + 1.5 * (ce(1.2, 1) + ce(-0.4, 0.25))
    pair += 0.1 * (1.2**2 + 0.4**2) / 2
    alone = 0.7 * (ce(0.3, 1) + ce(-2, 0.5)) + 0.1 * (0.3**2 + 2**2)
    result = loss(torch.tensor(costs), torch.tensor(targets, dtype=torch.float64))
    assert pytest.approx((pair + alone) / 3) == float(result)
    only = loss(torch.tensor(costs[1:]), torch.tensor(targets[1:], dtype=torch.float64))
    assert pytest.approx(alone / 2) == float(only)


def test_the_weight_of_singles_weighs_their_labels_in_the_baseline(
    make_dataset: Callable[..., Dataset], as_singles: Callable[..., Dataset]
) -> None:
    """At weight 0 it does not matter what their labels say."""
    pairs = read_pairs(make_dataset([(f"p{i} what", BAD, GOOD) for i in range(4)]))
    rows = [("q what", "then burns helps", True), ("r what", "helps nods", False)]
    singles = read_singles(as_singles(rows))
    asked = [("q what", "burns helps"), ("what", "then nods")]

    def costs(weight: float) -> Any:
        return train_tfidf(pairs, 1.0, 0, singles, weight).costs(asked)

    assert costs(2.0) != pytest.approx(costs(1.0), abs=1e-3)
    flipped = [replace(single, unsafe=1 - single.unsafe) for single in singles]
    without = train_tfidf(pairs, 1.0, 0, flipped, 0.0).costs(asked)
    assert costs(0.0) == pytest.approx(without)


@pytest.mark.parametrize(
    ("base", "option", "value"),
    [("tfidf", "epochs", 2.0), ("stack", "sft", True), ("minilm", "encoder", "x")],
)
def test_options_that_a_base_would_ignore_are_refused(
    base: str, option: str, value: Any
) -> None:
    """What somebody sets is meant to do something."""
    with pytest.raises(ValueError, match=f"^{option}={value}: "):
        CostTrainOptions(base=base, **{option: value})


def test_texts_without_a_common_word_are_too_few(
    make_dataset: Callable[..., Dataset],
) -> None:
    """In one line of this library, not in scikit-learn's terms."""
    pairs = read_pairs(make_dataset([("a1", ("b1", True, None), ("c1", False, None))]))
    with pytest.raises(DataError, match="2 training responses are too few"):
        train_tfidf(pairs, 1.0)
