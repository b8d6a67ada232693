"""How results are displayed: positions on scales, numbers, text and terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from safebench.console import RenderOptions
from safebench.score.render import render_terminal, text_lines
from safebench.score.result import (
    CategoryScore,
    ScoreResult,
    display_position,
    format_number,
    is_bounded,
)

RESULT = ScoreResult(
    verdict="unsafe",
    harmful=True,
    score=0.75,
    lower=0.7,
    upper=0.8,
    threshold=0.5,
    probability=True,
    categories=(
        CategoryScore(code="S2", name="Theft", score=0.2, flagged=False),
        CategoryScore(
            code="S1", name="[bold]Arson", score=0.6, lower=0.5, upper=0.7, flagged=True
        ),
        CategoryScore(code="S3", name="Noise", score=None),
    ),
    cost=None,
    uncertainty=0.5,
    uncertainty_lower=None,
    uncertainty_upper=None,
    task="prompt_harm",
    classifier="guard",
    strategy="any",
    model="m",
    policy="p",
    seconds=0.5,
    loading=2.0,
    tokens_in=3,
    tokens_dropped=0,
    raw="unsafe\nS1\x1b]0;title\x07",
    error=None,
    notes=(),
)  # fmt: skip
COST = replace(RESULT, score=1.0, threshold=0.0, probability=False, lower=None)


def test_a_probability_is_drawn_as_it_is() -> None:
    """On a scale from 0 to 1 the place is the number."""
    assert is_bounded(RESULT)
    assert [0.0, 0.75, 1.0] == [display_position(RESULT, v) for v in (-0.1, 0.75, 1.0)]


def test_a_cost_is_drawn_around_its_threshold() -> None:
    """0 is in the middle, 1 half way to the end, and the order is kept."""
    values = [-1e9, -1.0, 0.0, 1.0, 5.0, 1e9]

    assert not is_bounded(COST)
    assert [0.25, 0.5, 0.75] == pytest.approx(
        [display_position(COST, v) for v in (-1, 0, 1)]
    )
    positions = [display_position(COST, v) for v in values]
    assert sorted(positions) == positions
    assert 0 <= positions[0] < positions[-1] <= 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (0.0, "0"), (12345.6, "1.235e+04"), (-0.5, "-0.5")],
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    """As many as a reader compares."""
    assert text == format_number(value)


def test_categories_come_the_likeliest_first() -> None:
    """One without a score is left out; the decision and the bounds are told."""
    text = list(text_lines(RESULT))

    start = text.index("categories")
    assert text[start + 1].split() == (
        ["S1", "[bold]Arson", "0.6000", "0.5000", "to", "0.7000", "flagged"]
    )
    assert text[start + 2].split() == ["S2", "Theft", "0.2000"]
    assert not any("Noise" in line for line in text)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_terminal_gets_colours_but_no_foreign_codes(encoding: str) -> None:
    """Markup in names is text; escape sequences of the model do not get through."""
    options = RenderOptions(width=80, styles=True, colour=True, encoding=encoding)

    text = render_terminal(RESULT, "file:3", options)

    assert "\x1b[" in text
    assert "[bold]Arson" in text
    assert "\x1b]0" not in text
    assert "\x07" not in text
    assert (encoding == "utf-8") == ("●" in text)
    text.encode(encoding)


def test_a_failed_answer_is_drawn_without_a_verdict() -> None:
    """Neither colour claims a class."""
    failed = replace(RESULT, verdict=None, harmful=None, score=None, error="no level")

    text = render_terminal(
        failed, "", RenderOptions(width=80, styles=True, colour=True)
    )

    assert "NO VERDICT" in text
    assert "no level" in text


def test_bounds_that_read_the_same_are_exact() -> None:
    """Four digits are shown: where both are equal, that is said instead."""
    close = replace(RESULT, lower=0.749999, upper=0.750001)

    assert "bounds       0.7 to 0.8" in list(text_lines(RESULT))
    assert "bounds       exact to 4 digits" in list(text_lines(close))


def test_category_scores_stand_in_a_column() -> None:
    """Three decimals each, so that they can be compared by eye."""
    small = CategoryScore(code="S4", name="Small", score=0.00512)
    text = render_terminal(
        replace(RESULT, categories=(*RESULT.categories, small)),
        "",
        RenderOptions(width=80),
    )

    numbers = re.findall(r"(?<![\d.])0\.\d+", text.partition("Arson")[2])
    assert ["0.600", "0.200", "0.005"] == numbers[:3]
