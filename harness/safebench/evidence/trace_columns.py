"""The traces of many samples in columns: a million objects would fill the memory."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import fields
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, overload

from .recording import Trace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench.typing import Array

    Column = Sequence[Any]

_NAMES = tuple(field.name for field in fields(Trace))


class TraceColumns(Sequence[Trace]):
    """n traces, made when they are looked at; `column` gives one field of all."""

    def __init__(self, columns: dict[str, Column], size: int) -> None:
        self._columns = columns
        self._size = size

    @classmethod
    def of(cls, columns: dict[str, list[Any]], size: int) -> TraceColumns:
        """Take columns as they are stored; fields that are lacking have defaults."""
        default = Trace()
        return cls(
            {
                name: _compact(columns[name])
                if name in columns
                else _Constant(getattr(default, name), size)
                for name in _NAMES
            },
            size,
        )

    @classmethod
    def concat(cls, parts: Sequence[TraceColumns]) -> TraceColumns:
        """Join traces in order."""
        columns = {
            name: _joined([part.column(name) for part in parts])
            for name in (_NAMES if parts else ())
        }
        return cls(columns, sum(map(len, parts)))

    def select(self, rows: Array) -> TraceColumns:
        """Return the traces of some rows, in their order."""
        places = rows.tolist()
        columns = {name: _chosen(c, places) for name, c in self._columns.items()}
        return TraceColumns(columns, len(places))

    @property
    def is_compact(self) -> bool:
        """Whether all columns are numbers, or one value for all traces."""
        return all(map(_is_compact, self._columns.values()))

    def column(self, name: str) -> Column:
        """Return a field of all traces."""
        return self._columns[name]

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> Trace: ...
    @overload
    def __getitem__(self, index: slice) -> list[Trace]: ...
    def __getitem__(self, index: int | slice) -> Trace | list[Trace]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(self._size))]
        row = range(self._size)[index]
        return Trace(**{name: column[row] for name, column in self._columns.items()})


def trace_column(traces: Sequence[Trace], name: str) -> Column:
    """Return a field of traces, whether they are columns or objects."""
    if isinstance(traces, TraceColumns):
        return traces.column(name)
    return list(map(attrgetter(name), traces))


def is_constant(column: Column) -> bool:
    """Tell whether a column is one value for all of at least one trace."""
    return isinstance(column, _Constant) and len(column) > 0


class _Constant(Sequence[Any]):
    """One value for all."""

    def __init__(self, value: Any, size: int) -> None:
        self.value = value
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.value] * len(range(*index.indices(self._size)))
        range(self._size)[index]  # raises for what is beyond
        return self.value

    def __iter__(self) -> Any:
        return iter([self.value] * self._size)


def _compact(column: list[Any]) -> Column:
    """Return a column in the least space that keeps types and values as they are."""
    if column and all(value is column[0] for value in column):
        return _Constant(column[0], len(column))
    kinds = set(map(type, column))
    if kinds == {float}:
        return array("d", column)
    if kinds == {int} and min(column) >= -(2**63) and max(column) < 2**63:
        return array("q", column)
    return column


def _is_compact(column: Column) -> bool:
    if isinstance(column, _Constant):
        return column.value is None or type(column.value) in (int, float, str)
    return isinstance(column, array)


def _joined(columns: Sequence[Column]) -> Column:
    first = columns[0]
    size = sum(map(len, columns))
    if isinstance(first, _Constant) and all(
        isinstance(c, _Constant) and _same(c.value, first.value) for c in columns
    ):
        return _Constant(first.value, size)
    return _compact_joined(columns)


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _compact_joined(columns: Sequence[Column]) -> Column:
    codes = {_code(column) for column in columns}
    if len(codes) == 1 and (code := codes.pop()):
        return array(code, chain.from_iterable(columns))
    return list(chain.from_iterable(columns))


def _code(column: Column) -> str:
    """Return the type code of an array that can hold a column, "" for none."""
    if isinstance(column, array):
        return column.typecode
    if isinstance(column, _Constant):
        kind = type(column.value)
        return "d" if kind is float else "q" if kind is int else ""
    return ""


def _chosen(column: Column, places: Iterable[int]) -> Column:
    if isinstance(column, _Constant):
        return _Constant(column.value, len(list(places)))
    chosen = map(column.__getitem__, places)
    return array(column.typecode, chosen) if isinstance(column, array) else list(chosen)
