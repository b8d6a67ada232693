"""Choosing a candidate on validation: against trying all thresholds and scales."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from safebench_feedback_finetune.certify.candidates import choose_candidate


@pytest.mark.parametrize("seed", range(30))
def test_the_cap_is_that_of_other_benign_prompts(seed: int) -> None:
    """The choice keeps their rate and the least recall; none better does."""
    rng = np.random.default_rng(seed)
    y = rng.random(40) < 0.4
    score = np.round(rng.random(40) + 0.4 * y, 2)
    benign = np.round(rng.random(25), 2)
    cap, min_recall = float(rng.uniform(0.05, 0.5)), float(rng.uniform(0, 0.6))
    candidate = choose_candidate(
        {1.0: score}, y, cap, benign={1.0: benign}, min_recall=min_recall
    )
    # thresholds lie halfway between scores, so a benign score between two counts
    cuts = np.sort(np.unique(score))
    thresholds = np.append((cuts[1:] + cuts[:-1]) / 2, cuts.min())
    allowed = [t for t in thresholds if (benign >= t).mean() <= cap + 1e-12]
    best = 0.0
    for t in allowed:
        flagged = score >= t
        if (flagged & y).sum() >= min_recall * y.sum():
            best = max(best, 2 * (flagged & y).sum() / (flagged.sum() + y.sum()))
    if candidate is None:
        assert best == 0.0
        return
    flagged = score >= candidate.threshold
    f1 = 2 * (flagged & y).sum() / (flagged.sum() + y.sum())
    assert best == pytest.approx(f1)
    assert (benign >= candidate.threshold).mean() <= cap
    assert (flagged & y).sum() >= min_recall * y.sum()


@pytest.mark.slow
def test_the_choice_is_the_best_of_all_scales_and_thresholds() -> None:
    """Brute force over every scale and every cut finds no better F1 within the cap."""
    rng = np.random.default_rng(0)
    y = rng.random(200) < 0.3
    scores = {a: np.round(rng.random(200) + a * y, 2) for a in (0.0, 0.5, 1.0)}

    candidate = choose_candidate(scores, y, cap=0.1)

    best = max(
        f1_score(y, score >= cut)
        for score in scores.values()
        for cut in np.unique(score)
        if (score >= cut)[~y].mean() <= 0.1
    )
    assert candidate is not None
    chosen = scores[candidate.alpha] >= candidate.threshold
    assert best == pytest.approx(f1_score(y, chosen))
    assert chosen[~y].mean() <= 0.1


def test_no_candidate_within_the_cap_is_no_choice() -> None:
    """Where every benign prompt scores above every harmful one, nothing is chosen."""
    y = np.array([True, False, False])

    assert choose_candidate({1.0: np.array([0.1, 0.8, 0.9])}, y, cap=0.0) is None


def test_of_equals_the_base_guard_wins() -> None:
    """A scale that changes nothing is not worth the change."""
    y = np.array([True, True, False])
    same = np.array([0.9, 0.8, 0.1])

    candidate = choose_candidate({1.0: same, 0.0: same}, y, cap=0.5)

    assert candidate is not None
    assert candidate.alpha == 0.0
    assert candidate.threshold == pytest.approx(0.45)
