"""Rows in bytes are what the general encoder makes of their parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from safebench.datasets.row_bytes import row_bytes
from safebench.records import GroundTruth, Label, Sample, Turn

TURNS = (Turn("user", 'quo"te \\ \n \u2028 ça \U0001f600 \x7f'), Turn("assistant", ""))
LABELS = [
    *[Label(value=value) for value in (True, False, None)],
    Label(value=1),  # type: ignore[arg-type]
    Label(value=True, weight=1),
    Label(value=True, weight=0.5),
    Label(value=True, votes=(1, 3)),
    Label(value=True, level=2),
]
TRUTHS: list[dict[str, Any]] = [
    {},
    {"categories": frozenset({"S2", "S1"})},
    {"known": frozenset()},
    {"meta": {"severity": 0}},
    {"meta": {"other": 1}},
    {"pair": ("p", "safer")},
]


@pytest.mark.parametrize("documents", [(), ("a",)])
def test_rows_are_as_the_general_encoder_writes_them(
    documents: tuple[str, ...],
) -> None:
    """With each label and each truth; numbers are not taken for flags."""
    sample = Sample(
        id='i"d', turns=TURNS, target=-1, group="grüppe", documents=documents
    )
    for label in LABELS:
        for parts in TRUTHS:
            truth = GroundTruth(label=label, **parts)
            pair = (0, truth.pair[1]) if truth.pair else None
            expected: list[Any] = [
                sample.id,
                [(turn.role, turn.text) for turn in TURNS],
                (sample.task, 1, sample.group),
                (label.value, label.level, label.votes, label.weight),
                sorted(truth.categories) if truth.categories is not None else None,
                sorted(truth.known) if truth.known is not None else None,
                pair,
                truth.meta.get("severity"),
                *([documents] if documents else []),
            ]
            row = row_bytes(sample, truth, {})
            assert json.dumps(expected).encode() + b"\n" == row
