"""The pages about runs: a list, tables of results, and single predictions."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from safebench.errors import DataError, SafebenchError
from safebench.number_format import format_metric
from safebench.reporters.leaderboard import build_leaderboard
from safebench.specs import MetricSpec

from .browsed_runs import describe_problem, find_runs, run_facts
from .compare_page import compare_page
from .prediction_index import FILTERS
from .predictions_page import predictions_page, sample_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.wrappers import Response

    from safebench.results import Row

    from .browsed_runs import BrowsedRun
    from .state import AppState


N_COMPARED = 2
MAX_FILTER_CHARACTERS = 200


def runs_blueprint(state: AppState) -> Blueprint:
    """Return the pages about the runs of a site."""
    blueprint = Blueprint("runs", __name__, url_prefix="/runs")

    @blueprint.get("", strict_slashes=False)
    def listing() -> str | Response:
        picked = request.args.getlist("run")
        if len(picked) == N_COMPARED:
            a, b = picked
            return redirect(url_for("runs.comparison", name=a, other=b))
        return render_template(
            "runs.html", runs=find_runs(state.runs).values(), n_picked=len(picked)
        )

    @blueprint.get("/<name>/against/<other>")
    def comparison(name: str, other: str) -> str:
        a, b = _get_run(state, name), _get_run(state, other)
        with _naming(f"{a.name} and {b.name}"):
            return compare_page(state, a, b)

    @blueprint.get("/<name>")
    def table(name: str) -> str:
        run = _get_run(state, name)
        with _naming(run.name):
            return _table_page(state, run)

    @blueprint.get("/<name>/predictions")
    def choose(name: str) -> Response:
        # the form of the page of predictions: which file, and what to search for
        place = _known_place(_get_run(state, name), request.args.get("of", ""))
        show, words, texts = (
            request.args.get(field) or None for field in ("show", "q", "texts")
        )
        return redirect(
            url_for(
                "runs.predictions",
                name=name,
                place=place,
                show=show,
                q=words,
                texts=texts,
            )
        )

    @blueprint.get("/<name>/predictions/<path:place>")
    def predictions(name: str, place: str) -> str:
        run = _get_run(state, name)
        _known_place(run, place)
        show = request.args.get("show", "all")
        if show not in FILTERS:
            abort(404, f"predictions can be shown as {', '.join(FILTERS)}")
        with _naming(f"{run.name}/{place}"):
            return predictions_page(state, run, place, show)

    @blueprint.get("/<name>/sample/<int:row>/<path:place>")
    def sample(name: str, row: int, place: str) -> str:
        run = _get_run(state, name)
        _known_place(run, place)
        with _naming(f"{run.name}/{place}"):
            return sample_page(state, run, place, row)

    return blueprint


def _table_page(state: AppState, run: BrowsedRun) -> str:
    metrics = [m for m in request.args.get("metrics", "").split(",") if m.strip()]
    words = request.args.get("filter", "").strip()[:MAX_FILTER_CHARACTERS]
    rows = [row for row in run.rows if _matches_words(row, words)]
    leaderboard = None
    if rows or not words:  # a run without any line is refused, a search is not
        leaderboard = build_leaderboard(
            rows,
            specs=state.plugins.unambiguous(MetricSpec),
            metrics=metrics,
            sort=request.args.get("sort") or None,
        )
    return render_template(
        "run.html",
        run=run,
        facts=run_facts(run),
        table=leaderboard,
        words=words,
        shown=format_metric,
        metrics=",".join(metrics),
    )


def _matches_words(row: Row, words: str) -> bool:
    """Tell whether the names of a row's line hold each of the words, in any case."""
    names = (row.classifier, row.model, row.strategy, row.calibrator, row.dataset)
    text = " ".join(filter(None, names)).casefold()
    return all(word in text for word in words.casefold().split())


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


def _known_place(run: BrowsedRun, place: str) -> str:
    if place not in run.predictions:  # so that no path leads out of the folder
        abort(404, f"the run {run.name!r} has no predictions {place!r}")
    return place


def _get_run(state: AppState, name: str) -> BrowsedRun:
    runs = find_runs(state.runs)
    if name not in runs:
        abort(404, f"there is no run {name!r}")
    if runs[name].problem:
        raise DataError(runs[name].problem)
    return runs[name]
