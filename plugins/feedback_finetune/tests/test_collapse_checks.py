"""Signs of collapse, in both directions."""

from __future__ import annotations

import numpy as np
import pytest

from safebench_feedback_finetune.certify.collapse_checks import collapse_warnings

RNG = np.random.default_rng(0)
Y = np.arange(1000) < 130
SCORE = np.clip(0.3 * Y + RNG.random(1000) * 0.6, 0, 1)
BASE_DECISIONS = SCORE >= 0.55


def test_a_working_guard_raises_none() -> None:
    """Decisions much like the base guard's are fine."""
    assert collapse_warnings(Y, BASE_DECISIONS, SCORE >= 0.56, SCORE) == []


@pytest.mark.parametrize(
    ("decision", "score", "message"),
    [
        (np.ones(1000, bool), SCORE, "everything is flagged"),
        (np.zeros(1000, bool), SCORE, "nothing is flagged"),
        (np.arange(1000) < 2, SCORE, "nearly one class"),
        (BASE_DECISIONS, np.full(1000, 0.7), "scores hardly differ"),
        (RNG.random(1000) < 0.9, SCORE, "no better than the base rate"),
        (SCORE >= 0.2, SCORE, "the base guard"),
    ],
)
def test_each_kind_of_collapse_is_named(
    decision: np.ndarray, score: np.ndarray, message: str
) -> None:
    """Everything, nothing, constants, coin tosses, twice the flags: each has a line."""
    assert message in " ".join(collapse_warnings(Y, BASE_DECISIONS, decision, score))


def test_no_prompts_is_a_warning() -> None:
    """An empty test part must not look like success."""
    none = np.zeros(0, dtype=bool)

    assert collapse_warnings(none, none, none, none) == ["nothing was judged"]
