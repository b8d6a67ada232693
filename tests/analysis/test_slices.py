"""The same numbers on parts of a dataset."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import recall_score

from safebench.analysis.reading import read_predictions
from safebench.analysis.slices import empty_columns, slices
from safebench.analysis.sources import Facts
from safebench.datasets.wildguard import _meta
from safebench.plugins import Plugins
from safebench.specs import MetricSpec

if TYPE_CHECKING:
    from safebench.analysis.predictions import Predictions
    from safebench.analysis.slices import SliceTable

    from .conftest import FakeRun

SCORE = [0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.1, 0.3]  # wrong at 2 (missed) and 4 (alarm)


def with_meta(run: FakeRun, metas: list[dict[str, Any]]) -> Predictions:
    """Return the run's predictions with these columns."""
    run.predict(score=SCORE)
    (found,) = read_predictions(run.folder)
    facts = tuple(
        Facts(group=str(i), meta=meta, text="t", length=10 * (i + 1))
        for i, meta in enumerate(metas)
    )
    return replace(found, facts=facts)


def table(found: Predictions, column: str) -> SliceTable:
    """Return the table of one column, with recall."""
    specs = [Plugins().get(MetricSpec, "recall")]
    (only,) = slices(found, specs, [column])
    return only


def test_parts_of_a_column_by_hand(run: FakeRun) -> None:
    """Two subcategories: of four samples each one is wrong, recall differs."""
    metas = [{"subcategory": "x" if i < 3 or i == 7 else "y"} for i in range(8)]
    found = with_meta(run, metas)

    x, y = table(found, "subcategory").slices

    assert ("x", 4, 3, 0.75) == (x.value, x.n, x.n_pos, x.accuracy)
    assert ("y", 4, 1, 0.75) == (y.value, y.n, y.n_pos, y.accuracy)
    labels, flagged = np.array(run.labels), np.array(SCORE) >= 0.5
    rows = [0, 1, 2, 7]
    expected = recall_score(labels[rows], flagged[rows])
    assert expected == pytest.approx(x.metrics["recall"].value)
    assert x.low < 0.75 < x.high


@pytest.mark.parametrize(
    ("meta", "note"),
    [
        ({}, "not known: there is no such column"),
        ({"adversarial": None}, "not known: the column is empty in every row"),
    ],
)
def test_a_column_that_says_nothing_says_so(
    run: FakeRun, meta: dict[str, Any], note: str
) -> None:
    """Absent and null are told apart, and neither makes a slice."""
    found = table(with_meta(run, [meta] * 8), "adversarial")

    assert () == found.slices
    assert note == found.note


def test_usual_columns_that_are_empty_are_told_apart(run: FakeRun) -> None:
    """There and null in every row; one row that knows is enough, absence is no note."""
    metas: list[dict[str, Any]] = [{"adversarial": None, "subcategory": None}] * 8

    assert ["adversarial", "subcategory"] == empty_columns(with_meta(run, metas))
    metas[3] = {"adversarial": False}
    assert ["subcategory"] == empty_columns(with_meta(run, metas))
    assert [] == empty_columns(with_meta(run, [{}] * 8))


def test_columns_of_wildguardmix_stay_when_they_are_empty() -> None:
    """So that a slice can tell an empty column from one that is not there."""
    row = {"prompt": "p", "adversarial": None, "subcategory": "benign"}

    assert {"adversarial": None, "subcategory": "benign"} == _meta(row)
    assert {} == _meta({"prompt": "p"})


def test_partly_known_columns_count_what_they_know(run: FakeRun) -> None:
    """Bools read as words, null samples are in no slice."""
    metas = [{"adversarial": i % 2 == 0 if i < 6 else None} for i in range(8)]
    found = table(with_meta(run, metas), "adversarial")

    assert ["false", "true"] == [part.value for part in found.slices]
    assert [3, 3] == [part.n for part in found.slices]
    assert "known for 6 of 8 samples" == found.note


def test_rare_values_share_a_line(run: FakeRun) -> None:
    """A column of names does not fill the screen."""
    found = with_meta(run, [{"focus": str(i)} for i in range(8)])
    many = replace(
        found,
        **{
            name: np.tile(getattr(found, name), 4)
            for name in ("y", "decision", "score", "uncertainty", "tokens")
        },
        **{
            name: getattr(found, name) * 4
            for name in ("ids", "content", "sets", "categories", "errors")
        },
        facts=tuple(
            replace(fact, meta={"focus": str(i)})
            for i, fact in enumerate(found.facts * 4)
            if fact
        ),
    )

    parts = table(many, "focus").slices

    assert 13 == len(parts)
    assert "20 other values" == parts[-1].value
    assert 32 == sum(part.n for part in parts)


def test_quarters_by_length_keep_equal_lengths_together(run: FakeRun) -> None:
    """Eight lengths make four pairs; one length makes one part."""
    found = with_meta(run, [{}] * 8)

    parts = table(found, "length").slices

    assert ["10 to 20", "30 to 40", "50 to 60", "70 to 80"] == [p.value for p in parts]
    same = tuple(replace(fact, length=5) for fact in found.facts if fact)
    assert ["5 to 5"] == [
        part.value for part in table(replace(found, facts=same), "length").slices
    ]


def test_without_the_dataset_length_is_in_tokens(run: FakeRun) -> None:
    """Stored token counts stand in, and the note says what they include."""
    found = replace(with_meta(run, [{}] * 8), facts=())

    by_length = table(found, "length")

    assert "10 to 11" == by_length.slices[0].value
    assert "quarters by tokens, the prompt template's included" == by_length.note
    assert "could not be read" in table(found, "adversarial").note


def test_categories_overlap(run: FakeRun) -> None:
    """A sample with two codes counts in both."""
    found = with_meta(run, [{}] * 8)
    codes = [{"S1", "S2"}, {"S1"}, {"S2"}, {"S1"}] + [set()] * 4
    found = replace(found, categories=tuple(map(frozenset, codes)))

    parts = table(found, "category").slices

    assert [("S1", 3, 1.0), ("S2", 2, 0.5)] == [
        (part.value, part.n, part.accuracy) for part in parts
    ]


def test_failed_samples_are_wrong_in_their_slice(run: FakeRun) -> None:
    """As everywhere, no judgement is no right decision."""
    run.predict(score=SCORE, failed=(0,))
    (found,) = read_predictions(run.folder)

    (only,) = table(found, "dataset").slices

    assert 5 / 8 == only.accuracy
