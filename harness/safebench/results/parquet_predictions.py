"""Single rows of predictions that are stored as parquet, read without the others."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError
from safebench.files import open_parquet

from .prediction_reading import BY_CATEGORY
from .stored_columns import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow.parquet as pq

    from .prediction_reading import PredictionLine

_BATCH = 10_000  # rows that are in memory as Python objects at a time


def iter_parquet_lines(
    path: Path, fields: Sequence[str], name: str = ""
) -> Iterator[PredictionLine]:
    """Yield the predictions of a file in its order, with some of their fields.

    Fields that the file lacks are left out. Raises DataError, which calls the file
    `name`, for one that holds no predictions.
    """
    with _opened(path, name) as file:
        there = [field for field in fields if field in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_BATCH, columns=there):
            yield from batch.to_pylist()


def read_parquet_rows(
    path: Path, rows: Sequence[int], name: str = ""
) -> list[PredictionLine]:
    """Return the predictions of some rows, which are counted from 0, in their order.

    Only the row groups that have them are read.
    """
    lines: dict[int, PredictionLine] = {}
    wanted = np.array(sorted(set(rows)), dtype=np.int64)
    with _opened(path, name) as file:
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            inside = wanted[(wanted >= start) & (wanted < end)]
            if len(inside):
                table = file.read_row_group(group).take(inside - start)
                lines |= zip(inside.tolist(), table.to_pylist(), strict=True)
            start = end
    return [_with_json_fields(lines[row]) for row in rows]


def rows_with_content(path: Path, content: str, name: str = "") -> list[int]:
    """Return the rows about samples whose texts have a hash."""
    import pyarrow.compute as pc

    with _opened(path, name) as file:
        if "content" not in file.schema_arrow.names:
            return []
        column = file.read(columns=["content"]).column("content")
        found: list[int] = pc.indices_nonzero(pc.equal(column, content)).to_pylist()
        return found


@contextmanager
def _opened(path: Path, name: str) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa

    place = name or path
    try:
        with open_parquet(path) as file:
            if "id" not in file.schema_arrow.names:
                raise DataError(f"{place} holds no predictions: it has no column id")
            yield file
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the surroundings: no file, no permission
        raise DataError(f"{place} holds no predictions: damaged, or cut off") from None


def _with_json_fields(line: PredictionLine) -> PredictionLine:
    """Read again what parquet files have as text."""
    for field in (*BY_CATEGORY, COLUMNS):
        value: Any = line.get(field)
        if isinstance(value, str):
            line[field] = json.loads(value)
    return line
