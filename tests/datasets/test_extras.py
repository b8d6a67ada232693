"""What few datasets have is noted of each sample, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from safebench.record_columns import ColumnsBuilder

_NONE: dict[str, Any] = {
    "categories": None,
    "pair": None,
    "meta": {},
    "gold_meta": {},
    "named": False,
}


@pytest.mark.parametrize(
    ("extras", "noted"),
    [
        ({}, set()),
        ({"categories": frozenset()}, {"annotated"}),  # known to be in none
        ({"pair": ("p", 0)}, {"paired"}),
        ({"gold_meta": {"severity": 0}}, {"rated", "described"}),
        ({"gold_meta": {"severity": None}}, {"described"}),
        ({"meta": {"source": "web"}}, {"described"}),
        ({"named": True}, {"described"}),
    ],
)
def test_extras_of_one_sample_count_for_the_set(
    extras: dict[str, Any], noted: set[str]
) -> None:
    """Before and after a sample that has none of them."""
    builder = ColumnsBuilder()
    for values in (_NONE, _NONE | extras, _NONE):
        builder.note_extras(**values)
    columns = builder.columns()

    names = ("annotated", "paired", "rated", "described")
    assert noted == {name for name in names if getattr(columns, name)}
