"""Brier score and log loss, by hand."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from safebench.metrics import Outcome
from safebench.metrics.calibration import brier, nll


def make_outcome(y: list[bool], p: list[float]) -> Outcome:
    """Build an outcome of probabilities; NaN is a failed sample."""
    score = np.array(p)
    return Outcome(
        y=np.array(y),
        failed=np.isnan(score),
        groups=list(map(str, y)),
        score=score,
        probability=True,
    )


def test_by_hand() -> None:
    """A positive at .8 and a negative at .4; the failed sample is left out."""
    outcome = make_outcome([True, False, True], [0.8, 0.4, np.nan])

    assert (0.04 + 0.16) / 2 == pytest.approx(brier(outcome).value)
    assert -(log(0.8) + log(0.6)) / 2 == pytest.approx(nll(outcome).value)
    assert (2, 2) == (brier(outcome).n_scored, nll(outcome).n_scored)


def test_one_class_is_enough() -> None:
    """Both losses are means over samples, and so defined on one class."""
    outcome = make_outcome([True, True], [0.5, 0.9])

    assert (0.25 + 0.01) / 2 == pytest.approx(brier(outcome).value)
    assert -(log(0.5) + log(0.9)) / 2 == pytest.approx(nll(outcome).value)


def test_certain_and_wrong_is_clipped_and_counted() -> None:
    """Probability 0 for a positive costs -log 1e-12, and the note counts it."""
    result = nll(make_outcome([True, False], [0.0, 0.5]))

    assert (-log(1e-12) - log(0.5)) / 2 == pytest.approx(result.value)
    assert "1 probabilities clipped" == result.note


def test_nothing_scored() -> None:
    """Without a score there is no loss, and the note says so."""
    result = brier(make_outcome([True], [np.nan]))

    assert (None, 0) == (result.value, result.n_scored)
    assert result.note
