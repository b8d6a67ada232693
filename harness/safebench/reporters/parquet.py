"""The leaderboard as a Parquet file: typed columns, the same whatever the values are.

A column of numbers is one of doubles also where all are null, so that files of several
tables can be read together.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from .formats import LINE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from safebench.console import RenderOptions

    from .table import Leaderboard, LeaderboardLine

_ENDS = {"": "value", "_low": "ci_low", "_high": "ci_high"}
_ABOUT = ("prevalence", "threshold")
# of a line, beside its names and numbers
_COUNTS = ("n", "n_pos", "n_failed")

# pandas would read counts as integers or as doubles, by whether one of them is null
_PANDAS = {
    "columns": [
        {
            "name": name,
            "field_name": name,
            "pandas_type": "int64",
            "numpy_type": "Int64",
            "metadata": None,
        }
        for name in _COUNTS
    ],
    "index_columns": [],
    "column_indexes": [],
}


def render_parquet(table: Leaderboard, options: RenderOptions) -> bytes:  # noqa: ARG001 - numbers stay unrounded
    """Return a row a line: names, numbers with their intervals, counts, and `notes`.

    `notes` lists what to know of single numbers, as ``metric: note``; the footnotes of
    the table are in the metadata of the schema, as JSON under ``safebench``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(list(_fields(table)))
    about = {"title": table.title, "sort": table.sort, "footnotes": table.footnotes}
    schema = schema.with_metadata(
        {"safebench": json.dumps(about), "pandas": json.dumps(_PANDAS)}
    )
    records = [_record(line, table) for line in table.lines]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema), file)
    return file.getvalue()


def _fields(table: Leaderboard) -> Iterator[pa.Field]:
    import pyarrow as pa

    names = (*LINE_FIELDS, "slice", "source")
    yield from (pa.field(name, pa.string()) for name in names)
    yield from (pa.field(name, pa.float64()) for name in _ABOUT)
    columns = _metric_columns(table)
    yield from (pa.field(c + end, pa.float64()) for c in columns for end in _ENDS)
    yield from (pa.field(name, pa.int64()) for name in _COUNTS)
    yield pa.field("ranked", pa.bool_())
    yield pa.field("notes", pa.list_(pa.string()))


def _metric_columns(table: Leaderboard) -> list[str]:
    """Return what each metric's column is called: its name, unless that is taken."""
    taken = {*LINE_FIELDS, "slice", "source", *_ABOUT, *_COUNTS, "ranked", "notes"}
    columns = []
    for name in table.metrics:
        column = name
        while taken & {column + end for end in _ENDS}:
            column = f"metric_{column}"
        taken |= {column + end for end in _ENDS}
        columns.append(column)
    return columns


def _record(line: LeaderboardLine, table: Leaderboard) -> dict[str, Any]:
    numbers = {
        column + end: getattr(cell, name)
        for column, cell in zip(_metric_columns(table), line.cells, strict=True)
        for end, name in _ENDS.items()
    }
    return {
        **{name: getattr(line, name) for name in LINE_FIELDS},
        "slice": line.slice,
        "source": line.source or None,
        **{name: getattr(table, name) for name in _ABOUT},
        **numbers,
        # 0 stands for a published dataset of unknown size
        "n": None if line.source and not line.n else line.n,
        "n_pos": line.n_pos,
        "n_failed": None if line.source else line.n_failed,
        "ranked": line.ranked,
        "notes": [
            f"{metric}: {cell.note}"
            for metric, cell in zip(table.metrics, line.cells, strict=True)
            if cell.note
        ],
    }
