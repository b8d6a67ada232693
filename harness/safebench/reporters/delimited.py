"""The leaderboard as comma-separated values, unrounded."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .table import Cell, Table, View

NAMES = ["dataset", "task", "classifier", "model", "strategy", "calibrator", "run"]


def render(table: Table, view: View) -> str:  # noqa: ARG001 - numbers stay unrounded
    """Return a header and one row a line; an undefined number is an empty field."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*NAMES, *_headers(table), "n", "n_failed"])
    for line in table.lines:
        names = [getattr(line, name) for name in NAMES]
        values = [value for cell in line.cells for value in _values(cell, table)]
        counts = [count.replace("-", "") for count in line.counts]
        writer.writerow([*names, *values, *counts])
    return file.getvalue().rstrip("\n")


def _headers(table: Table) -> list[str]:
    """Return the metrics, each followed by the ends of its interval if these show."""
    ends = ("", "_low", "_high") if table.ci else ("",)
    return [metric + end for metric in table.metrics for end in ends]


def _values(cell: Cell, table: Table) -> list[float | None]:
    return [cell.value, cell.ci_low, cell.ci_high] if table.ci else [cell.value]
