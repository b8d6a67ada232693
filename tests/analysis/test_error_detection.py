"""Error detection: the uncertainty of right against wrong decisions."""

from __future__ import annotations

import numpy as np
import pytest

from safebench.analysis.uncertainty import error_detection


def test_quartiles_by_hand() -> None:
    """Right decisions at 1 2 3 4 5, wrong ones at 4 6."""
    wrong = np.array([False] * 5 + [True] * 2)
    uncertainty = np.array([1.0, 2, 3, 4, 5, 4, 6])

    detection = error_detection(wrong, uncertainty, list("abcdefg"))

    assert (2, 3, 4) == detection.right.quartiles
    assert (4.5, 5, 5.5) == detection.wrong.quartiles
    assert (5, 2) == (detection.right.n, detection.wrong.n)
    assert 8.5 / 10 == pytest.approx(detection.auroc)  # 4 beats 3, ties 1; 6 beats 5
    assert 5 == sum(detection.right.counts)
    assert 2 == sum(detection.wrong.counts)


@pytest.mark.parametrize(("wrong", "note"), [(False, "no"), (True, "every")])
def test_one_kind_of_decision_has_no_auroc(wrong: bool, note: str) -> None:
    """There is no AUROC; the note says which kind there is."""
    detection = error_detection(np.full(4, wrong), np.arange(4.0), list("abcd"))

    assert detection.auroc is None
    assert f"{note} decision is wrong" == detection.note


def test_equal_uncertainty_is_drawn_and_says_nothing() -> None:
    """One value for all: an AUROC of one half, and one bin for all of them."""
    detection = error_detection(np.array([True, False]), np.zeros(2), ["a", "b"])

    assert 0.5 == detection.auroc
    assert 1 == sum(detection.right.counts)
