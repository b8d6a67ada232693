"""Disagreement and kappas against sklearn and brute force."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from safebench.analysis.agreement import agreement, among_decisions, fleiss_kappa
from safebench.analysis.reading import read_predictions

if TYPE_CHECKING:
    from .conftest import FakeRun

RNG = np.random.default_rng(2)
Y = RNG.random(150) < 0.5
VOTES = (RNG.random((150, 4)) < 0.3) ^ Y[:, None]
NAMES = ["a", "b", "c", "d"]


def test_pairs_against_sklearn() -> None:
    """Cohen's kappa and the share of differing samples, for every pair."""
    found = agreement("votes", "set", NAMES, VOTES, Y)

    for i, j in combinations(range(4), 2):
        kappa = cohen_kappa_score(VOTES[:, i], VOTES[:, j])
        assert kappa == pytest.approx(found.kappa[i, j])
        differ = (VOTES[:, i] != VOTES[:, j]).mean()
        assert differ == pytest.approx(found.differ[i, j])
    assert [0.0] * 4 == found.differ.diagonal().tolist()
    assert (VOTES == Y[:, None]).mean(axis=0) == pytest.approx(found.accuracy)


def test_who_is_right_where_two_differ() -> None:
    """The counts are those of rows where one alone is right."""
    found = agreement("votes", "set", NAMES, VOTES, Y)
    right = VOTES == Y[:, None]

    for pair in found.pairs:
        a, b = (right[:, NAMES.index(name)] for name in (pair.a, pair.b))
        assert (a & ~b).sum() == pair.a_right
        assert (b & ~a).sum() == pair.b_right
        assert (pair.a_right + pair.b_right) / 150 == pytest.approx(pair.differ)
    shares = [pair.differ for pair in found.pairs]
    assert sorted(shares, reverse=True) == shares


def test_fleiss_by_brute_force() -> None:
    """Agreement of random pairs of raters, corrected by that of random votes."""
    alike = np.mean(
        [(VOTES[:, i] == VOTES[:, j]).mean() for i, j in combinations(range(4), 2)]
    )
    p = VOTES.mean()
    chance = p**2 + (1 - p) ** 2

    assert (alike - chance) / (1 - chance) == pytest.approx(fleiss_kappa(VOTES))
    found = agreement("votes", "set", NAMES, VOTES, Y)
    assert 1 - alike == pytest.approx(found.mean_difference)


def test_votes_that_never_change_have_no_kappa() -> None:
    """No disagreement is possible by chance: undefined, not 1 and not 0."""
    votes = np.zeros((5, 2), dtype=bool)
    found = agreement("votes", "set", ["a", "b"], votes, np.zeros(5, dtype=bool))

    assert found.fleiss is None
    assert np.isnan(found.kappa).all()
    assert found.pairs[0].kappa is None
    assert 1 == found.unanimous


def test_strategies_that_decide_alike_are_one_voter(run: FakeRun) -> None:
    """Equal decisions are merged and named; failed samples compare nothing."""
    score = [0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.1, 0.3]
    run.predict("one", score=score)
    run.predict("two", score=[s**0.9 for s in score])
    run.predict("other", score=score[::-1], failed=(0,))

    (found,), notes = among_decisions(read_predictions(run.folder))

    assert 7 == found.n
    assert {"one and 1 alike", "other"} == set(found.names)
    assert ["decide alike on prompts.jsonl:all: one, two"] == notes


def test_all_alike_leaves_a_note_alone(run: FakeRun) -> None:
    """There is no table of one voter."""
    run.predict("one", score=[0.9] * 8)
    run.predict("two", score=[0.7] * 8)

    found, notes = among_decisions(read_predictions(run.folder))

    assert [] == found
    assert 1 == len(notes)
