"""The predictions of one dataset, combined: lines, cost and latency."""

from __future__ import annotations

from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.errors import DataError
from safebench.results.prediction_reading import (
    CombinationKey,
    StoredLines,
    combination_key,
)

from .combine import combine
from .costs import CombinationCost, combined_cost, sample_costs
from .latency import combined_latency
from .part_columns import PartColumns, align_parts
from .parts import part_of, rows_about
from .rules import HeldOut, Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.results import Row
    from safebench.results.latency import MeasuredSample
    from safebench.results.prediction_reading import PredictionFile, PredictionLine
    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array

    from .rules import CombinationRule, Combined


class CombinedFiles(NamedTuple):
    """A combination of files, before its rows are computed.

    `first` is what the first file says of the samples that all have.
    """

    key: CombinationKey
    rule: CombinationRule
    files: Sequence[PredictionFile]
    rows: Sequence[Sequence[Row]]
    first: PartColumns
    lines: CombinedLines
    combined: Combined
    cost: CombinationCost
    latency: list[MeasuredSample] | str
    left_out: int

    @property
    def counted(self) -> Array:
        """The samples of the test part with a known label, places among all."""
        return self.first.tested


def combine_files(
    rule: CombinationRule, files: Sequence[PredictionFile], names: tuple[str, str]
) -> CombinedFiles:
    """Combine the predictions of one dataset."""
    columns, left_out = align_parts(files, [PartColumns.read(file) for file in files])
    first = columns[0]
    parts = [part_of(file, of) for file, of in zip(files, columns, strict=True)]
    combined = combine(rule, parts, _held_out(first))
    rows = [rows_about(file, of.first) for file, of in zip(files, columns, strict=True)]
    heads = [of_file[0] if of_file else None for of_file in rows]
    costs = [
        sample_costs(file, head, of)
        for file, head, of in zip(files, heads, columns, strict=True)
    ]
    counted = np.zeros(len(first), dtype=bool)
    counted[first.tested] = True
    cost = combined_cost(
        costs,
        heads,
        combined.asked,
        counted,
        first.content,
        whole=all(head is not None and head.n == counted.sum() for head in heads),
        cascade=rule.name == "cascade",
    )
    latency = combined_latency(files, heads, first, combined.asked, counted)
    key = combination_key(first.first)
    key = key._replace(classifier=names[0], strategy=names[1], calibrator=None)
    lines = CombinedLines(key, files, columns, parts, combined)
    return CombinedFiles(
        key, rule, files, rows, first, lines, combined, cost, latency, left_out
    )


def _held_out(first: PartColumns) -> HeldOut:
    """Return the calibration part; raises DataError for a group in both parts."""
    held_out = first.held_out
    group = first.groups.group_in_both(held_out)
    if group is not None:
        raise DataError(
            f"group {group!r} is in the calibration part and in the test part: repeat "
            "the run"
        )
    return HeldOut(
        ids=first.ids,
        allowed=held_out,
        rows=held_out,
        # labels of the test part are not even handed on
        y=np.where(held_out, first.y, np.nan),
        groups=first.groups,
    )


class CombinedLines:
    """Predictions of a combination, made as they are gone through.

    A line is that of the first file, and says what the combination says.
    """

    def __init__(
        self,
        key: CombinationKey,
        files: Sequence[PredictionFile],
        columns: Sequence[PartColumns],
        parts: Sequence[Part],
        combined: Combined,
    ) -> None:
        self._key = key
        self._combined = combined
        models = dict.fromkeys(of_file.first["model"] for of_file in columns)
        self.model = " + ".join(models)
        self._path = files[0].path
        self._first = columns[0]
        self.failed = np.isnan(combined.decision) & np.isnan(combined.score)
        self._errors = {
            int(row): "; ".join(
                f"{file.label}: {of.error[int(row)] or 'no judgement'}"
                for file, of, part in zip(files, columns, parts, strict=True)
                if part.failed[row]
            )
            for row in np.flatnonzero(self.failed)
        }
        # the longest prompt: slices by length are no slices by who was asked
        self._tokens = np.max([of.tokens_in for of in columns], axis=0)
        dropped = np.stack([of.tokens_dropped for of in columns])
        self.tokens_dropped = np.where(combined.asked, dropped, 0).max(axis=0)

    def __len__(self) -> int:
        return len(self._first)

    def __iter__(self) -> Iterator[PredictionLine]:
        kept = np.zeros(int(self._first.rows.max(initial=-1)) + 1, dtype=bool)
        kept[self._first.rows] = True
        lines = compress(StoredLines(self._path), kept.tolist())
        for row, line in enumerate(lines):
            fields = {
                **self._fields(row),
                "asked": int(self._combined.asked[:, row].sum()),
            }
            line.pop("calibrator", None)
            yield {**line, **fields}

    def _fields(self, row: int) -> dict[str, Any]:
        from safebench.pipeline.predictions import json_number

        combined = self._combined
        decision = combined.decision[row]
        return {
            "strategy": self._key.strategy,
            "classifier": self._key.classifier,
            "model": self.model,
            "policy": None,
            "score": json_number(combined.score[row]),
            "lower": json_number(combined.lower[row]),
            "upper": json_number(combined.upper[row]),
            "probability": combined.probability,
            # those of the parts are about their own scores and decisions
            **dict.fromkeys(("uncertainty", "uncertainty_lower", "uncertainty_upper")),
            **dict.fromkeys(("categories", "category_lower", "category_upper")),
            "predicted_categories": None,
            "category_truth": None,
            "decision": None if np.isnan(decision) else bool(decision),
            "threshold": combined.threshold,
            "tokens_in": int(self._tokens[row]),
            "tokens_dropped": int(self.tokens_dropped[row]),
            "error": self._errors.get(row),
            "raw": None,
        }

    def stored(self) -> StoredPredictions:
        """Return what metrics read of the test part."""
        rows, combined = self._first.tested, self._combined
        return replace(
            self._first.stored,
            classifier=self._key.classifier,
            strategy=self._key.strategy,
            model=self.model,
            calibrator=None,
            score=_as_stored(combined.score[rows]),
            lower=_as_stored(combined.lower[rows]),
            upper=_as_stored(combined.upper[rows]),
            decision=combined.decision[rows],
            uncertainty=np.full(len(rows), np.nan),
            tokens=self._tokens[rows],
            errors=[self._errors.get(row) for row in rows.tolist()],
            threshold=combined.threshold,
            probability=combined.probability,
        )


def _as_stored(column: Array) -> Array:
    """Return a column as it reads back: JSON has no infinity."""
    from safebench.pipeline.predictions import INFINITE

    return np.where(np.isinf(column), np.copysign(INFINITE, column), column)
