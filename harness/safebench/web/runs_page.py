"""The pages about runs: a list, tables of results, and single predictions."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from safebench.errors import DataError, SafebenchError

from .browsed_runs import describe_problem, find_runs
from .compare_page import compare_page
from .predictions_page import (
    PredictionQuery,
    predictions_page,
    sample_page,
    save_review,
)
from .run_charts import charts_page, css_response, sets_of_run
from .run_page import run_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.wrappers import Response

    from .browsed_runs import BrowsedRun
    from .state import AppState


N_COMPARED = 2


def runs_blueprint(state: AppState) -> Blueprint:
    """Return the pages about the runs of a site."""
    blueprint = Blueprint("runs", __name__, url_prefix="/runs")
    _add_chart_pages(blueprint, state)

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
            return run_page(state, run)

    @blueprint.get("/<name>/predictions")
    def choose(name: str) -> Response:
        # the form of the page of predictions: which file, and what to search for
        place = _known_place(_get_run(state, name), request.args.get("of", ""))
        texts = request.args.get("texts") or None
        kept = PredictionQuery.of(request.args).in_address
        return redirect(
            url_for("runs.predictions", name=name, place=place, texts=texts, **kept)
        )

    @blueprint.get("/<name>/predictions/<path:place>")
    def predictions(name: str, place: str) -> str:
        run = _get_run(state, name)
        _known_place(run, place)
        with _naming(f"{run.name}/{place}"):
            return predictions_page(state, run, place)

    @blueprint.get("/<name>/sample/<int:row>/<path:place>")
    def sample(name: str, row: int, place: str) -> str:
        run = _get_run(state, name)
        _known_place(run, place)
        with _naming(f"{run.name}/{place}"):
            return sample_page(state, run, place, row)

    @blueprint.post("/<name>/sample/<int:row>/<path:place>")
    def review(name: str, row: int, place: str) -> Response:
        run = _get_run(state, name)
        _known_place(run, place)
        with _naming(f"{run.name}/{place}"):
            return save_review(state, run, place, row)

    return blueprint


def _add_chart_pages(blueprint: Blueprint, state: AppState) -> None:
    @blueprint.get("/<name>/charts/<place>")
    def charts(name: str, place: str) -> str:
        run = _get_run(state, name)
        if place not in sets_of_run(run):  # so that no path leads out of the folder
            abort(404, f"the run {run.name!r} has no predictions on {place!r}")
        with _naming(f"{run.name}/{place}"):
            return charts_page(state.charts, run, place)

    @blueprint.get("/charts.css")
    def chart_style() -> Response:
        return css_response()


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
