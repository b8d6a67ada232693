"""Predictions in columns, from which lines are made: one at a time, or their text.

Most fields of a line are the same in all lines. Their text is made once, so that a
million lines cost little more than the fields in which they differ.
"""

from __future__ import annotations

import json
from itertools import islice
from json.encoder import encode_basestring
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_general = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Constant:
    """A field that has one value in all lines."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Varying:
    """A field with a value for each line; `make` iterates over them anew each time.

    `texts` iterates over the same as JSON, where that is sooner said than made of each.
    """

    def __init__(
        self,
        make: Callable[[], Iterable[Any]],
        texts: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        self.make = make
        self._texts = texts

    def __iter__(self) -> Iterator[Any]:
        return iter(self.make())

    def texts(self) -> Iterable[str]:
        """Return an iterator over the values as JSON."""
        return map(json_text, self) if self._texts is None else self._texts()


def one_of(values: Mapping[Any, Any], keys: Callable[[], Iterable[Any]]) -> Varying:
    """Return a field of few values, by the key that each line has."""
    texts = {key: json_text(value) for key, value in values.items()}
    return Varying(
        lambda: map(values.__getitem__, keys()), lambda: map(texts.__getitem__, keys())
    )


class LineColumns:
    """`size` lines whose fields are `columns`, in the order of the fields."""

    def __init__(self, columns: Mapping[str, Constant | Varying], size: int) -> None:
        self.columns = dict(columns)
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        line = {
            name: column.value if isinstance(column, Constant) else None
            for name, column in self.columns.items()
        }
        varying = self._varying()
        if not varying:
            for _ in range(self.size):
                yield dict(line)
        for values in zip(*varying.values(), strict=True):
            yield {**line, **dict(zip(varying, values, strict=True))}

    def json_lines(self) -> Iterator[str]:
        """Yield each line as JSON, as `json.dumps` writes it, ended by a line feed.

        Raises ValueError for NaN and infinity, which JSON does not have.
        """
        parts = [
            f"{json_text(name)}: "
            + (
                json_text(column.value).replace("%", "%%")
                if isinstance(column, Constant)
                else "%s"
            )
            for name, column in self.columns.items()
        ]
        template = "{" + ", ".join(parts) + "}\n"
        varying = self._varying()
        if not varying:
            for _ in range(self.size):
                yield template % ()
        texts = (column.texts() for column in varying.values())
        for values in zip(*texts, strict=True):
            yield template % values

    def chunks(self, size: int) -> Iterator[dict[str, list[Any]]]:
        """Yield the values of up to `size` lines at a time, by field."""
        iterators = {name: iter(column) for name, column in self._varying().items()}
        for first in range(0, self.size, size):
            n = min(size, self.size - first)
            yield {
                name: [column.value] * n
                if isinstance(column, Constant)
                else list(islice(iterators[name], n))
                for name, column in self.columns.items()
            }

    def _varying(self) -> dict[str, Varying]:
        return {
            name: column
            for name, column in self.columns.items()
            if isinstance(column, Varying)
        }


def json_text(value: Any) -> str:
    """Return a value as JSON; what `json.dumps` does, faster for single values."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if value is None:
        return "null"
    if kind is float and isfinite(value):
        return float.__repr__(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return int.__repr__(value)
    text: str = _general(value)
    return text
