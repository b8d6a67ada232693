"""McNemar's test and Holm's adjustment, by hand and on real guards' answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import f1_score

from safebench.statistics import holm, mcnemar

if TYPE_CHECKING:
    from conftest import Answers


@pytest.mark.parametrize(
    ("name", "only_small", "only_large", "p"),
    [("HarmBenchPrompt", 25, 7, 0.0021), ("AegisSafetyTest", 12, 16, 0.57)],
)
def test_mcnemar_of_real_guards(
    answers: dict[str, Answers], name: str, only_small: int, only_large: int, p: float
) -> None:
    """Discordant rows and exact p of a 1B and an 8B guard, counted by others."""
    small, large = answers[f"1B/{name}"], answers[f"8B/{name}"]
    test = mcnemar(small.y, small.decision, large.decision)

    assert (only_large, only_small) == (test.b01, test.b10)
    assert p == pytest.approx(test.p, rel=0.02)


def test_answers_are_read_as_published(answers: dict[str, Answers]) -> None:
    """The F1 of the 3B guard on refusals, failures counted as errors, is 85.41."""
    answered = answers["3B/XSTestResponseRefusal"]
    assert 85.41 == pytest.approx(
        100 * f1_score(answered.y, answered.decision), abs=0.005
    )


def test_mcnemar_by_hand() -> None:
    """Three rows only b gets right, none only a: p = 2 / 2^3; no such rows: p = 1."""
    y = np.array([True, True, False, False])
    a, b = np.array([False, False, True, False]), y

    assert (3, 0, 0.25) == mcnemar(y, a, b)
    assert (0, 0, 1.0) == mcnemar(y, a, a)


def test_holm_by_hand() -> None:
    """Times 4, 3, 2, 1 in ascending order, never falling: .01 .04 .03 .005."""
    assert [0.03, 0.06, 0.06, 0.02] == pytest.approx(holm([0.01, 0.04, 0.03, 0.005]))


def test_holm_leaves_out_what_is_unknown() -> None:
    """A missing p is not counted as a test; nothing exceeds 1."""
    assert [1.0, None, 1.0] == holm([0.9, None, 0.8])
    assert [] == holm([])
