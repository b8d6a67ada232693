"""What is fitted on what: the calibration part alone, by groups, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from safebench.calibration.calibrated import FitSource, calibrate_lines
from safebench.calibration.calibration_request import CalibrationRequest
from safebench.calibration.fit import fit, fit_samples
from safebench.calibration.raw_columns import RawColumns
from safebench.core_plugin import safebench_calibrators
from safebench.errors import DataError
from safebench.results.stored_columns import to_columns

SPECS = {spec.name: spec for spec in safebench_calibrators()}


def prediction_lines(
    n: int = 120, seed: int = 0, **fields: Any
) -> list[dict[str, Any]]:
    """Return predictions of two categories; every third sample is held out."""
    rng = np.random.default_rng(seed)
    rows = []
    for row in range(n):
        p = float(rng.uniform(0.02, 0.98))
        label = bool(rng.random() < 0.2 + 0.5 * p)
        rows.append(
            {
                "id": f"set/{row}",
                "content": f"c{row}",
                "group": f"g{row}",
                "strategy": "s",
                "classifier": "c",
                "model": "m",
                "dataset": "set",
                "config": None,
                "split": "test",
                "part": "test" if row % 3 else "calibration",
                "task": "prompt_harm",
                "score": p,
                "lower": p - 0.01,
                "upper": p + 0.01,
                "probability": True,
                "uncertainty": 1 - p,
                "categories": {"A": p, "B": 1 - p},
                "predicted_categories": ["A"] if p >= 0.5 else ["B"],
                "decision": p >= 0.5,
                "threshold": 0.5,
                "label": label,
                "category_truth": {"A": label, "B": None},
                "error": None,
            }
            | fields
        )
    return rows


def request(name: str, *, per_category: bool = False) -> CalibrationRequest:
    """Return a calibrator of the core as it is asked for."""
    return CalibrationRequest(
        label=name,
        spec=SPECS[name],
        producer="safebench",
        options={},
        per_category=per_category,
    )


def calibrate(name: str, lines: Sequence[Any], *, per_category: bool = False) -> Any:
    """Return the fitted calibrator and the predictions."""
    asked = request(name, per_category=per_category)
    raw = RawColumns.read(lines, cells=per_category)
    return calibrate_lines(asked, raw, FitSource(raw, "split", "data"))


@pytest.mark.parametrize("name", ["platt", "isotonic", "histogram", "beta"])
def test_test_labels_and_scores_are_not_seen(name: str) -> None:
    """With other ones the map is the same; a test sample that is handed over raises."""
    lines = prediction_lines()
    turned = [
        line | {"label": not line["label"], "score": 0.5}
        if line["part"] == "test"
        else line
        for line in lines
    ]
    raw = RawColumns.read(lines)
    samples = fit_samples(raw, "calibration")
    first = np.arange(len(lines)) == 0

    assert calibrate(name, lines).fitted.state == calibrate(name, turned).fitted.state
    with pytest.raises(
        ValueError, match="prediction 0 is none of the calibration part"
    ):
        fit(SPECS[name], {}, samples, raw.held_out() & ~first, probability=True)


def few(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave five positives in the calibration part."""
    held_out = [x for x in lines if x["part"] == "calibration"]
    left = {x["id"] for x in [x for x in held_out if x["label"]][:5]}
    return [x | {"label": x["id"] in left} for x in lines]


