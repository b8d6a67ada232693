"""What runs leave: result rows, predictions, and comparisons of them."""

from __future__ import annotations

from .rows import RESULTS_FILE, Row, merge_rows, read_rows
from .runs import read_runs

__all__ = [
    "RESULTS_FILE",
    "Row",
    "merge_rows",
    "read_rows",
    "read_runs",
]
