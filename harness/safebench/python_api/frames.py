"""FrameColumns of records, and the pandas or polars frames that are made of them.

A column has one type whatever the rows are: a column of nulls stays a column of
doubles. What is null in a record is ``<NA>`` (pandas) or null (polars), never NaN: a
comparison with it is null, too, and not False.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Kind = Literal["double", "int", "bool", "string", "list", "mapping", "other"]
Frames = Literal["pandas", "polars"]
LIBRARIES: tuple[Frames, ...] = ("pandas", "polars")
_PANDAS_TYPES = {
    "double": "Float64",
    "int": "Int64",
    "bool": "boolean",
    "string": "string",
}
_MAX_INT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class FrameColumns:
    """Values by column, None for null, and the kind of each column; equal lengths."""

    kinds: Mapping[str, Kind]
    cells: Mapping[str, list[Any]]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return next((len(values) for values in self.cells.values()), 0)

    def __iter__(self) -> Iterator[tuple[str, Kind, list[Any]]]:
        return ((name, self.kinds[name], self.cells[name]) for name in self.cells)


def collect_columns(
    records: Iterable[Mapping[str, Any]], kinds: Mapping[str, Kind]
) -> FrameColumns:
    """Return records as columns: those of `kinds`, then others in order of appearance.

    A key that a record lacks is null. The kind of another column is that of its values.
    """
    values: dict[str, list[Any]] = {name: [] for name in kinds}
    # One object for each text: JSON readers make a new one for every row, and most
    # columns of predictions say the same in all rows.
    texts: dict[str, str] = {}
    for n_rows, record in enumerate(records):
        for name in record:
            if name not in values:
                values[name] = [None] * n_rows
        for name, column in values.items():
            value = record.get(name)
            column.append(
                texts.setdefault(value, value) if isinstance(value, str) else value
            )
    others = {name: kind_of(values[name]) for name in values if name not in kinds}
    return FrameColumns({**kinds, **others}, values)


def join_columns(
    parts: Sequence[FrameColumns], kinds: Mapping[str, Kind]
) -> FrameColumns:
    """Return the rows of all parts, null where a part lacks a column."""
    names = dict.fromkeys([*kinds, *(name for part in parts for name in part.cells)])
    values: dict[str, list[Any]] = {
        name: [
            value
            for part in parts
            for value in part.cells.get(name, [None] * part.n_rows)
        ]
        for name in names
    }
    others = {name: kind_of(values[name]) for name in names if name not in kinds}
    return FrameColumns({**kinds, **others}, values)


def kind_of(values: Iterable[Any]) -> Kind:
    """Return the kind of a column by its values; of nulls alone it is "other"."""
    types = {type(value) for value in values if value is not None}
    if types == {bool}:
        return "bool"
    if types == {int}:
        return "int"
    if types and types <= {int, float}:
        return "double"
    if types == {str}:
        return "string"
    return "other"


def make_frame(columns: FrameColumns, library: Frames) -> Any:
    """Return a new frame of a library."""
    return _MAKERS[library](columns)


def check_library(library: str) -> None:
    """Raise UnknownNameError for another library, OptionError if it is missing."""
    if library not in LIBRARIES:
        raise unknown_name("library of frames", str(library), LIBRARIES)
    try:
        __import__(library)
    except ImportError:
        raise OptionError(
            f"frames={library!r}: {library} is not installed: "
            f'pip install "{library}", or leave frames out for pandas'
        ) from None


def _to_pandas(columns: FrameColumns) -> Any:
    import pandas as pd

    return pd.DataFrame(
        {name: _pandas_column(kind, values) for name, kind, values in columns}
    )


def _pandas_column(kind: Kind, values: list[Any]) -> Any:
    import numpy as np
    import pandas as pd

    if kind == "int" and any(abs(v) > _MAX_INT for v in values if v is not None):
        kind = "other"  # JSON has whole numbers of any size
    if kind in _PANDAS_TYPES:
        return pd.array(values, dtype=_PANDAS_TYPES[kind])
    cells = np.empty(len(values), dtype=object)
    # one by one: numpy would make a table of lists that have one length
    for row, value in enumerate(values):
        cells[row] = pd.NA if value is None else value
    return cells


def _to_polars(columns: FrameColumns) -> Any:
    import polars as pl

    types = {
        "double": pl.Float64,
        "int": pl.Int64,
        "bool": pl.Boolean,
        "string": pl.String,
        "list": pl.List(pl.String),
    }
    series = []
    for name, kind, values in columns:
        if kind == "mapping" or (kind == "other" and _has_json(values)):
            # A struct would have the keys of all rows, which differ between policies;
            # parquet files of predictions have them as JSON, too.
            cells = [None if v is None else json.dumps(v) for v in values]
            series.append(pl.Series(name, cells, dtype=pl.String))
            continue
        if kind == "other" and any(hasattr(v, "tolist") for v in values):  # arrays
            cells = [None if v is None else v.tolist() for v in values]
            series.append(pl.Series(name, cells))
            continue
        as_object = kind == "other" and any(v is not None for v in values)
        dtype = pl.Object if as_object else types.get(kind, pl.Null)
        series.append(pl.Series(name, values, dtype=dtype))
    return pl.DataFrame(series)


def _has_json(values: Iterable[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(
        isinstance(value, dict | list | str | int | float) for value in known
    )


_MAKERS: dict[Frames, Callable[[FrameColumns], Any]] = {
    "pandas": _to_pandas,
    "polars": _to_polars,
}