REFUSED = {
    "one class": (
        "platt",
        lambda lines: [line | {"label": False} for line in lines],
        "the calibration part has 0 unsafe and 40 safe",
    ),
    "few": ("isotonic", few, "has 5 unsafe and 35 safe"),
    "copies": (
        "platt",
        lambda lines: [
            line | {"group": f"{line['part']}-{line['label']}"} for line in lines
        ],
        "has 1 unsafe and 1 safe",
    ),
    "constant": (
        "histogram",
        lambda lines: [line | {"score": 0.25} for line in lines],
        "all 40 scores of the calibration part are 0.25",
    ),
    "no probability": (
        "temperature",
        lambda lines: [line | {"probability": False} for line in lines],
        "these scores only rank",
    ),
    "no probability, beta": (
        "beta",
        lambda lines: [line | {"probability": False} for line in lines],
        "platt, isotonic and histogram take any score",
    ),
    "no part": (
        "platt",
        lambda lines: [line | {"part": "test"} for line in lines],
        "--calibration-fraction above 0",
    ),
    "no score": (
        "platt",
        lambda lines: [line | {"score": None} for line in lines],
        "no sample has a score",
    ),
    "torn group": (
        "platt",
        lambda lines: [line | {"group": "g"} for line in lines],
        "in the calibration part and in the test part",
    ),
    "no probe": ("contextual", list, "--calibrate contextual"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_too_little_to_fit_to(case: str) -> None:
    """One line that says what there is, and what it takes."""
    name, change, message = REFUSED[case]

    with pytest.raises(DataError, match=message) as refused:
        calibrate(name, change(prediction_lines()))
    assert "\n" not in refused.value.message


def test_failed_samples_stay_failed() -> None:
    """Without a score there is neither a probability nor a decision."""
    lines = prediction_lines()
    lines[3] |= {"score": None, "lower": None, "upper": None, "error": "no answer"}

    mapped = list(calibrate("platt", lines).lines)[3]

    assert (None, None, "no answer") == (
        mapped["score"],
        mapped["decision"],
        mapped["error"],
    )


@pytest.mark.parametrize("name", ["temperature", "platt", "beta", "isotonic"])
def test_bounds_are_mapped_where_the_map_rises(name: str) -> None:
    """They enclose the probability still; a score's own uncertainty is left out."""
    for line in calibrate(name, prediction_lines()).lines:
        assert line["lower"] <= line["score"] <= line["upper"]
        assert line["uncertainty"] is None


def test_a_histogram_has_no_bounds() -> None:
    """Its map may fall between them."""
    for line in calibrate("histogram", prediction_lines()).lines:
        assert line["lower"] is line["upper"] is None


def test_categories_by_themselves() -> None:
    """A has labels enough, B has none and stays; without the option both stay."""
    lines = prediction_lines()
    as_they_came = calibrate("platt", lines)
    fitted, mapped = calibrate("platt", lines, per_category=True)
    held_out = [line for line in lines if line["part"] == "calibration"]

    assert [x["categories"] for x in lines] == [
        x["categories"] for x in as_they_came.lines
    ]
    assert {"A"} == fitted.category_states.keys()
    # the cells of A are the samples: the same map
    assert fitted.category_states["A"] == pytest.approx(fitted.state)
    assert any(note.startswith("B as they came") for note in fitted.notes)
    assert len(held_out) == fitted.fit.n
    for before, after in zip(lines, mapped, strict=True):
        assert after["categories"]["B"] == before["categories"]["B"]
        assert after["categories"]["A"] == pytest.approx(after["score"])
        named = {"A"} if after["categories"]["A"] >= 0.5 else set()
        assert named | ({"B"} & set(before["predicted_categories"])) == set(
            after["predicted_categories"]
        )


def test_batch_takes_every_score_and_no_label() -> None:
    """It is transductive, and says so."""
    lines = prediction_lines()
    unlabelled = [line | {"label": None} for line in lines]

    fitted = calibrate("batch", lines).fitted

    assert fitted.transductive
    assert fitted.state["prior"] == pytest.approx(np.mean([x["score"] for x in lines]))
    assert fitted.state == calibrate("batch", unlabelled).fitted.state
    assert fitted.fit.n_pos is None


def test_fitted_on_one_set_and_applied_to_another() -> None:
    """The state is that of the first set, and the record names it."""
    first, second = prediction_lines(), prediction_lines(seed=1, dataset="other")

    read, other = RawColumns.read(first), RawColumns.read(second)
    there = calibrate_lines(request("platt"), other, FitSource(read, "s", "d"))

    assert there.fitted.state == calibrate("platt", first).fitted.state
    assert ("other:test", "set:test") == (
        there.fitted.dataset,
        there.fitted.fit.dataset,
    )
    assert SimpleNamespace(**next(iter(there.lines))).dataset == "other"


def test_predictions_of_early_versions_have_fewer_fields() -> None:
    """What they lack and a reader needs is added."""
    short = [
        {
            name: value
            for name, value in line.items()
            if name not in ("threshold", "group")
        }
        for line in prediction_lines()
    ]

    fitted, mapped = calibrate("platt", short)

    assert {0.5} == {line["threshold"] for line in mapped}
    assert fitted.state == calibrate("platt", prediction_lines()).fitted.state


@pytest.mark.parametrize("name", ["platt", "histogram"])
@pytest.mark.parametrize("per_category", [False, True])
def test_metrics_read_what_the_lines_say(name: str, per_category: bool) -> None:
    """Columns of calibrated predictions are those of the lines that are written."""
    lines = prediction_lines(category_lower={"A": 0.1, "B": None})
    lines[4] |= dict.fromkeys(("score", "decision", "categories"))
    lines[4] |= {"predicted_categories": None, "error": "none"}
    lines[5] |= {"predicted_categories": None, "label": None}

    mapped = calibrate(name, lines, per_category=per_category).lines

    written = to_columns(list(mapped), (), "test")
    of_columns = mapped.stored()
    if not per_category:
        written = replace(written, cells=None)
    for field in fields(written):
        expected, value = (getattr(x, field.name) for x in (written, of_columns))
        if field.name == "cells" and expected is not None:
            for part in ("truth", "score", "named"):
                np.testing.assert_array_equal(
                    getattr(expected, part), getattr(value, part)
                )
        elif isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(expected, value)
        elif isinstance(expected, Sequence):
            assert list(expected) == list(value), field.name
        elif field.name != "cells":
            assert expected == value, field.name
    if per_category:
        tested = [x for x in mapped if x["part"] == "test" and x["label"] is not None]
        cells = [(x.get("category_lower") or {}).get("A") for x in tested]
        low = mapped.bounds_of_cells("category_lower")[:, 0]
        np.testing.assert_array_equal(np.array(cells, dtype=object).astype(float), low)
