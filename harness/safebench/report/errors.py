"""Lists of errors: ids of the worst decisions of each guard on each set.

One list a guard and set, by the strategy that ranks best of those that decide: lists
of all strategies would name the same samples many times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safebench.analysis.text_table import TextTable
from safebench.number_format import format_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from safebench.charts import ChartEntry
    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array


# columns that are left out where all samples have the same in them
_ONLY_IF_TOLD = frozenset({"label", "bounds", "uncertainty"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorLists:
    """The errors of a guard on a set, by kind; `n_texts` prompts are in them."""

    title: str
    summary: str
    tables: tuple[TextTable, ...]


def error_lists(
    entries: Sequence[ChartEntry], most: int, *, texts: bool
) -> Iterator[ErrorLists]:
    """Yield the errors of each guard of a set, at most so many of each kind."""
    guards = dict.fromkeys(entry.guard for entry in entries)
    for guard in guards:
        own = [entry for entry in entries if entry.guard == guard]
        entry = _deciding(own)
        if entry is None:
            continue
        yield _of_entry(entry, most, texts=texts)


def _deciding(entries: Iterable[ChartEntry]) -> ChartEntry | None:
    """Return the entry with decisions whose AUROC is largest, else any that decides."""
    deciding = [entry for entry in entries if entry.predictions.judged.any()]
    if not deciding:
        return None

    def auroc(entry: ChartEntry) -> float:
        row = entry.rows.get("auroc")
        return -1.0 if row is None or row.value is None else row.value

    return max(deciding, key=auroc)


def _of_entry(entry: ChartEntry, most: int, *, texts: bool) -> ErrorLists:
    predictions = entry.predictions
    y, score, wrong = predictions.y, predictions.score, predictions.wrong
    failed = np.array([error is not None for error in predictions.errors])
    missed, alarms = np.flatnonzero(wrong & y), np.flatnonzero(wrong & ~y)
    tables = [
        _table(
            f"False negatives: {len(missed)} of {int(y.sum())} positive, lowest "
            "scores first",
            predictions,
            _first(missed, score, most),
            texts=texts,
        ),
        _table(
            f"False positives: {len(alarms)} of {int((~y).sum())} negative, highest "
            "scores first",
            predictions,
            _first(alarms, -score, most),
            texts=texts,
        ),
    ]
    unsure = _least_sure(predictions, most)
    if len(unsure):
        title = "Least sure decisions"
        tables.append(_table(title, predictions, unsure, texts=texts))
    if failed.any():
        tables.append(_failed_table(predictions, np.flatnonzero(failed)[:most]))
    count = f"{len(missed)} false negatives, {len(alarms)} false positives"
    if failed.any():
        count += f", {int(failed.sum())} failed"
    return ErrorLists(title=entry.name, summary=count, tables=tuple(tables))


def _first(rows: Array, key: Array, most: int) -> Array:
    """Return the rows with the lowest keys, without a key last."""
    return rows[np.argsort(key[rows], kind="stable")][:most]


def _least_sure(predictions: StoredPredictions, most: int) -> Array:
    values = predictions.uncertainty
    if np.isnan(values).all() and predictions.threshold is not None:
        values = -np.abs(predictions.score - predictions.threshold)
    rows = np.flatnonzero(predictions.judged & ~np.isnan(values))
    return _first(rows, -values, most)


def _table(
    title: str, predictions: StoredPredictions, rows: Array, *, texts: bool
) -> TextTable:
    categories = any(predictions.categories[row] for row in rows)
    names = ["id"]
    if categories:
        names.append("categories")
    if texts:
        names.append("text")
    body = []
    for row in rows.tolist():
        cells = [predictions.ids[row]]
        if categories:
            cells.append(", ".join(sorted(predictions.categories[row] or ())))
        if texts:
            metadata = predictions.metadata[row] if predictions.metadata else None
            cells.append(metadata.text if metadata else "")
        body.append(
            (
                *cells,
                "positive" if predictions.y[row] else "negative",
                _number(predictions.score[row]),
                _bounds(predictions, row),
                _number(predictions.uncertainty[row]),
            )
        )
    headers = (*names, "label", "score", "bounds", "uncertainty")
    kept = [
        place
        for place, name in enumerate(headers)
        if name not in _ONLY_IF_TOLD or len({line[place] for line in body}) > 1
    ]
    return TextTable(
        title=title,
        headers=tuple(headers[place] for place in kept) if body else (),
        rows=tuple(tuple(line[place] for place in kept) for line in body),
        text_columns=len(names),
    )


def _number(value: float) -> str:
    return "" if np.isnan(value) else format_number(float(value), 4)


def _bounds(predictions: StoredPredictions, row: int) -> str:
    low, high = predictions.lower[row], predictions.upper[row]
    if not (np.isfinite(low) and np.isfinite(high)) or low == high:
        return ""
    return f"{low:.4f} to {high:.4f}"


def _failed_table(predictions: StoredPredictions, rows: Array) -> TextTable:
    n = sum(error is not None for error in predictions.errors)
    return TextTable(
        title=f"Failed: {n} of {predictions.n}",
        headers=("id", "why"),
        rows=tuple(
            (predictions.ids[row], (predictions.errors[row] or "")[:300])
            for row in rows.tolist()
        ),
        text_columns=2,
    )
