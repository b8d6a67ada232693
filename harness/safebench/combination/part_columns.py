"""Predictions of one part of a combination, in columns, aligned with the others'."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError
from safebench.results.packed_columns import (
    GroupNames,
    HexDigests,
    TextCollector,
    matching_rows,
    n_different,
    select_values,
)
from safebench.results.prediction_reading import StoredLines
from safebench.results.stored_columns import (
    AT_ONCE,
    Numbers,
    PredictionColumns,
    SharedValues,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safebench.results.prediction_reading import PredictionFile, PredictionLine
    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array, Floats

_NUMBERS = ("score", "decision", "lower", "upper", "tokens_in", "tokens_dropped")
_WORDS = ("label", "task", "part", "error")


@dataclass(frozen=True, kw_only=True, eq=False)
class PartColumns:
    """What a file says of n samples, of its lines `rows` (n,); `first` is a line of it.

    Columns are null, or NaN, where the line has nothing. `groups` are stored groups,
    else texts; `annotated` (n,) bool says whether the dataset knows categories of a
    sample. `stored` is what metrics read of the samples of the test part, `tested` of
    these n, in the same order.
    """

    first: PredictionLine
    rows: Array
    ids: Sequence[str]
    content: Sequence[str]
    groups: GroupNames
    label: Sequence[bool | None]
    task: Sequence[str]
    part: Sequence[str]
    error: Sequence[str | None]
    score: Floats
    decision: Floats
    lower: Floats
    upper: Floats
    tokens_in: Array
    tokens_dropped: Array
    annotated: Array
    tested: Array
    stored: StoredPredictions

    @classmethod
    def read(cls, file: PredictionFile) -> PartColumns:
        """Read a file; raises DataError for what holds no predictions."""
        try:
            return _read(StoredLines(file.path))
        except KeyError as error:
            raise DataError(f"{file.path}: no predictions: lacks {error}") from None
        except (TypeError, ValueError) as error:
            raise DataError(f"{file.path}: no predictions: {error}") from None

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, rows: Array) -> PartColumns:
        """Return some of the samples, in the order of `rows`."""
        if len(rows) == len(self) and (rows == np.arange(len(self))).all():
            return self
        place = np.full(len(self), -1)
        place[self.tested] = np.arange(len(self.tested))
        tested = np.flatnonzero(place[rows] >= 0)
        chosen: dict[str, Any] = {"tested": tested}
        for field in fields(self):
            values = getattr(self, field.name)
            if field.name in ("first", "tested", "stored"):
                continue
            is_array = isinstance(values, np.ndarray)
            chosen[field.name] = (
                values[rows] if is_array else select_values(values, rows)
            )
        stored = self.stored.select(place[rows][tested])
        return replace(self, stored=stored, **chosen)

    @property
    def held_out(self) -> Array:
        """Which samples are of the calibration part, (n,) bool."""
        return np.array([part == "calibration" for part in self.part], dtype=bool)

    @property
    def y(self) -> Floats:
        """The labels as 1 and 0, (n,) float, NaN where unknown."""
        labels = (np.nan if label is None else float(label) for label in self.label)
        return np.fromiter(labels, dtype=float, count=len(self))


def _read(lines: Iterable[PredictionLine]) -> PartColumns:
    texts = {name: TextCollector() for name in ("ids", "groups")}
    texts["content"] = TextCollector(hashes=True)
    words = {name: SharedValues() for name in _WORDS}
    numbers = {name: Numbers() for name in _NUMBERS}
    annotated, tested = [], []
    stored = PredictionColumns("test", cells=False)
    remaining, n = iter(lines), 0
    first: PredictionLine = {}
    while chunk := list(islice(remaining, AT_ONCE)):
        first = first or chunk[0]
        stored.add(chunk)
        texts["ids"].add([line["id"] for line in chunk])
        texts["content"].add([line["content"] for line in chunk])
        texts["groups"].add([line.get("group") or line["content"] for line in chunk])
        for name, column in words.items():
            column.add([line.get(name) for line in chunk])
        for name in ("score", "decision", "lower", "upper"):
            numbers[name].add([line.get(name) for line in chunk])
        for name in ("tokens_in", "tokens_dropped"):
            counts = [line.get(name) or 0 for line in chunk]
            numbers[name].add(counts, np.int64)
        annotated += [np.array([x.get("gold_categories") is not None for x in chunk])]
        of_test = [x["label"] is not None and x["part"] == "test" for x in chunk]
        tested.append(np.flatnonzero(of_test) + n)
        n += len(chunk)
    predictions = stored.predictions(())
    collected: dict[str, Any] = {**words, **numbers}
    columns: dict[str, Any] = {
        name: column.column() for name, column in collected.items()
    }
    columns |= {name: column.packed() for name, column in texts.items()}
    return PartColumns(
        first=first,
        rows=np.arange(n),
        annotated=np.concatenate(annotated),
        tested=np.concatenate(tested),
        stored=predictions,
        **columns | {"groups": GroupNames(columns["groups"])},
    )


def align_parts(
    files: Sequence[PredictionFile], read: Sequence[PartColumns]
) -> tuple[list[PartColumns], int]:
    """Return the samples that all files have, and how many others there are.

    In the order of the first file. Raises DataError where files disagree on the text,
    label, task or part of a sample.
    """
    places = [matching_rows(read[0].ids, other.ids) for other in read]
    shared = np.ones(len(read[0]), dtype=bool)
    for rows, _ in places:
        there = np.zeros(len(shared), dtype=bool)
        there[rows] = True
        shared &= there
    if not shared.any():
        names = " and ".join(str(file.path) for file in files)
        raise DataError(f"{names} share no sample")
    aligned = []
    for (rows, others), columns in zip(places, read, strict=True):
        aligned.append(columns.select(others[shared[rows]]))
    for file, other in zip(files[1:], aligned[1:], strict=True):
        _refuse_differing(files[0], aligned[0], file, other)
    n_shared = len(aligned[0])
    return aligned, n_different([columns.ids for columns in read]) - n_shared


def _refuse_differing(
    file: PredictionFile,
    first: PartColumns,
    other_file: PredictionFile,
    other: PartColumns,
) -> None:
    for name, what in (
        ("content", "the text"),
        ("label", "the label"),
        ("task", "the task"),
        ("part", "the part"),
    ):
        of_first, of_other = getattr(first, name), getattr(other, name)
        differing = _differing(of_first, of_other)
        if not len(differing):
            continue
        row = int(differing[0])
        shown = "" if name == "content" else f" ({of_first[row]} and {of_other[row]})"
        hint = (
            ": run both with the same --seed, --limit and --calibration-fraction"
            if name == "part"
            else ""
        )
        raise DataError(
            f"{file.path} and {other_file.path} disagree on {what} of "
            f"{len(differing)} of {len(first)} samples, such as {first.ids[row]}"
            f"{shown}{hint}"
        )


def _differing(a: Sequence[Any], b: Sequence[Any]) -> Array:
    """Return the places where two columns differ."""
    if isinstance(a, HexDigests) and isinstance(b, HexDigests):
        return np.flatnonzero((a.digests != b.digests).any(axis=1))
    pairs = zip(a, b, strict=True)
    return np.flatnonzero(np.fromiter((x != y for x, y in pairs), bool, len(a)))
