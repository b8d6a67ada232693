"""Rows: their fields, their text, and what makes two of them the same."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from safebench.results import Row
from safebench.results.rows import from_json, to_json

FIELDS = [
    "schema",
    "run",
    "classifier",
    "model",
    "revision",
    "strategy",
    "params",
    "calibrator",
    "dataset",
    "config",
    "split",
    "part",
    "task",
    "pack",
    "pack_missing",
    "policy",
    "policy_map",
    "slice",
    "category",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "ci_method",
    "bound_low",
    "bound_high",
    "higher_is_better",
    "n",
    "n_pos",
    "n_neg",
    "n_scored",
    "n_failed",
    "n_truncated",
    "n_conflicting",
    "prevalence",
    "threshold",
    "threshold_from",
    "seconds",
    "samples_per_second",
    "forward_passes",
    "tokens",
    "peak_memory_mib",
    "cost_shared_with",
    "latency_mode",
    "device",
    "dtype",
    "versions",
    "commit",
    "evidence_key",
    "data_hash",
    "split_hash",
    "contaminated",
    "licence",
    "mix",
    "review",
    "note",
]

ROW = Row(
    run="r",
    classifier="guard",
    model="org/guard",
    strategy="greedy",
    params={"eps": 0.01, "threshold": 0.5},
    dataset="set",
    split="test",
    task="prompt_harm",
    metric="auroc",
    value=0.75,
    n=8,
)


def test_fields_and_their_order() -> None:
    """The columns of the long table, in their documented order; schema 2."""
    assert FIELDS == [f.name for f in fields(Row)]
    optional = {"pack": "core@1", "pack_missing": "a, b", "licence": "MIT", "mix": "m"}
    optional |= {"review": {"n_reviewed": 1}}
    assert FIELDS == list(json.loads(to_json(replace(ROW, **optional))))
    # as in versions that knew neither packs nor licences
    without = [name for name in FIELDS if name not in optional]
    assert without == list(json.loads(to_json(ROW)))
    assert 2 == ROW.schema


def test_round_trip() -> None:
    """What is written is read back equal, one line of text."""
    row = replace(ROW, note='two\nlines, "quotes" and \u2028', versions={"a": "1"})

    assert row == from_json(to_json(row))
    assert "\n" not in to_json(row)


def test_what_json_cannot_hold_becomes_null() -> None:
    """NaN and infinity are null wherever they are; numpy numbers are numbers."""
    params = {"a": float("inf"), "b": [float("nan"), 1], "c": np.int64(3)}
    row = replace(ROW, value=np.float64("nan"), n=np.int64(8), params=params)
    record = json.loads(to_json(row), parse_constant=pytest.fail)

    assert record["value"] is None
    assert 8 == record["n"]
    assert {"a": None, "b": [None, 1], "c": 3} == record["params"]


def test_fields_of_later_versions_are_passed_over() -> None:
    """A file from a newer release can still be shown."""
    record = json.loads(to_json(ROW)) | {"schema": 3, "colour": "blue"}

    assert replace(ROW, schema=3) == from_json(json.dumps(record))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "Expecting"),
        ("[1]", "not a JSON object"),
        ("{}", "no field run, classifier"),
        (to_json(ROW).replace("0.75", '"high"'), "field 'value' cannot be 'high'"),
    ],
)
def test_lines_that_are_no_rows(line: str, problem: str) -> None:
    """A line that is no row is refused with the reason."""
    with pytest.raises(ValueError, match=problem):
        from_json(line)


@pytest.mark.parametrize(
    "change",
    [
        {"classifier": "b"},
        {"model": "b"},
        {"strategy": "b"},
        {"params": {"eps": 0.1}},
        {"calibrator": "platt"},
        {"dataset": "b"},
        {"config": "b"},
        {"split": "b"},
        {"part": "calibration"},
        {"task": "refusal"},
        {"policy": "b"},
        {"slice": "language=de"},
        {"category": "S1"},
        {"metric": "f1"},
        {"evidence_key": "b"},
        {"prevalence": 0.01},
    ],
)
def test_another_identity_is_another_key(change: dict) -> None:
    """What a number is about is part of its key."""
    assert ROW.key != replace(ROW, **change).key


@pytest.mark.parametrize(
    "change",
    [
        {"run": "b"},
        {"value": 0.5},
        {"n": 4},
        {"threshold": 0.2, "params": {"threshold": 0.2, "eps": 0.01}},
        {"note": "b"},
        {"seconds": 1.0},
    ],
)
def test_what_may_change_on_the_same_evidence_is_no_key(change: dict) -> None:
    """Another threshold, limit or time replaces the row."""
    assert ROW.key == replace(ROW, **change).key
