"""Uncertainty is worth what it tells about wrong decisions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from safebench.metrics import Outcome
from safebench.metrics.ranking import error_auroc


def make_outcome(
    decision: list[int], uncertainty: list[float], failed: list[int]
) -> Outcome:
    """Return six samples, of which the first three are positive."""
    return Outcome(
        y=np.array([1, 1, 1, 0, 0, 0], dtype=bool),
        failed=np.array(failed, dtype=bool),
        groups=list("abcdef"),
        decision=np.array(decision, dtype=bool),
        uncertainty=np.array(uncertainty),
    )


def test_it_is_the_auroc_of_uncertainty_against_errors() -> None:
    """Samples 1 and 4 are wrong; scikit-learn agrees, ties included."""
    uncertainty = [0.1, 0.9, 0.3, 0.3, 0.3, 0.2]

    value = error_auroc(make_outcome([1, 0, 1, 0, 1, 0], uncertainty, [0] * 6))

    expected = roc_auc_score([0, 1, 0, 0, 1, 0], uncertainty)
    assert expected == pytest.approx(value.value)
    assert 6 == value.n_scored


def test_failed_samples_have_no_uncertainty_to_judge() -> None:
    """They are left out and counted out."""
    value = error_auroc(
        make_outcome(
            [1, 0, 1, 0, 1, 0], [0.1, 0.9, np.nan, 0.3, 0.8, 0.2], [0, 0, 1, 0, 0, 0]
        )
    )

    assert 1.0 == value.value
    assert 5 == value.n_scored


@pytest.mark.parametrize(
    ("decision", "why"),
    [([1, 1, 1, 0, 0, 0], "no decision is wrong"), ([0, 0, 0, 1, 1, 1], "every")],
)
def test_without_both_kinds_of_decision_it_is_undefined(
    decision: list[int], why: str
) -> None:
    """Null with the reason, never one half."""
    value = error_auroc(make_outcome(decision, [0.5] * 6, [0] * 6))

    assert value.value is None
    assert why in value.note
