"""The results of runs: a list, tables that sort by link, and single predictions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from flask import Blueprint, abort, render_template, request

from safebench.errors import DataError, SafebenchError
from safebench.reporters.build import build
from safebench.reporters.text import printable, shown
from safebench.results import read_rows, results_files
from safebench.specs import MetricSpec

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.results import Row

    from .site import Site

PER_PAGE = 100
SHOWS = ("all", "wrong", "failed")


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder by the name of its page; `problem` says why it has no rows."""

    name: str
    folder: Path
    rows: list[Row]
    problem: str = ""

    @property
    def combinations(self) -> int:
        """How many lines its table has."""
        return len({row.combination for row in self.rows})

    def listed(self, field: str) -> str:
        """Return the different values of a field of its rows, in order."""
        values = dict.fromkeys(str(getattr(row, field)) for row in self.rows)
        return ", ".join(map(printable, values))

    @property
    def predictions(self) -> list[str]:
        """The prediction files, named by their place in the folder."""
        root = self.folder / "predictions"
        return sorted(str(p.relative_to(root)) for p in root.glob("*/*/*.jsonl"))


def find(runs: tuple[str, ...]) -> dict[str, Run]:
    """Return the finished runs by name; a second one of a name is called name~2."""
    found: dict[str, Run] = {}
    for file in results_files(runs):
        name = base = file.resolve().parent.name
        count = 1
        while name in found:
            count += 1
            name = f"{base}~{count}"
        found[name] = _opened(name, file)
    return found


def _opened(name: str, file: Path) -> Run:
    """Read a run; one that is damaged hides no other."""
    try:
        return Run(name, file.parent, read_rows(file))
    except SafebenchError as error:
        return Run(name, file.parent, [], error.message)


def pages(site: Site) -> Blueprint:
    """Return the pages about runs of a site."""
    blueprint = Blueprint("runs", __name__, url_prefix="/runs")

    @blueprint.get("", strict_slashes=False)
    def listing() -> str:
        return render_template("runs.html", runs=find(site.runs).values())

    @blueprint.get("/<name>")
    def table(name: str) -> str:
        run = _run(site, name)
        metrics = [m for m in request.args.get("metrics", "").split(",") if m.strip()]
        drawn = build(
            run.rows,
            specs=site.plugins.all(MetricSpec),
            metrics=metrics,
            sort=request.args.get("sort") or None,
        )
        return render_template(
            "run.html", run=run, table=drawn, shown=shown, metrics=",".join(metrics)
        )

    @blueprint.get("/<name>/predictions/<path:place>")
    def predictions(name: str, place: str) -> str:
        run = _run(site, name)
        if place not in run.predictions:  # so no path leads out of the folder
            abort(404, f"the run {name!r} has no predictions {place!r}")
        show = request.args.get("show", "all")
        if show not in SHOWS:
            abort(404, f"predictions can be shown as {', '.join(SHOWS)}")
        lines = [x for x in _read(run.folder / "predictions" / place) if _is(show, x)]
        last = max(1, ceil(len(lines) / PER_PAGE))
        page = min(last, max(1, request.args.get("page", 1, type=int)))
        return render_template(
            "predictions.html",
            run=run,
            place=place,
            show=show,
            shows=SHOWS,
            page=page,
            last=last,
            count=len(lines),
            lines=lines[(page - 1) * PER_PAGE : page * PER_PAGE],
        )

    return blueprint


def _run(site: Site, name: str) -> Run:
    runs = find(site.runs)
    if name not in runs:
        abort(404, f"there is no run {name!r}")
    if runs[name].problem:
        raise DataError(runs[name].problem)
    return runs[name]


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a prediction file; raises `DataError` for one that is none.

    Damaged files happen: a run is copied while it is still written, or cut off.
    """
    found: list[dict[str, Any]] = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prediction = json.loads(line)
        except (ValueError, RecursionError):
            prediction = None
        if not isinstance(prediction, dict) or "id" not in prediction:
            raise DataError(
                f"{path.name}:{number} is no prediction: damaged, or cut off"
            )
        found.append(prediction)
    return found


def _is(show: str, line: dict[str, Any]) -> bool:
    """Tell whether a prediction is one of those to show."""
    if show == "failed":
        return line.get("error") is not None
    decision, label = line.get("decision"), line.get("label")
    wrong = decision is not None and label is not None and decision != label
    return show == "all" or wrong
