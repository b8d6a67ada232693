"""The pages of single predictions: a filtered list, and everything about one sample."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from flask import abort, render_template, request

from safebench.results.prediction_reading import parse_prediction_line

from .browsed_runs import (
    MAX_PREDICTIONS_BYTES,
    check_predictions,
    check_size,
    without_surrogates,
)
from .prediction_index import FILTERS, matching_rows, read_index, sample_key
from .stored_trees import read_stored_trees

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from safebench.records import Sample
    from safebench.results.prediction_reading import PredictionLine

    from .browsed_runs import BrowsedRun
    from .prediction_index import PredictionIndex, SampleKey
    from .state import AppState

PER_PAGE = 100
MAX_SEARCH_CHARACTERS = 200
MAX_CODES = 20  # of categories, on one line
_INSTEAD = "`safebench analyze RUN` reads it"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionView:
    """One prediction as the pages show it; `row` is its place in its file.

    `kind` says how it was decided against its label, "" if it was not or nobody knows.
    `sample` is None where its texts are not at hand.
    """

    row: int
    line: PredictionLine
    kind: str
    sample: Sample | None = None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The bounds of the score, None where there are none or they are one."""
        low, high = (_number(self.line.get(name)) for name in ("lower", "upper"))
        return None if low is None or high is None or low == high else (low, high)

    @property
    def predicted(self) -> str:
        """The categories that the guard named."""
        return _codes(self.line.get("predicted_categories"))

    @property
    def gold(self) -> str:
        """The categories of the data set."""
        return _codes(self.line.get("gold_categories"))


@dataclass(frozen=True, slots=True)
class Page:
    """Page `number` of 1 to `last`, with its rows; `count` is that of all pages."""

    number: int
    last: int
    count: int
    rows: list[int]


def page_of(rows: Sequence[int], number: int) -> Page:
    """Return one page of rows.

    A number before the first page is the first, one after the last is the last.
    """
    last = max(1, ceil(len(rows) / PER_PAGE))
    number = min(last, max(1, number))
    start = (number - 1) * PER_PAGE
    return Page(number, last, len(rows), list(rows[start : start + PER_PAGE]))


def predictions_page(state: AppState, run: BrowsedRun, place: str, show: str) -> str:
    """Return a page of the predictions of a file."""
    index = _read_checked(run, run.predictions[place])
    texts = state.sample_texts.of_run(run.file.parent)
    search = request.args.get("q", "").strip()[:MAX_SEARCH_CHARACTERS]
    words = search.casefold()
    matches = (lambda key: texts.contains(key, words)) if words else None
    page = page_of(
        matching_rows(index, show, matches), request.args.get("page", 1, type=int)
    )
    views = [
        _view(row, line, texts.get(index.samples[row]))
        for row, line in zip(page.rows, index.read(page.rows), strict=True)
    ]
    return render_template(
        "predictions.html",
        run=run,
        place=place,
        show=show,
        filters=FILTERS,
        search=search,
        page=page,
        views=views,
        texts_open=request.args.get("texts") == "shown",
        n_without_text=sum(view.sample is None for view in views),
        notes=texts.notes,
    )


def sample_page(state: AppState, run: BrowsedRun, place: str, row: int) -> str:
    """Return everything about the sample of one prediction."""
    index = _read_checked(run, run.predictions[place])
    if not 0 <= row < index.n:
        abort(404, f"{place} has {index.n} predictions, counted from 0")
    (line,) = index.read([row])
    texts = state.sample_texts.of_run(run.file.parent)
    key = index.samples[row]
    tree = read_stored_trees(
        run.file.parent, state.service, line.get("classifier"), texts.get(key)
    )
    return render_template(
        "sample.html",
        run=run,
        place=place,
        view=_view(row, line, texts.get(key)),
        others=list(_views_of_sample(run, key)),
        notes=texts.notes,
        tree=tree,
    )


def _read_checked(run: BrowsedRun, path: Path) -> PredictionIndex:
    check_size(path, MAX_PREDICTIONS_BYTES, _INSTEAD)
    check_predictions(path, run)
    return read_index(path)


def _view(
    row: int, line: PredictionLine, sample: Sample | None = None
) -> PredictionView:
    decision, label = line.get("decision"), line.get("label")
    kind = ""
    if isinstance(decision, bool) and isinstance(label, bool) and decision != label:
        kind = "false negative" if label else "false positive"
    return PredictionView(row=row, line=line, kind=kind, sample=sample)


def _views_of_sample(
    run: BrowsedRun, key: SampleKey
) -> Iterator[tuple[str, PredictionView]]:
    """Yield what every file of a run says of a sample, after the file's place.

    The lines of other files are searched for the hash of the sample's texts, so that
    none of these files has to be parsed for it.
    """
    for place, path in run.predictions.items():
        check_size(path, MAX_PREDICTIONS_BYTES, _INSTEAD)
        check_predictions(path, run)
        view = _find_view(path, key)
        if view is not None:
            yield place, view


def _find_view(path: Path, key: SampleKey) -> PredictionView | None:
    needle = key.content.encode("utf-8", "surrogatepass")
    name = without_surrogates(path.name)
    with path.open("rb") as file:
        lines = ((n, line) for n, line in enumerate(file, 1) if line.strip())
        for row, (number, line) in enumerate(lines):
            if needle not in line:
                continue
            prediction = parse_prediction_line(line, f"{name}:{number}")
            if sample_key(prediction) == key:
                return _view(row, prediction)
    return None


def _codes(value: Any) -> str:
    if not isinstance(value, list):
        return ""
    more = len(value) - MAX_CODES
    listed = ", ".join(str(code)[:80] for code in value[:MAX_CODES])
    return f"{listed} and {more} more" if more > 0 else listed


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else None
