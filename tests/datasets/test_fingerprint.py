"""Whether a dataset still holds the rows that a run folder was written for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from safebench.pipeline.manifest import DataFingerprint
from safebench.records import Dataset, GroundTruth, Label, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    Load = Callable[..., Dataset]
    WriteFile = Callable[..., str]

ROWS = [
    {"prompt": f"text {i}", "label": i % 2, "categories": ["S1"] * (i % 2)}
    for i in range(6)
]
PAIRS = [
    {
        "prompt": f"text {i}",
        "response_0": "a",
        "response_1": "b",
        "is_response_0_safe": True,
        "is_response_1_safe": False,
        "safer_response_id": 0,
    }
    for i in range(4)
]


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return rows as JSON lines."""
    return [json.dumps(row) for row in rows]


@pytest.mark.parametrize("rows", [ROWS, PAIRS])
def test_appended_rows_extend_a_dataset(
    load: Load, write_file: WriteFile, rows: list[dict[str, Any]]
) -> None:
    """Plain rows and pairs: more rows at the end extend, fewer are other content."""
    few = load(write_file(*lines(rows[:3])))
    many = load(write_file(*lines(rows)))

    stored = DataFingerprint.of(few)

    assert "same" == stored.change_to(few)
    assert "extended" == stored.change_to(many)
    assert "other" == DataFingerprint.of(many).change_to(few)


@pytest.mark.parametrize(
    "changed",
    [
        [{**ROWS[0], "prompt": "another text"}, *ROWS[1:]],
        [{**ROWS[0], "prompt": "text 0 "}, *ROWS[1:]],
        [{**ROWS[0], "label": 1}, *ROWS[1:]],
        [{**ROWS[1], "label": None}, *ROWS[1:]],
        [*ROWS[:5], {**ROWS[5], "categories": ["S2"]}],
        [*ROWS[:5], {**ROWS[5], "group": "g"}],
        [*ROWS[:5], {**ROWS[5], "id": "x"}],
        ROWS[::-1],
        ROWS[1:],
        [*ROWS[:2], ROWS[5], *ROWS[2:]],
    ],
)
def test_a_changed_row_is_other_content(
    load: Load, write_file: WriteFile, changed: list[dict[str, Any]]
) -> None:
    """Text, white space, label, categories, group, id, order, a row more within."""
    stored = DataFingerprint.of(load(write_file(*lines(ROWS))))

    assert "other" == stored.change_to(load(write_file(*lines(changed))))


@pytest.mark.parametrize(
    "truth",
    [
        GroundTruth(label=Label(value=True, votes=(2, 3))),
        GroundTruth(label=Label(value=True, level=2)),
        GroundTruth(label=Label(value=True), known=frozenset({"S1"})),
        GroundTruth(label=Label(value=True), pair=("p", "safer")),
        GroundTruth(label=Label(value=True), meta={"severity": 2}),
    ],
)
def test_what_metrics_read_is_part_of_the_content(
    load: Load, write_file: WriteFile, truth: GroundTruth
) -> None:
    """Votes, levels, known categories, pairs and severities change numbers."""
    plain = load(write_file(lines(ROWS)[1]))
    plain = replace(plain, ground_truth=[GroundTruth(label=Label(value=True))])

    changed = replace(plain, ground_truth=[truth])

    assert "other" == DataFingerprint.of(plain).change_to(changed)


def test_another_judged_turn_is_other_content(
    load: Load, write_file: WriteFile
) -> None:
    """The last turn by its number is the same as the last turn by -1."""
    dataset = load(write_file('{"prompt": "x", "response": "y", "label": 0}'))
    sample = dataset.samples[0]
    assert (Turn("user", "x"), Turn("assistant", "y")) == sample.turns

    targets = [
        DataFingerprint.of(dataset).change_to(
            replace(dataset, samples=[replace(sample, target=target)])
        )
        for target in (-1, 1, 0)
    ]

    assert ["same", "same", "other"] == targets


def test_a_fingerprint_is_read_back_from_json(
    load: Load, write_file: WriteFile
) -> None:
    """What a manifest holds is read back; anything else is no fingerprint."""
    fingerprint = DataFingerprint.of(load(write_file(*lines(ROWS))))

    stored = json.loads(json.dumps(fingerprint.to_json()))

    assert fingerprint == DataFingerprint.from_json(stored)
    for value in (None, [], {}, {"rows": "6", "sha256": ""}, {"rows": -1}, "x"):
        assert DataFingerprint.from_json(value) is None
