"""The pages about runs: a list, tables of results, and single predictions."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from flask import Blueprint, abort, render_template, request
from werkzeug.exceptions import HTTPException

from safebench.errors import DataError, SafebenchError
from safebench.number_format import format_metric
from safebench.reporters.leaderboard import build_leaderboard
from safebench.results.predictions import iter_prediction_lines
from safebench.specs import MetricSpec

from .browsed_runs import (
    MAX_PREDICTIONS_BYTES,
    check_predictions,
    check_size,
    describe_problem,
    find_runs,
    without_surrogates,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from safebench.results.predictions import PredictionLine

    from .browsed_runs import BrowsedRun
    from .state import AppState

PER_PAGE = 100
PREDICTION_FILTERS = ("all", "wrong", "failed")


def runs_blueprint(state: AppState) -> Blueprint:
    """Return the pages about the runs of a site."""
    blueprint = Blueprint("runs", __name__, url_prefix="/runs")

    @blueprint.get("", strict_slashes=False)
    def listing() -> str:
        return render_template("runs.html", runs=find_runs(state.runs).values())

    @blueprint.get("/<name>")
    def table(name: str) -> str:
        run = _get_run(state, name)
        with _naming(run.name):
            return _table_page(state, run)

    @blueprint.get("/<name>/predictions/<path:place>")
    def predictions(name: str, place: str) -> str:
        run = _get_run(state, name)
        if place not in run.predictions:  # so that no path leads out of the folder
            abort(404, f"the run {name!r} has no predictions {place!r}")
        show = request.args.get("show", "all")
        if show not in PREDICTION_FILTERS:
            abort(404, f"predictions can be shown as {', '.join(PREDICTION_FILTERS)}")
        with _naming(f"{run.name}/{place}"):
            return _predictions_page(run, place, show)

    return blueprint


def _table_page(state: AppState, run: BrowsedRun) -> str:
    metrics = [m for m in request.args.get("metrics", "").split(",") if m.strip()]
    leaderboard = build_leaderboard(
        run.rows,
        specs=state.plugins.unambiguous(MetricSpec),
        metrics=metrics,
        sort=request.args.get("sort") or None,
    )
    return render_template(
        "run.html",
        run=run,
        table=leaderboard,
        shown=format_metric,
        metrics=",".join(metrics),
    )


def _predictions_page(run: BrowsedRun, place: str, show: str) -> str:
    path = run.predictions[place]
    check_size(path, MAX_PREDICTIONS_BYTES, "`safebench analyze RUN` reads it")
    check_predictions(path, run)
    lines = iter_prediction_lines(path, name=without_surrogates(path.name))
    page = page_of_lines(
        (line for line in lines if _matches_filter(show, line)),
        request.args.get("page", 1, type=int),
    )
    return render_template(
        "predictions.html",
        run=run,
        place=place,
        show=show,
        filters=PREDICTION_FILTERS,
        page=page.number,
        last=page.last,
        count=page.count,
        lines=page.lines,
    )


@dataclass(frozen=True, slots=True)
class LinesPage:
    """The lines of page `number` of 1 to `last`; `count` is that of all pages."""

    number: int
    last: int
    count: int
    lines: list[PredictionLine]


def page_of_lines(lines: Iterable[PredictionLine], number: int) -> LinesPage:
    """Return one page of lines without keeping the others in memory.

    A number before the first page is the first, one after the last is the last.
    """
    number = max(1, number)
    current: list[PredictionLine] = []
    count = 0
    for line in lines:
        if count % PER_PAGE == 0 and count // PER_PAGE < number:
            current = []
        if count // PER_PAGE < number:
            current.append(line)
        count += 1
    last = max(1, ceil(count / PER_PAGE))
    return LinesPage(min(number, last), last, count, current)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name what cannot be shown, whatever it raises: a stored value may be anything."""
    try:
        yield
    except (SafebenchError, HTTPException):
        raise
    except Exception as error:
        reason = describe_problem(error)
        raise DataError(f"{name} cannot be shown: {reason}") from error


def _get_run(state: AppState, name: str) -> BrowsedRun:
    runs = find_runs(state.runs)
    if name not in runs:
        abort(404, f"there is no run {name!r}")
    if runs[name].problem:
        raise DataError(runs[name].problem)
    return runs[name]


def _matches_filter(show: str, line: dict[str, Any]) -> bool:
    """Return whether a prediction is one of those to show."""
    if show == "failed":
        return line.get("error") is not None
    decision, label = line.get("decision"), line.get("label")
    wrong = decision is not None and label is not None and decision != label
    return show == "all" or wrong
