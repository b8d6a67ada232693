"""Names of slices in result rows, and the rows of one column.

A slice is called ``COLUMN=VALUE``, a gap between slices by its ``COLUMN`` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from safebench.errors import RunFolderError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .rows import Row

_GAP = "_gap"


def gap_metric(metric: str) -> str:
    """Return what the gap of a metric is called: ``recall_gap``."""
    return metric + _GAP


def slice_name(column: str, value: str | None = None) -> str:
    """Return the name of a slice, or of all slices by a column.

    An equals sign in the name of a column is escaped: the first one ends it.
    """
    name = column.replace("%", "%25").replace("=", "%3D")
    return name if value is None else f"{name}={value}"


def column_of(row: Row) -> str:
    """Return the column that a row of slices is by."""
    return unquote((row.slice or "").partition("=")[0])


def rows_by_slice(rows: Sequence[Row], column: str, run: str) -> list[Row]:
    """Return the rows of the slices by a column, gaps first.

    Raises RunFolderError where none are stored, with the command that stores them in
    `run`.
    """
    sliced = [row for row in rows if row.slice is not None]
    kept = [row for row in sliced if column_of(row).casefold() == column.casefold()]
    if not kept:
        known = list(dict.fromkeys(map(column_of, sliced)))
        there = f"; stored: {', '.join(known)}" if known else ""
        raise RunFolderError(
            f"no slices by {column!r} are stored{did_you_mean(column, known)}{there}; "
            f"`safebench analyze {run} --gaps --slice {column} --save` stores them"
        )
    return sorted(kept, key=lambda row: "=" in (row.slice or ""))
