"""Stored predictions beside their results: what charts are drawn of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .curves import ChartEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safebench.results import Row
    from safebench.results.predictions import StoredPredictions

    LineKey = tuple[str, str, str, str]  # classifier, method, dataset, task


def chart_entries(
    predictions: Iterable[StoredPredictions], rows: Sequence[Row], run: str = ""
) -> list[ChartEntry]:
    """Return predictions with their rows, in the order of the results.

    `rows` are about the same part of the data. A `run` is added to the guard's name.
    """
    by_line = _rows_by_line(rows)
    order = {key: place for place, key in enumerate(by_line)}
    keyed = [((p.classifier, p.method, p.dataset, p.task), p) for p in predictions]
    keyed.sort(key=lambda pair: order.get(pair[0], len(order)))
    return [
        ChartEntry(
            guard=p.classifier + (f" [{run}]" if run else ""),
            predictions=p,
            rows=by_line.get(key, {}),
        )
        for key, p in keyed
    ]


def _rows_by_line(rows: Iterable[Row]) -> dict[LineKey, dict[str, Row]]:
    """Return the rows of whole test parts by line and metric."""
    by_line: dict[LineKey, dict[str, Row]] = {}
    for row in rows:
        if row.part != "test" or row.slice is not None or row.category is not None:
            continue
        method = "+".join(filter(None, (row.strategy, row.calibrator)))
        dataset = ":".join(filter(None, (row.dataset, row.config, row.split)))
        key = (row.classifier, method, dataset, row.task)
        by_line.setdefault(key, {}).setdefault(row.metric, row)
    return by_line
