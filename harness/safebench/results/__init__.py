"""The long table of results: one row a metric, in `results.jsonl`."""

from __future__ import annotations

from .row import SCHEMA, Row
from .runs import resolve_runs, results_files
from .store import FILE_NAME, merge_rows, read_rows

__all__ = [
    "FILE_NAME",
    "SCHEMA",
    "Row",
    "merge_rows",
    "read_rows",
    "resolve_runs",
    "results_files",
]
