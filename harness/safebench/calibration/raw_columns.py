"""What calibration reads of raw predictions, in columns; the lines are read anew."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from safebench.errors import DataError
from safebench.results.packed_columns import GroupNames, TextCollector
from safebench.results.prediction_reading import StoredLines
from safebench.results.stored_columns import (
    AT_ONCE,
    CellTables,
    Numbers,
    PredictionColumns,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from safebench.results import Row
    from safebench.results.prediction_reading import PredictionLine
    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array, Floats

CALIBRATION = "calibration"
SCORES = ("score", "lower", "upper")
BOUNDED_CELLS = ("categories", "category_lower", "category_upper")
_CHECKED = ("id", "part", "score", "lower", "upper", "label", "group")


class Lines(Protocol):
    """Predictions that can be gone through more than once."""

    def __iter__(self) -> Iterator[PredictionLine]:
        """Go through them from the first one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RawColumns:
    """Raw predictions of n samples: `lines`, and in columns what is read of them.

    `scores` (n,) float are those of `SCORES`, NaN for null, `label` (n,) float 1 or 0,
    NaN where unknown. `part` (n,) bool is true for samples that are held out,
    `test_rows` are those of the test part with a known label, and `stored` what metrics
    read of these. `checksum` is that of `lines_checksum`, `codes` are the categories
    that have scores, and `cells` those of `BOUNDED_CELLS` and of ``category_truth``,
    kept if they were asked for.
    """

    lines: Lines
    first: PredictionLine
    groups: GroupNames
    part: Array
    label: Floats
    scores: dict[str, Floats]
    test_rows: Array
    stored: StoredPredictions
    checksum: str
    codes: tuple[str, ...]
    cells: CellTables

    @classmethod
    def read(
        cls, lines: Lines, rows: Sequence[Row] = (), *, cells: bool = False
    ) -> Self:
        """Read predictions once; `rows` are the results made of them, if known.

        Raises DataError for what are no predictions.
        """
        try:
            return cls._read(lines, rows, cells=cells)
        except KeyError as error:
            raise DataError(f"{_place(lines)}no predictions: lacks {error}") from None
        except (TypeError, ValueError) as error:
            raise DataError(f"{_place(lines)}no predictions: {error}") from None

    @classmethod
    def _read(cls, lines: Lines, rows: Sequence[Row], *, cells: bool) -> Self:
        collected = _Collected(cells=cells)
        remaining = iter(lines)
        while chunk := list(islice(remaining, AT_ONCE)):
            collected.add(chunk)
        stored = collected.stored.predictions(rows)
        part, label = np.concatenate(collected.part), collected.label.column()
        return cls(
            lines=lines,
            first=collected.first,
            groups=GroupNames(collected.groups.packed()),
            part=part,
            label=label,
            scores={name: of.column() for name, of in collected.scores.items()},
            test_rows=np.concatenate(collected.tested),
            stored=stored,
            checksum=collected.digest.hexdigest()[:16],
            codes=collected.codes,
            cells=collected.cells,
        )

    def __len__(self) -> int:
        return len(self.part)

    def held_out(self) -> Array:
        """Return which samples are of the calibration part, (n,) bool.

        Raises DataError for a group that is in both parts: it would tell the test part.
        """
        group = self.groups.group_in_both(self.part)
        if group is not None:
            raise DataError(
                f"group {group!r} is in the calibration part and in the test part: "
                "repeat the run"
            )
        return self.part


class _Collected:
    """The columns while they are read."""

    def __init__(self, *, cells: bool) -> None:
        self.first: PredictionLine = {}
        self.groups = TextCollector()
        self.part: list[Array] = []
        self.tested: list[Array] = [np.empty(0, dtype=np.int64)]
        self.label = Numbers()
        self.scores = {name: Numbers() for name in SCORES}
        self.stored = PredictionColumns("test", cells=cells)
        self.digest = hashlib.sha256()
        self.codes: tuple[str, ...] = ()
        self.cells = CellTables((*BOUNDED_CELLS, "category_truth"))
        self._keeps_cells = cells
        self._n = 0

    def add(self, lines: Sequence[PredictionLine]) -> None:
        """Take some lines."""
        self.first = self.first or lines[0]
        add_to_checksum(self.digest, lines)
        self.groups.add([line.get("group") or line["content"] for line in lines])
        part = np.array([line["part"] == CALIBRATION for line in lines], dtype=bool)
        self.part.append(part)
        tested = [x["label"] is not None and x["part"] == "test" for x in lines]
        self.tested.append(np.flatnonzero(tested) + self._n)
        labels = [line["label"] for line in lines]
        self.label.add([None if label is None else bool(label) for label in labels])
        for name, column in self.scores.items():
            column.add([line.get(name) for line in lines])
        self.stored.add(lines)
        self._add_cells(lines)
        self._n += len(lines)

    def _add_cells(self, lines: Sequence[PredictionLine]) -> None:
        if not self.codes:
            found = (tuple(cells) for x in lines if (cells := x.get("categories")))
            self.codes = next(found, ())
        if self._keeps_cells:
            self.cells.add(lines)


def lines_checksum(lines: Iterable[PredictionLine]) -> str:
    """Return a checksum of what calibration reads of predictions, whatever their form.

    The same for JSON lines and for Parquet.
    """
    digest = hashlib.sha256()
    for line in lines:
        add_to_checksum(digest, [line])
    return digest.hexdigest()[:16]


def add_to_checksum(digest: Any, lines: Iterable[PredictionLine]) -> None:
    """Go on with a checksum."""
    names = (*_CHECKED, "categories", "category_truth")
    for line in lines:
        cells = [line.get(name) for name in names]
        digest.update(json.dumps(cells).encode() + b"\n")


def _place(lines: Lines) -> str:
    return f"{lines.path}: " if isinstance(lines, StoredLines) else ""
