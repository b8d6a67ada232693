"""The page of one run: its table, and the way from each line to its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import render_template, request

from safebench.number_format import format_metric
from safebench.reporters.footnotes import notes_on_cells
from safebench.reporters.leaderboard import build_leaderboard
from safebench.results.prediction_reading import CombinationKey
from safebench.results.prediction_writing import path_of
from safebench.results.run_files import PREDICTIONS_FOLDER
from safebench.sanitize import printable
from safebench.specs import MetricSpec

from .browsed_runs import run_facts, without_form, without_surrogates
from .review import marks_of_run
from .run_charts import charts_view

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench.reporters.table import Leaderboard, LeaderboardLine
    from safebench.results import Row

    from .browsed_runs import BrowsedRun
    from .state import AppState

MAX_FILTER_CHARACTERS = 200
LineKey = tuple[str, str, str]


@dataclass(slots=True)
class LineErrors:
    """Where the predictions of a line are, and how many of its decisions are wrong.

    The numbers are about the test part, None where nobody stored them.
    """

    place: str
    fn: int | None = None
    fp: int | None = None
    n_failed: int = 0


class LineLinks:
    """The predictions of a table's lines, found by the names that a line shows."""

    def __init__(self, run: BrowsedRun) -> None:
        self._by_line: dict[LineKey, LineErrors | None] = {}
        places = {without_form(place): place for place in run.predictions}
        for row in run.rows:
            if row.is_of_whole_test_part:
                self._add(run, row, places)

    def _add(self, run: BrowsedRun, row: Row, places: dict[str, str]) -> None:
        dataset = ":".join(filter(None, (row.dataset, row.config, row.split)))
        method = "+".join(filter(None, (row.strategy, row.calibrator)))
        key = (printable(row.classifier), printable(dataset), printable(method))
        names = CombinationKey(
            *(row.classifier, row.strategy, row.dataset),
            *(row.config, row.split, row.calibrator),
        )
        folder = run.file.parent / PREDICTIONS_FOLDER
        path = path_of(run.file.parent, names).relative_to(folder)
        place = places.get(without_form(without_surrogates(path.as_posix())))
        if place is None:
            return
        known = self._by_line.setdefault(key, LineErrors(place))
        if known is None or known.place != place:
            self._by_line[key] = None  # two that read alike: neither is linked
            return
        known.n_failed = max(known.n_failed, row.n_failed)
        if row.metric in ("fn", "fp") and row.value is not None:
            setattr(known, row.metric, int(row.value))

    def of(self, line: LeaderboardLine, method: str | None = None) -> LineErrors | None:
        """Return the predictions of a line, or of another method folded into it."""
        name = line.method if method is None else method
        return self._by_line.get((line.classifier, line.dataset, name))


def run_page(state: AppState, run: BrowsedRun) -> str:
    """Return the page of a run, its table sorted and filtered as asked for."""
    metrics = [m for m in request.args.get("metrics", "").split(",") if m.strip()]
    words = request.args.get("filter", "").strip()[:MAX_FILTER_CHARACTERS]
    metrics = [name.strip() for name in metrics]
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
        footnotes=_footnotes(leaderboard) if leaderboard else [],
        links=LineLinks(run),
        charts=charts_view(state.charts, run),
        n_reviewed=len(marks_of_run(run).verdicts),
        words=words,
        shown=format_metric,
        metrics=",".join(metrics),
        known_metrics=dict.fromkeys(row.metric for row in run.rows),
    )


def _footnotes(table: Leaderboard) -> Iterable[str]:
    """Return the notes of all blocks that are shown, each once."""
    notes: dict[str, None] = {}
    for block in table.blocks:
        notes |= dict.fromkeys(block.footnotes)
        if block.cell_notes:
            notes |= dict.fromkeys(notes_on_cells(block.lines, block.metrics, ci=False))
    return notes


def _matches_words(row: Row, words: str) -> bool:
    """Tell whether the names of a row's line hold each of the words, in any case."""
    names = (row.classifier, row.model, row.strategy, row.calibrator, row.dataset)
    text = " ".join(filter(None, names)).casefold()
    return all(word in text for word in words.casefold().split())
