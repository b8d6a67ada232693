"""Meta data that a kind of evidence promises are looked at, and named where missing."""

from __future__ import annotations

from typing import Any

import pytest

from safebench.evidence import Cost, MemberLogits, Scores
from safebench.evidence.meta_checks import meta_problem

SCORES: dict[str, Any] = {"labels": ["hate", "harm"], "scale": "score"}
MEMBERS: dict[str, Any] = {
    "classes": ["safe", "unsafe"],
    "members": ["a"],
    "link": "softmax",
    "tasks": {"unsafe": ["prompt_harm", 1]},
}
COST: dict[str, Any] = {"bias": 0.5, "temperature": 2.0, "n_calibration": 20}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"threshold": 0.5, "tasks": {"refusal": "hate"}}, None),
        ({"categories": {"hate": "S10"}}, None),
        ({"labels": None}, "meta has no 'labels'"),
        ({"labels": "ab"}, "no list of texts"),
        ({"labels": ["hate"]}, "1 names for 2 columns"),
        ({"labels": ["hate", "hate"]}, "a name twice"),
        ({"labels": ["hate", 3]}, "no list of texts"),
        ({"scale": "percent"}, "none of probability, score, ordinal"),
        ({"scale": ["score"]}, "none of probability, score, ordinal"),
        ({"threshold": "0.5"}, "neither a number nor None"),
        ({"threshold": float("nan")}, "neither a number nor None"),
        ({"tasks": {"refusal": "hat"}}, "none of the labels"),
        ({"tasks": {"refusal": ["hate"]}}, "none of the labels"),
        ({"tasks": ["refusal"]}, "no dict"),
        ({"categories": {"hat": "S10"}}, "maps 'hat'"),
        ({"categories": {"hate": 10}}, "maps 'hate' to 10"),
    ],
)
def test_scores(changes: dict[str, Any], problem: str | None) -> None:
    """Names for each column, a known scale, and labels that are there."""
    batch = Scores({"values": [[0.1, 0.2]]}, meta=SCORES | changes)

    assert (problem or "None") in str(meta_problem(batch))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"readings": {"prompt_harm": [0, 1]}}, None),
        ({"classes": ["safe"]}, "1 names for 2 columns"),
        ({"members": ["a", "b"]}, "2 names for 1 columns"),
        ({"link": "exp"}, "none of softmax, sigmoid"),
        ({"tasks": None}, None),
        ({"tasks": {"unsafe": ["prompt_harm", 2]}}, "maps 'unsafe'"),
        ({"tasks": {"UNSAFE": ["prompt_harm", 1]}}, "maps 'UNSAFE'"),
        ({"readings": {"prompt_harm": [1]}}, "meta['readings']['prompt_harm'] is [1]"),
        ({"readings": {"prompt_harm": [0, 5]}}, "meta['readings']['prompt_harm']"),
    ],
)
def test_logits(changes: dict[str, Any], problem: str | None) -> None:
    """Classes and members by name, and which classes answer what."""
    batch = MemberLogits(
        {"logits": [[[0.0, 1.0]]]}, offsets={"W": [0, 1]}, meta=MEMBERS | changes
    )

    assert (problem or "None") in str(meta_problem(batch))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"bias": None}, None),
        ({"temperature": None}, None),
        ({"temperature": 0.0}, "no number above 0"),
        ({"temperature": -1.0}, "no number above 0"),
        ({"temperature": float("inf")}, "no number above 0"),
        ({"temperature": "2"}, "no number above 0"),
        ({"bias": float("nan")}, "no number"),
        ({"bias": True}, "no number"),
    ],
)
def test_costs(changes: dict[str, Any], problem: str | None) -> None:
    """A temperature at or below 0 would turn the order of probabilities."""
    batch = Cost({"value": [0.3]}, meta=COST | changes)

    assert (problem or "None") in str(meta_problem(batch))


def test_meta_data_are_a_dict() -> None:
    """Whatever a plugin puts there afterwards."""
    batch = Cost({"value": [0.3]}, meta=COST)
    batch.meta = ["bias"]  # type: ignore[assignment]

    assert "meta is a list, not a dict" == meta_problem(batch)
