"""The pages about runs: a list, tables of results, and single predictions."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from flask import Blueprint, abort, render_template, request

from safebench.errors import DataError, SafebenchError
from safebench.number_format import format_metric
from safebench.reporters.leaderboard import build_leaderboard
from safebench.results import read_rows
from safebench.results.predictions import PREDICTIONS_FOLDER, read_prediction_lines
from safebench.results.runs import results_files
from safebench.sanitize import printable
from safebench.specs import MetricSpec

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.results import Row

    from .state import AppState

PER_PAGE = 100
PREDICTION_FILTERS = ("all", "wrong", "failed")


@dataclass(frozen=True, slots=True)
class BrowsedRun:
    """A run folder and the `name` in its URL; `problem` says why it has no rows."""

    name: str
    folder: Path
    rows: list[Row]
    problem: str = ""

    @property
    def combinations(self) -> int:
        """How many rows its table has."""
        return len({row.combination for row in self.rows})

    def distinct_values(self, field: str) -> str:
        """Return the different values of a field of its rows, joined, in order."""
        values = dict.fromkeys(str(getattr(row, field)) for row in self.rows)
        return ", ".join(map(printable, values))

    @property
    def predictions(self) -> list[str]:
        """The prediction files, by their paths in the predictions folder."""
        root = self.folder / PREDICTIONS_FOLDER
        return sorted(str(p.relative_to(root)) for p in root.glob("*/*/*.jsonl"))


def find_runs(runs: tuple[str, ...]) -> dict[str, BrowsedRun]:
    """Return the finished runs by name; the second of one name is called name~2."""
    runs_by_name: dict[str, BrowsedRun] = {}
    for file in results_files(runs):
        name = base = file.resolve().parent.name
        count = 1
        while name in runs_by_name:
            count += 1
            name = f"{base}~{count}"
        runs_by_name[name] = _open_run(name, file)
    return runs_by_name


def _open_run(name: str, file: Path) -> BrowsedRun:
    """Return a run; one that is damaged has a `problem` and hides no other."""
    try:
        return BrowsedRun(name, file.parent, read_rows(file))
    except SafebenchError as error:
        return BrowsedRun(name, file.parent, [], error.message)


def runs_blueprint(state: AppState) -> Blueprint:
    """Return the pages about the runs of a site."""
    blueprint = Blueprint("runs", __name__, url_prefix="/runs")

    @blueprint.get("", strict_slashes=False)
    def listing() -> str:
        return render_template("runs.html", runs=find_runs(state.runs).values())

    @blueprint.get("/<name>")
    def table(name: str) -> str:
        run = _get_run(state, name)
        metrics = [m for m in request.args.get("metrics", "").split(",") if m.strip()]
        leaderboard = build_leaderboard(
            run.rows,
            specs=state.plugins.all(MetricSpec),
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

    @blueprint.get("/<name>/predictions/<path:place>")
    def predictions(name: str, place: str) -> str:
        run = _get_run(state, name)
        if place not in run.predictions:  # so that no path leads out of the folder
            abort(404, f"the run {name!r} has no predictions {place!r}")
        show = request.args.get("show", "all")
        if show not in PREDICTION_FILTERS:
            abort(404, f"predictions can be shown as {', '.join(PREDICTION_FILTERS)}")
        path = run.folder / PREDICTIONS_FOLDER / place
        lines = [
            line
            for line in read_prediction_lines(path, name=path.name)
            if _matches_filter(show, line)
        ]
        last = max(1, ceil(len(lines) / PER_PAGE))
        page = min(last, max(1, request.args.get("page", 1, type=int)))
        return render_template(
            "predictions.html",
            run=run,
            place=place,
            show=show,
            filters=PREDICTION_FILTERS,
            page=page,
            last=last,
            count=len(lines),
            lines=lines[(page - 1) * PER_PAGE : page * PER_PAGE],
        )

    return blueprint


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
