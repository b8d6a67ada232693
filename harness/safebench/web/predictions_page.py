"""The pages of single predictions: a filtered list, and everything about one sample."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import abort, render_template, request

from safebench.results.parquet_predictions import (
    read_parquet_rows,
    rows_with_content,
)
from safebench.results.prediction_reading import parse_prediction_line

from .browsed_runs import (
    MAX_PREDICTIONS_BYTES,
    check_predictions,
    check_size,
    without_surrogates,
)
from .prediction_index import (
    FILTERS,
    PARQUET,
    matching_rows,
    read_index,
    sample_key,
)
from .review import after_review, marks_of_run, review_view, store_review
from .stored_trees import read_stored_trees

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from werkzeug.wrappers import Response

    from safebench.records import Sample
    from safebench.results.prediction_reading import PredictionLine

    from .browsed_runs import BrowsedRun
    from .prediction_index import PredictionIndex, SampleKey
    from .review import RunMarks
    from .sample_texts import SampleTexts
    from .state import AppState

PER_PAGE = 100
PARTS = {"all": "all", "test": "test", "calibration": "calibration"}
MARK_FILTERS = {"any": "all", "open": "not reviewed", "reviewed": "reviewed"}
MAX_SEARCH_CHARACTERS = 200
MAX_CODES = 20  # of categories, on one line
_INSTEAD = "`safebench analyze RUN` reads it"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionView:
    """One prediction as the pages show it; `row` is its place in its file.

    `kind` says how it was decided against its label, "" if it was not or nobody knows,
    `mark` what reviewers say of the label. `sample` is None where its texts are not at
    hand.
    """

    row: int
    line: PredictionLine
    kind: str
    sample: Sample | None = None
    mark: str = ""

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


@dataclass(frozen=True, slots=True)
class PredictionQuery:
    """Which predictions of a file a page is about: by filter, words, part and marks."""

    show: str
    search: str
    marks: str
    part: str

    @classmethod
    def of(cls, values: Mapping[str, str]) -> PredictionQuery:
        """Return what an address or a form asks for; aborts for unknown names."""
        show, marks = values.get("show") or "all", values.get("marks") or "any"
        if show not in FILTERS:
            abort(404, f"predictions can be shown as {', '.join(FILTERS)}")
        if marks not in MARK_FILTERS:
            abort(404, f"labels can be {', '.join(MARK_FILTERS)}")
        part = values.get("part") or "all"
        if part not in PARTS:
            abort(404, f"parts are {', '.join(PARTS)}")
        search = values.get("q", "").strip()[:MAX_SEARCH_CHARACTERS]
        return cls(show, search, marks, part)

    @property
    def in_address(self) -> dict[str, Any]:
        """What an address has to say for it, without what is the default."""
        return {
            "show": None if self.show == "all" else self.show,
            "q": self.search or None,
            "marks": None if self.marks == "any" else self.marks,
            "part": None if self.part == "all" else self.part,
        }

    def rows(
        self, index: PredictionIndex, texts: SampleTexts, known: RunMarks
    ) -> list[int]:
        """Return the rows of the predictions, in the order of the filter."""
        words = self.search.casefold()
        rows = matching_rows(
            index,
            self.show,
            (lambda key: texts.contains(key, words)) if words else None,
        )
        if self.part != "all":
            wanted = self.part == "calibration"
            rows = [row for row in rows if index.held_out[row] == wanted]
        if self.marks == "any":
            return rows
        marked = {sample_key(mark.sample._asdict()) for mark in known.marks}
        reviewed = self.marks == "reviewed"
        return [row for row in rows if (index.samples[row] in marked) == reviewed]


def page_of(rows: Sequence[int], number: int) -> Page:
    """Return one page of rows.

    A number before the first page is the first, one after the last is the last.
    """
    last = max(1, ceil(len(rows) / PER_PAGE))
    number = min(last, max(1, number))
    start = (number - 1) * PER_PAGE
    return Page(number, last, len(rows), list(rows[start : start + PER_PAGE]))


def predictions_page(state: AppState, run: BrowsedRun, place: str) -> str:
    """Return a page of the predictions of a file."""
    query = PredictionQuery.of(request.args)
    index = _read_checked(run, run.predictions[place])
    texts = state.sample_texts.of_run(run.file.parent)
    known = marks_of_run(run)
    page = page_of(
        query.rows(index, texts, known), request.args.get("page", 1, type=int)
    )
    views = [
        _view(row, line, texts.get(index.samples[row]), known)
        for row, line in zip(page.rows, index.read(page.rows), strict=True)
    ]
    return render_template(
        "predictions.html",
        run=run,
        place=place,
        show=query.show,
        query=query,
        filters=FILTERS,
        mark_filters=MARK_FILTERS,
        parts=PARTS,
        search=query.search,
        page=page,
        views=views,
        texts_open=request.args.get("texts") == "shown",
        stored_texts=texts.stored,
        n_without_text=sum(view.sample is None for view in views),
        notes=texts.notes,
    )


def sample_page(state: AppState, run: BrowsedRun, place: str, row: int) -> str:
    """Return everything about the sample of one prediction."""
    index, line = _read_row(run, place, row)
    texts = state.sample_texts.of_run(run.file.parent)
    query = PredictionQuery.of(request.args)
    key = index.samples[row]
    saved = request.args.get("saved", -1, type=int)
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
        stored_texts=texts.stored,
        tree=tree,
        review=review_view(run, line),
        query=query,
        filters=FILTERS,
        neighbours=_neighbours(query.rows(index, texts, marks_of_run(run)), row),
        saved=saved if 0 <= saved < index.n else None,
        saved_id=index.samples[saved].id if 0 <= saved < index.n else "",
        texts_open=request.args.get("texts") == "shown",
    )


def save_review(state: AppState, run: BrowsedRun, place: str, row: int) -> Response:
    """Store a reviewer's mark of a sample's label; return the way to go on."""
    query = PredictionQuery.of(request.form)
    index, line = _read_row(run, place, row)
    texts = state.sample_texts.of_run(run.file.parent)
    # before the mark is stored: it may take the sample out of what is shown
    rows = query.rows(index, texts, marks_of_run(run))
    store_review(run, line, row)
    following = _neighbours(rows, row).following
    return after_review(run.name, place, row, following)


class Neighbours(NamedTuple):
    """Where a sample stands among those shown, from 1, and the rows beside it.

    `position` is None for a sample that is not among them; the next one is then the
    first. `total` counts those shown.
    """

    position: int | None
    total: int
    previous: int | None
    following: int | None


def _neighbours(rows: Sequence[int], row: int) -> Neighbours:
    if row not in rows:
        return Neighbours(None, len(rows), None, rows[0] if rows else None)
    place = rows.index(row)
    previous = rows[place - 1] if place else None
    following = rows[place + 1] if place + 1 < len(rows) else None
    return Neighbours(place + 1, len(rows), previous, following)


def _read_row(
    run: BrowsedRun, place: str, row: int
) -> tuple[PredictionIndex, PredictionLine]:
    index = _read_checked(run, run.predictions[place])
    if not 0 <= row < index.n:
        abort(404, f"{place} has {index.n} predictions, counted from 0")
    (line,) = index.read([row])
    return index, line


def _read_checked(run: BrowsedRun, path: Path) -> PredictionIndex:
    check_size(path, MAX_PREDICTIONS_BYTES, _INSTEAD)
    check_predictions(path, run)
    return read_index(path)


def _view(
    row: int,
    line: PredictionLine,
    sample: Sample | None = None,
    known: RunMarks | None = None,
) -> PredictionView:
    decision, label = line.get("decision"), line.get("label")
    kind = ""
    if isinstance(decision, bool) and isinstance(label, bool) and decision != label:
        kind = "false negative" if label else "false positive"
    verdict = known.of_line(line) if known else None
    mark = verdict.mark if verdict else ""
    return PredictionView(row=row, line=line, kind=kind, sample=sample, mark=mark)


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
    name = without_surrogates(path.name)
    if path.suffix == PARQUET:
        rows = rows_with_content(path, key.content, name)
        for row, prediction in zip(
            rows, read_parquet_rows(path, rows, name), strict=True
        ):
            if sample_key(prediction) == key:
                return _view(row, prediction)
        return None
    needle = key.content.encode("utf-8", "surrogatepass")
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
