"""Inter-rater agreement against scikit-learn and brute force."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from safebench.analysis.agreement import (
    compute_agreement,
    decision_agreements,
    fleiss_kappa,
)
from safebench.results.prediction_reading import read_predictions

if TYPE_CHECKING:
    from .conftest import FakeRun

RNG = np.random.default_rng(2)
Y = RNG.random(150) < 0.5
VOTES = (RNG.random((150, 4)) < 0.3) ^ Y[:, None]
NAMES = ["a", "b", "c", "d"]


def test_pairs_against_sklearn() -> None:
    """Cohen's kappa and the share of differing samples, for every pair."""
    agreement = compute_agreement("votes", "set", NAMES, VOTES, Y)

    for i, j in combinations(range(4), 2):
        kappa = cohen_kappa_score(VOTES[:, i], VOTES[:, j])
        assert kappa == pytest.approx(agreement.kappa[i, j])
        differ = (VOTES[:, i] != VOTES[:, j]).mean()
        assert differ == pytest.approx(agreement.disagreement[i, j])
    assert [0.0] * 4 == agreement.disagreement.diagonal().tolist()
    assert (VOTES == Y[:, None]).mean(axis=0) == pytest.approx(agreement.accuracy)


def test_who_is_right_where_two_differ() -> None:
    """The counts are those of rows where one alone is right."""
    agreement = compute_agreement("votes", "set", NAMES, VOTES, Y)
    right = VOTES == Y[:, None]

    for pair in agreement.pairs:
        a, b = (right[:, NAMES.index(name)] for name in (pair.a, pair.b))
        assert (a & ~b).sum() == pair.only_a_right
        assert (b & ~a).sum() == pair.only_b_right
        assert (pair.only_a_right + pair.only_b_right) / 150 == pytest.approx(
            pair.disagreement
        )
    shares = [pair.disagreement for pair in agreement.pairs]
    assert sorted(shares, reverse=True) == shares


def test_fleiss_by_brute_force() -> None:
    """Agreement of random pairs of raters, corrected by that of random votes."""
    agree = np.mean(
        [(VOTES[:, i] == VOTES[:, j]).mean() for i, j in combinations(range(4), 2)]
    )
    p = VOTES.mean()
    chance = p**2 + (1 - p) ** 2

    assert (agree - chance) / (1 - chance) == pytest.approx(fleiss_kappa(VOTES))
    agreement = compute_agreement("votes", "set", NAMES, VOTES, Y)
    assert 1 - agree == pytest.approx(agreement.mean_disagreement)


def test_constant_votes_have_no_kappa() -> None:
    """Chance cannot disagree either: kappa is undefined, not 1 and not 0."""
    votes = np.zeros((5, 2), dtype=bool)
    agreement = compute_agreement(
        "votes", "set", ["a", "b"], votes, np.zeros(5, dtype=bool)
    )

    assert agreement.fleiss is None
    assert np.isnan(agreement.kappa).all()
    assert agreement.pairs[0].kappa is None
    assert 1 == agreement.unanimous


def test_strategies_with_identical_decisions_are_one_rater(run: FakeRun) -> None:
    """Equal decisions are merged and named; failed samples compare nothing."""
    score = [0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.1, 0.3]
    run.predict("one", score=score)
    run.predict("two", score=[s**0.9 for s in score])
    run.predict("other", score=score[::-1], failed=(0,))

    (agreement,), notes = decision_agreements(read_predictions(run.folder))

    assert 7 == agreement.n
    assert {"one and 1 identical", "other"} == set(agreement.names)
    assert ["identical decisions on prompts.jsonl:all: one, two"] == notes


def test_a_single_distinct_rater_leaves_a_note_alone(run: FakeRun) -> None:
    """One rater agrees with nobody else."""
    run.predict("one", score=[0.9] * 8)
    run.predict("two", score=[0.7] * 8)

    agreements, notes = decision_agreements(read_predictions(run.folder))

    assert [] == agreements
    assert 1 == len(notes)
