"""A score and its threshold are written so that they agree with the verdict."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safebench.score import ScoreResult
from safebench.score.result import describe_threshold, format_score, format_threshold


def result_of(score: float, threshold: float | None) -> ScoreResult:
    """Return a result with these numbers and no others."""
    values: dict[str, Any] = {field.name: None for field in fields(ScoreResult)}
    result = ScoreResult(**values)
    return replace(result, score=score, threshold=threshold, task="prompt_harm")


@pytest.mark.parametrize(
    ("score", "threshold", "texts"),
    [
        (0.25, 0.5, ("0.25", "0.5")),
        (0.49999, 0.5, ("0.49999", "0.5")),
        (0.4999999999, 0.5, ("0.4999999999", "0.5")),
        (0.5, 0.5, ("0.5", "0.5")),
        (0.50001, 0.5, ("0.5", "0.5")),
        (0.43869, 0.438721, ("0.43869", "0.43872")),
        (-1e-9, 0.0, ("-1e-09", "0")),
        (123456.0, 123457.0, ("123456", "123457")),
    ],
)
def test_four_digits_unless_they_would_tell_another_verdict(
    score: float, threshold: float, texts: tuple[str, str]
) -> None:
    """Rounded numbers stand in the order of the exact ones."""
    result = result_of(score, threshold)

    assert texts == (format_score(result), format_threshold(result))
    assert describe_threshold(result).endswith(texts[1])


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
@example(0.1 + 0.2, 0.3)
@example(5e-324, 0.0)
def test_what_is_written_is_on_the_side_of_the_verdict(
    score: float, threshold: float
) -> None:
    """Whoever reads both numbers comes to the verdict that stands beside them."""
    result = result_of(score, threshold)

    written = float(format_score(result)) >= float(format_threshold(result))

    assert (score >= threshold) == written


def test_without_a_threshold_four_digits_do() -> None:
    """A rule of another kind decides."""
    assert "0.1235" == format_score(result_of(0.123456, None))
