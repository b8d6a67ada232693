"""Lines of a file of predictions in columns: a few are objects at a time."""

from __future__ import annotations

from array import array
from contextlib import suppress
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from .packed_columns import CodedValues, Repeated, TextCollector
from .predictions import StoredCells, StoredPredictions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from safebench.typing import Array

    from .rows import Row

    PredictionLine = dict[str, Any]
    Places = dict[str | None, int]  # of the columns of codes in a table

COLUMNS = "columns"  # the field of what came along with a sample, as JSON in parquet
CALIBRATOR = "calibrator"  # the field that calibrated predictions alone have
AT_ONCE = 1024  # lines that are objects at one time
_MADE = ("columns", "categories", "errors", "pair")  # columns of objects
_NUMBERS = (
    *("decision", "score", "tokens", "uncertainty", "lower", "upper"),
    "severity",
)


def to_columns(
    lines: Iterable[PredictionLine], rows: Sequence[Row], part: str
) -> StoredPredictions:
    """Return the lines of a file in columns, those of a part with a known label.

    Raises KeyError, TypeError or ValueError for what are no predictions.
    """
    remaining = iter(lines)
    columns = PredictionColumns(part)
    while chunk := list(islice(remaining, AT_ONCE)):
        columns.add(chunk)
    return columns.predictions(rows)


class PredictionColumns:
    """Collects lines of one file, those of a part with a known label, in columns.

    Of categories without `cells` nothing is kept.
    """

    def __init__(self, part: str, *, cells: bool = True) -> None:
        self._part = part
        self._first: PredictionLine = {}
        self._n = 0
        self._texts = {
            "ids": TextCollector(),
            "content": TextCollector(hashes=True),
            "group": TextCollector(),
        }
        self._grouped = True
        self._objects: dict[str, SharedValues] = {
            name: SharedValues() for name in _MADE
        }
        self._y: list[Array] = []
        self._numbers = {name: Numbers() for name in _NUMBERS}
        self._cells = CellCollector() if cells else None
        self._claim: bool | None = None
        self._in_unit = True

    def add(self, lines: Sequence[PredictionLine]) -> None:
        """Take some lines, at least one."""
        self._first = self._first or lines[0]
        chosen = [
            line
            for line in lines
            if line["label"] is not None and self._part in ("all", line["part"])
        ]
        if not chosen:
            return
        if not self._n and "probability" in chosen[0]:
            self._claim = bool(chosen[0]["probability"])
        self._n += len(chosen)
        self._add_texts(chosen)
        self._objects["columns"].add([line.get(COLUMNS) for line in chosen])
        categories = [_codes(line.get("gold_categories")) for line in chosen]
        self._objects["categories"].add(categories)
        self._objects["errors"].add([line.get("error") for line in chosen])
        self._objects["pair"].add([_pair(line) for line in chosen])
        self._in_unit = self._in_unit and all(
            line["score"] is None or 0 <= line["score"] <= 1 for line in chosen
        )
        self._y.append(np.array([line["label"] for line in chosen], dtype=bool))
        for name in ("decision", "score"):
            self._numbers[name].add([line[name] for line in chosen])
        for name in ("uncertainty", "lower", "upper", "severity"):
            self._numbers[name].add([line.get(name) for line in chosen])
        self._numbers["tokens"].add([x.get("tokens_in") or 0 for x in chosen], np.int64)
        if self._cells is not None:
            self._cells.add(chosen)

    def _add_texts(self, lines: Sequence[PredictionLine]) -> None:
        self._texts["ids"].add([line["id"] for line in lines])
        self._texts["content"].add([line["content"] for line in lines])
        groups = [line.get("group") for line in lines]
        self._grouped = self._grouped and all(groups)
        if self._grouped:
            self._texts["group"].add(groups)

    def predictions(self, rows: Sequence[Row]) -> StoredPredictions:
        """Return what was collected; `rows` are the results made of it, if known.

        Raises ValueError without any line.
        """
        first = self._first
        if not first:
            raise ValueError("the file is empty")
        names = (first["dataset"], first["config"], first["split"])
        dataset = ":".join(filter(None, names))
        collected: dict[str, Any] = {**self._numbers, **self._objects}
        columns = {name: column.column() for name, column in collected.items()}
        return StoredPredictions(
            classifier=first["classifier"],
            model=first["model"],
            strategy=first["strategy"],
            dataset=dataset,
            task=first["task"],
            ids=self._texts["ids"].packed(),
            content=self._texts["content"].packed(),
            group=self._texts["group"].packed() if self._grouped else (),
            sample_datasets=Repeated(dataset, self._n),
            cells=None if self._cells is None else self._cells.cells(),
            threshold=_threshold(first, rows),
            probability=self._claims_probability(rows),
            calibrator=first.get(CALIBRATOR),
            y=np.concatenate([np.empty(0, dtype=bool), *self._y]),
            **columns,
        )

    def _claims_probability(self, rows: Sequence[Row]) -> bool:
        """Tell whether scores claim to be P(positive).

        Early versions did not store it, but gave a Brier score to probabilities alone;
        without results any score from 0 to 1 may be one.
        """
        if self._claim is not None:
            return self._claim
        if rows:
            return any(row.metric == "brier" and row.value is not None for row in rows)
        return self._in_unit


class Numbers:
    """Collects a column of numbers, NaN for null; nulls alone take no memory."""

    def __init__(self) -> None:
        self._chunks: list[Array] = []
        self._n = 0
        self._unknown = True

    def add(self, values: Sequence[Any], kind: type = float) -> None:
        """Append some values."""
        chunk = floats(values) if kind is float else np.array(values, dtype=kind)
        self._n += len(chunk)
        self._unknown = self._unknown and bool(np.isnan(chunk).all())
        if not self._unknown:
            missing = self._n - len(chunk) - sum(map(len, self._chunks))
            if not self._chunks and missing:
                self._chunks.append(np.full(missing, np.nan))
            self._chunks.append(chunk)

    def column(self) -> Array:
        """Return the column (n,)."""
        if self._unknown:
            return np.broadcast_to(np.array(np.nan), self._n)
        return np.concatenate(self._chunks)


