"""Rows of a results table, for tests of what reads or draws them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from safebench.results import Row

TEMPLATE = Row(
    run="r",
    classifier="guard",
    model="org/guard",
    strategy="greedy",
    dataset="set",
    split="test",
    task="prompt_harm",
    metric="auroc",
    value=0.5,
    n=8,
    n_pos=4,
    higher_is_better=True,
    threshold=0.5,
    threshold_from="fixed",
)


def result_row(**fields: Any) -> Row:
    """Return an AUROC of one guard on one dataset, but for the given fields."""
    return replace(TEMPLATE, **fields)
