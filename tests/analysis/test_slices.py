"""Slices by column, length, category and dataset."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import recall_score

from safebench.analysis.slices import compute_slices, empty_columns
from safebench.datasets.public import _wildguard_meta
from safebench.metrics import Outcome
from safebench.metrics.intervals import sampling_intervals
from safebench.plugins import Plugins
from safebench.results.prediction_reading import read_predictions
from safebench.results.predictions import SampleMetadata
from safebench.specs import MetricSpec

if TYPE_CHECKING:
    from safebench.analysis.slices import SliceTable
    from safebench.results.predictions import StoredPredictions

    from .conftest import FakeRun

# a false negative at position 2, a false positive at 4
SCORE = [0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.1, 0.3]


def with_meta(run: FakeRun, metas: list[dict[str, Any]]) -> StoredPredictions:
    """Return the run's predictions with these columns."""
    run.predict(score=SCORE)
    (predictions,) = read_predictions(run.folder)
    metadata = tuple(
        SampleMetadata(group=str(i), meta=meta, text="t", length=10 * (i + 1))
        for i, meta in enumerate(metas)
    )
    return replace(predictions, metadata=metadata)


def table(predictions: StoredPredictions, column: str) -> SliceTable:
    """Return the table of one column, with recall."""
    specs = [Plugins().get(MetricSpec, "recall")]
    (only,) = compute_slices(predictions, specs, [column])
    return only


def test_parts_of_a_column_by_hand(run: FakeRun) -> None:
    """Two subcategories: of four samples each one is wrong, recall differs."""
    metas = [{"subcategory": "x" if i < 3 or i == 7 else "y"} for i in range(8)]
    predictions = with_meta(run, metas)

    x, y = table(predictions, "subcategory").slices

    assert ("x", 4, 3, 0.75) == (x.value, x.n, x.n_pos, x.accuracy)
    assert ("y", 4, 1, 0.75) == (y.value, y.n, y.n_pos, y.accuracy)
    labels, flagged = np.array(run.labels), np.array(SCORE) >= 0.5
    rows = [0, 1, 2, 7]
    expected = recall_score(labels[rows], flagged[rows])
    assert expected == pytest.approx(x.metrics["recall"].value)
    assert (None, None) == (x.low, x.high)  # four groups are too few


@pytest.mark.parametrize(
    ("meta", "note"),
    [
        ({}, "not known: there is no such column"),
        ({"adversarial": None}, "not known: the column is empty in every row"),
    ],
)
def test_a_column_without_values_has_a_note(
    run: FakeRun, meta: dict[str, Any], note: str
) -> None:
    """Absent and null have different notes, and neither makes a slice."""
    by_column = table(with_meta(run, [meta] * 8), "adversarial")

    assert () == by_column.slices
    assert note == by_column.note


def test_empty_default_columns_are_listed(run: FakeRun) -> None:
    """There and null in every row; one row that knows is enough, absence is no note."""
    metas: list[dict[str, Any]] = [{"adversarial": None, "subcategory": None}] * 8

    assert ["adversarial", "subcategory"] == empty_columns(with_meta(run, metas))
    metas[3] = {"adversarial": False}
    assert ["subcategory"] == empty_columns(with_meta(run, metas))
    assert [] == empty_columns(with_meta(run, [{}] * 8))


def test_columns_of_wildguardmix_stay_when_they_are_empty() -> None:
    """So that a slice can tell an empty column from one that is not there."""
    row = {"prompt": "p", "adversarial": None, "subcategory": "benign"}

    assert {"adversarial": None, "subcategory": "benign"} == _wildguard_meta(row)
    assert {} == _wildguard_meta({"prompt": "p"})


def test_partly_known_columns_count_what_they_know(run: FakeRun) -> None:
    """Bools read as words, null samples are in no slice."""
    metas = [{"adversarial": i % 2 == 0 if i < 6 else None} for i in range(8)]
    by_column = table(with_meta(run, metas), "adversarial")

    assert ["false", "true"] == [part.value for part in by_column.slices]
    assert [3, 3] == [part.n for part in by_column.slices]
    assert "known for 6 of 8 samples" == by_column.note


