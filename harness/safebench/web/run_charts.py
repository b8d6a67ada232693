"""Charts of a run's sets: drawn by a thread that serves no page, kept for each state.

Predictions of a set may take seconds to read. A page waits for a moment and shows what
is ready; otherwise it leads to a page of the charts, which looks for them by itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Response, render_template

from safebench.charts import ChartCard, chart_css, chart_entries, set_charts
from safebench.errors import DataError
from safebench.files import file_state, is_settled
from safebench.results.prediction_reading import (
    FORMS,
    CombinationKey,
    read_combination_key,
    read_prediction_file,
)
from safebench.results.run_files import PREDICTIONS_FOLDER

from .browsed_runs import (
    MAX_PREDICTIONS_BYTES,
    check_size,
    describe_problem,
    without_surrogates,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.results import Row
    from safebench.results.predictions import StoredPredictions

    from .browsed_runs import BrowsedRun

MAX_SET_BYTES = 128 * 2**20  # of all predictions on a set
MOMENT_SECONDS = 0.7  # that a page waits for its charts
CACHED_SETS = 32
MAX_WAITING = 8  # sets that wait to be drawn
_INSTEAD = "`safebench report RUN` draws it"


@dataclass(slots=True, eq=False)
class ChartJob:
    """The charts of one set in one state, once they are `finished`."""

    finished: threading.Event = field(default_factory=threading.Event)
    cards: Sequence[ChartCard] = ()
    problem: str = ""


class ChartCache:
    """The charts of the sets that were looked at last; threads may share it."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[tuple[object, ...], ChartJob] = OrderedDict()
        self._lock = threading.Lock()
        self._drawing = threading.Lock()  # two at once would each take twice as long

    def job(self, run: BrowsedRun, place: str) -> ChartJob:
        """Return the charts of a set, which are drawn from now on if need be."""
        files = sets_of_run(run)[place]
        states = (_state_or_none(path) for path in (run.file, *files))
        key = (run.file, place, *states)
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                waiting = sum(not j.finished.is_set() for j in self._jobs.values())
                if waiting >= MAX_WAITING:
                    return ChartJob()  # whoever asks again later starts it
                job = self._jobs[key] = ChartJob()
                arguments = (job, run, files)
                name = "charts"
                threading.Thread(
                    target=self._draw, args=arguments, name=name, daemon=True
                ).start()
            self._jobs.move_to_end(key)
            self._forget()
        return job

    def _forget(self) -> None:
        """Drop what was looked at longest ago, never what is being drawn."""
        finished = [key for key, job in self._jobs.items() if job.finished.is_set()]
        for key in finished[: max(0, len(self._jobs) - CACHED_SETS)]:
            del self._jobs[key]

    def _draw(self, job: ChartJob, run: BrowsedRun, files: Sequence[Path]) -> None:
        try:
            with self._drawing:
                job.cards = draw_set(run, files)
        except Exception as error:  # noqa: BLE001 - stored values may be anything
            job.problem = describe_problem(error)
        finally:
            job.finished.set()


def _state_or_none(path: Path) -> object:
    """Return the state of a file; None for a link to nothing, or in a circle.

    That of a file that was written to a moment ago is the same until it is settled:
    who asks again for its charts finds the job, which is done once more after that.
    """
    try:
        state = file_state(path)
        return *state[:4], is_settled(state)
    except OSError:
        return None


def sets_of_run(run: BrowsedRun) -> dict[str, list[Path]]:
    """Return the files of predictions by the name of their set's folder."""
    by_set: dict[str, list[Path]] = {}
    root = run.file.parent / PREDICTIONS_FOLDER
    for path in sorted(root.glob("*/*/*")):
        if path.suffix in FORMS.values() and not path.name.startswith("."):
            place = without_surrogates(path.parent.name)
            by_set.setdefault(place, []).append(path)
    return by_set


def draw_set(run: BrowsedRun, files: Sequence[Path]) -> list[ChartCard]:
    """Return the charts of predictions on one set; several tasks come one by one.

    Raises DataError for what cannot be read, or is too much to draw meanwhile.
    """
    for path in files:
        check_size(path, MAX_PREDICTIONS_BYTES, _INSTEAD)
    size = sum(path.stat().st_size for path in files)
    if size > MAX_SET_BYTES:
        raise DataError(
            f"the predictions on this set have {size / 2**20:,.0f} MiB, and charts are "
            f"drawn here of up to {MAX_SET_BYTES // 2**20}; {_INSTEAD}"
        )
    stems = [path.with_suffix("") for path in files]
    if len(set(stems)) < len(stems):
        raise DataError(
            "predictions of one line are stored twice, as .jsonl and as .parquet: "
            "delete the older file"
        )
    by_key: dict[CombinationKey, list[Row]] = {}
    for row in run.rows:
        if row.slice is None and row.category is None:
            names = (row.classifier, row.strategy, row.dataset, row.config, row.split)
            by_key.setdefault(CombinationKey(*names, row.calibrator), []).append(row)
    by_task: dict[str, list[StoredPredictions]] = {}
    for path in files:
        of_line = by_key.get(read_combination_key(path), ())
        predictions = read_prediction_file(path, of_line)
        if predictions.n:
            by_task.setdefault(predictions.task, []).append(predictions)
    if not by_task:
        raise DataError("no prediction of the test part on this set has a known label")
    return [
        card
        for predictions in by_task.values()
        for card in set_charts(chart_entries(predictions, run.rows))
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartsView:
    """What a page shows of the charts: the `sets` of a run, and those of one of them.

    Without `cards` and `problem` they are still being drawn.
    """

    sets: tuple[str, ...]
    place: str
    cards: Sequence[ChartCard] = ()
    problem: str = ""

    @property
    def waiting(self) -> bool:
        """Tell whether the charts are not ready."""
        return not self.cards and not self.problem


def charts_view(
    cache: ChartCache, run: BrowsedRun, place: str | None = None
) -> ChartsView | None:
    """Return the charts of a set, the first one by default, if they are ready soon.

    None for a run without predictions.
    """
    sets = tuple(sets_of_run(run))
    if not sets:
        return None
    shown = sets[0] if place is None else place
    job = cache.job(run, shown)
    if not job.finished.wait(MOMENT_SECONDS):
        return ChartsView(sets=sets, place=shown)
    return ChartsView(sets=sets, place=shown, cards=job.cards, problem=job.problem)


def charts_page(cache: ChartCache, run: BrowsedRun, place: str) -> str:
    """Return the page of the charts of one set, which waits for them."""
    return render_template(
        "charts.html", run=run, charts=charts_view(cache, run, place)
    )


def css_response() -> Response:
    """Return the style sheet of charts."""
    return Response(chart_css(), mimetype="text/css")