class SharedValues:
    """Collects a column of values of which many are equal; those are kept once."""

    def __init__(self) -> None:
        self._codes = array("i")
        self._values: list[Any] = []
        self._known: dict[Any, int] = {}

    def add(self, values: Sequence[Any]) -> None:
        """Append some values."""
        if values and all(value is values[0] for value in values):  # most columns
            self._codes.extend(repeat(self._code(values[0]), len(values)))
        else:
            self._codes.extend(map(self._code, values))

    def column(self) -> Sequence[Any]:
        """Return the column."""
        if len(self._values) == 1:
            return Repeated(self._values[0], len(self._codes))
        return CodedValues(np.array(self._codes, dtype=np.int32), self._values)

    def _code(self, value: Any) -> int:
        key = (type(value), value)  # True and 1 are not the same
        if type(value) is dict:
            key = (dict, tuple((k, type(v), v) for k, v in value.items()))
        code = len(self._values)
        if type(value) is not tuple:  # of a pair: hardly any are equal
            with suppress(TypeError):  # a list in it
                code = self._known.setdefault(key, code)
        if code == len(self._values):
            self._values.append(value)
        return code


class CellTables:
    """Collects fields of numbers by category code."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        # of each chunk: how many lines, and (codes, values (m, codes)) of each field
        self._chunks: list[tuple[int, dict[str, tuple[Places, Array]]]] = []

    def add(self, lines: Sequence[PredictionLine]) -> None:
        """Take some lines."""
        fields = {}
        for name in self._names:
            records = [line.get(name) for line in lines]
            if any(records):
                fields[name] = _table(records)
        self._chunks.append((len(lines), fields))

    def has(self, name: str) -> bool:
        """Whether any line has the field."""
        return any(name in fields for _, fields in self._chunks)

    def column(self, name: str, code: str) -> Array:
        """Return the numbers of a field and a code, (n,) float, NaN for null."""
        column = np.full(sum(n for n, _ in self._chunks), np.nan)
        first = 0
        for n, fields in self._chunks:
            places, table = fields.get(name, ({}, None))
            # what no line names is not named; of scores there are none
            place = places.get(code, places.get(None, -1))
            if table is not None and place >= 0:
                column[first : first + n] = table[:, place]
            first += n
        return column


class CellCollector(CellTables):
    """Collects the cells (sample, category): their truth, scores, and named ones."""

    def __init__(self) -> None:
        super().__init__(("category_truth", "categories"))
        self._labels: tuple[str, ...] = ()

    def add(self, lines: Sequence[PredictionLine]) -> None:
        """Take some lines."""
        super().add(lines)
        if not self._labels:
            truths = (line.get("category_truth") for line in lines)
            self._labels = next((tuple(truth) for truth in truths if truth), ())
        named = [line.get("predicted_categories") for line in lines]
        if any(codes is not None for codes in named):
            self._chunks[-1][1]["predicted_categories"] = _named_table(named)

    def cells(self) -> StoredCells | None:
        """Return the cells of categories; early versions did not store their truth."""
        if not self._labels:
            return None
        return StoredCells(
            labels=self._labels,
            truth=self._column("category_truth"),
            score=self._column("categories"),
            named=self._column("predicted_categories"),
        )

    def _column(self, name: str) -> Array:
        """Return the values of each label, (n, L) float, NaN for null."""
        return np.stack([self.column(name, label) for label in self._labels], axis=1)


def _table(records: Sequence[Mapping[str | None, Any] | None]) -> tuple[Places, Array]:
    """Return the places of codes, and their values (n, codes), NaN for null."""
    places: Places = {}
    for record in records:
        if record:
            for code in record:
                places.setdefault(code, len(places))
    cells = [[(record or {}).get(code) for code in places] for record in records]
    return places, floats(cells).reshape(len(records), len(places))


def _named_table(
    named: Sequence[Sequence[str] | None],
) -> tuple[Places, Array]:
    """Return the places of codes, and 1 or 0 for each, NaN where nothing was decided.

    The last column, of no code, is that of all codes that none of the lines names.
    """
    codes = dict.fromkeys(code for of_line in named for code in of_line or ())
    places = {code: place for place, code in enumerate([*codes, None])}
    table = np.zeros((len(named), len(places)))
    for row, of_line in enumerate(named):
        if of_line is None:
            table[row] = np.nan
        for code in of_line or ():
            table[row, places[code]] = 1
    return places, table


def floats(values: Sequence[Any]) -> Array:
    """Return numbers as floats, NaN for null; raises ValueError for what is none."""
    try:
        return np.array(values, dtype=object).astype(float)
    except OverflowError as error:  # an integer of hundreds of digits
        raise ValueError(error) from None


def _pair(line: PredictionLine) -> tuple[str, str] | None:
    """Return pair and side; names of pairs are those of one dataset."""
    pair, side = line.get("pair"), line.get("pair_side")
    return None if pair is None or side is None else (pair, side)


def _threshold(line: PredictionLine, rows: Sequence[Row]) -> float | None:
    """Return where decisions turn; early versions stored it with the results alone."""
    if "threshold" in line:
        return None if line["threshold"] is None else float(line["threshold"])
    return next((row.threshold for row in rows), None)


def _codes(categories: Iterable[str] | None) -> frozenset[str] | None:
    return None if categories is None else frozenset(categories)