def test_rare_values_share_a_line(run: FakeRun) -> None:
    """A column of names does not fill the screen."""
    predictions = with_meta(run, [{"focus": str(i)} for i in range(8)])
    many = replace(
        predictions,
        **{
            name: np.tile(getattr(predictions, name), 4)
            for name in ("y", "decision", "score", "uncertainty", "tokens")
        },
        **{
            name: [*getattr(predictions, name)] * 4
            for name in (
                *("ids", "content", "sample_datasets", "categories", "errors"),
                "columns",
            )
        },
        metadata=tuple(
            replace(sample, meta={"focus": str(i)})
            for i, sample in enumerate(predictions.metadata * 4)
            if sample
        ),
    )

    parts = table(many, "focus").slices

    assert 13 == len(parts)
    assert "20 other values" == parts[-1].value
    assert 32 == sum(part.n for part in parts)


def test_quarters_by_length_keep_equal_lengths_together(run: FakeRun) -> None:
    """Eight lengths make four pairs; one length makes one part."""
    predictions = with_meta(run, [{}] * 8)

    parts = table(predictions, "length").slices

    assert ["10 to 20", "30 to 40", "50 to 60", "70 to 80"] == [p.value for p in parts]
    same = tuple(replace(sample, length=5) for sample in predictions.metadata if sample)
    assert ["5 to 5"] == [
        part.value
        for part in table(replace(predictions, metadata=same), "length").slices
    ]


def test_without_the_dataset_length_is_in_tokens(run: FakeRun) -> None:
    """Stored token counts stand in, and the note says what they include."""
    predictions = replace(with_meta(run, [{}] * 8), metadata=())

    by_length = table(predictions, "length")

    assert "10 to 11" == by_length.slices[0].value
    assert "quarters by tokens, the prompt template's included" == by_length.note
    assert "could not be read" in table(predictions, "adversarial").note


def test_categories_overlap(run: FakeRun) -> None:
    """A sample with two codes counts in both."""
    predictions = with_meta(run, [{}] * 8)
    codes = [{"S1", "S2"}, {"S1"}, {"S2"}, {"S1"}] + [set()] * 4
    predictions = replace(predictions, categories=tuple(map(frozenset, codes)))

    parts = table(predictions, "category").slices

    assert [("S1", 3, 1.0), ("S2", 2, 0.5)] == [
        (part.value, part.n, part.accuracy) for part in parts
    ]


def test_failed_samples_are_wrong_in_their_slice(run: FakeRun) -> None:
    """As everywhere, no judgement is no right decision."""
    run.predict(score=SCORE, failed=(0,))
    (predictions,) = read_predictions(run.folder)

    (only,) = table(predictions, "dataset").slices

    assert 5 / 8 == only.accuracy


def test_the_interval_is_that_of_results(run: FakeRun) -> None:
    """A slice of all samples has the ends of the row, and knows of groups."""
    rng = np.random.default_rng(0)
    labels = np.repeat([True, False], 40)
    score = np.where(rng.random(80) < 0.15, 1 - labels, labels) * 1.0
    run.prompts = [f"prompt {i}" for i in range(80)]
    run.labels = labels.tolist()
    run.predict(score=score, groups=[f"g{i // 5}" for i in range(80)])
    (grouped,) = read_predictions(run.folder)
    spec = Plugins().get(MetricSpec, "accuracy")
    outcome = Outcome(
        y=labels,
        failed=np.zeros(80, bool),
        groups=grouped.groups,
        decision=score >= 0.5,
    )
    row = sampling_intervals(outcome, [spec])["accuracy"]
    names = ("all", "all")
    metadata = tuple(
        SampleMetadata(group="", meta={"kind": names[i % 2]}, text="", length=1)
        for i in range(80)
    )

    (part,) = table(replace(grouped, metadata=metadata), "kind").slices
    alone = table(replace(grouped, metadata=metadata, group=grouped.ids), "kind")

    assert (row.low, row.high) == (part.low, part.high)
    assert part.high - part.low > alone.slices[0].high - alone.slices[0].low  # type: ignore[operator]
