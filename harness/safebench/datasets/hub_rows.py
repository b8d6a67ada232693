"""Rows of a hub set, made as they are gone through: its table stays on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from safebench.errors import DataError, did_you_mean

from .class_names import name_rows
from .local_copy import plain_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .class_names import Features

_AT_ONCE = 1024  # rows that are objects


class HubRow(dict[str, Any]):
    """A row that says which column it lacks; `where` is for that message.

    A column is found under its name in another case or with other separators, too.
    """

    where: str

    def column(self, name: str) -> str | None:
        """Return the row's name of a column, None if it has none or two like it."""
        if name in self:
            return name
        alike = [other for other in self if plain_name(other) == plain_name(name)]
        return alike[0] if len(alike) == 1 else None

    def __missing__(self, column: str) -> Any:
        """Raise `DataError`: another version of the set has other columns."""
        if other := self.column(column):
            return self[other]
        raise DataError(
            f"{self.where}: no column {column!r}{did_you_mean(column, self)} "
            f"(columns: {', '.join(self)})"
        )


class TableRows(Sequence[dict[str, Any]]):
    """The rows of a `dataset` of the library, which maps its table from disk.

    `features` name the classes of columns.
    """

    def __init__(self, dataset: Any, features: Features) -> None:
        self._dataset, self._features = dataset, features
        decoded = getattr(dataset.features, "_column_requires_decoding", {})
        # pictures and sounds: the library alone makes rows of them
        self._decoded = any(decoded.values())

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._decoded:
            rows: Any = ([dict(row)] for row in self._dataset)
        else:
            tables = self._dataset.with_format("arrow").iter(_AT_ONCE)
            rows = (table.to_pylist() for table in tables)
        for batch in rows:
            yield from name_rows(batch, self._features)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return name_rows([dict(self._dataset[index])], self._features)[0]


class PlacedRows(Sequence[tuple[str, HubRow]]):
    """Rows with their places, (where, row); `where` is ``NAME[row]``."""

    def __init__(self, rows: Sequence[dict[str, Any]], name: str) -> None:
        self._rows, self._name = rows, name

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[str, HubRow]]:
        return (self._placed(i, row) for i, row in enumerate(self._rows))

    @overload
    def __getitem__(self, index: int) -> tuple[str, HubRow]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, HubRow]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._placed(place, self._rows[place])

    def _placed(self, place: int, row: dict[str, Any]) -> tuple[str, HubRow]:
        placed = HubRow(row)
        placed.where = f"{self._name}[{place}]"
        return placed.where, placed
