"""What a report is about: rows, analyses and facts of runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from safebench.analysis import analyze_run
from safebench.charts import chart_entries
from safebench.combination.changed_parts import note_changed_parts
from safebench.errors import RunFolderError
from safebench.reporters.leaderboard import build_leaderboard
from safebench.results import RESULTS_FILE, read_rows
from safebench.results.comparison import ties_with_best
from safebench.results.row_filter import filter_rows
from safebench.results.run_facts import headline, run_facts
from safebench.results.runs import results_files, run_names
from safebench.results.selection import named_files
from safebench.specs import MetricSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from safebench.analysis import RunAnalysis
    from safebench.analysis.request import AnalysisRequest
    from safebench.charts import ChartEntry
    from safebench.plugins import Plugins
    from safebench.reporters.table import Leaderboard
    from safebench.results import Row
    from safebench.results.predictions import StoredPredictions

    from .baseline import BaselineTable

SetKey = tuple[str, str]  # dataset and task


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """Which runs, and what of them: `analysis` filters, as for `safebench analyze`.

    Without `runs` all below ./runs. `metrics` are the columns (none: the usual ones)
    and `sort` the one that orders lines; `slice_metrics` those of slices. `baseline`
    names what the others are compared with.
    """

    runs: tuple[str, ...]
    analysis: AnalysisRequest
    slice_metrics: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    sort: str | None = None
    baseline: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRun:
    """One run: `written` in UTC, its best line, facts by what they are about.

    `analysis` is None where `problem` says why.
    """

    name: str
    folder: Path
    rows: tuple[Row, ...]
    written: str
    headline: str
    facts: dict[str, list[str]]
    analysis: RunAnalysis | None = None
    problem: str = ""

    @property
    def stored(self) -> tuple[list[StoredPredictions], tuple[Row, ...]]:
        """The predictions on its own sets, and the rows about the same samples."""
        if self.analysis is None:
            return [], ()
        stored = [combination.predictions for combination in self.analysis.combinations]
        on_sets = [p for p in stored if len(set(p.sample_datasets)) <= 1]
        # rows are about the test part: no interval of theirs fits another one
        return on_sets, self.rows if self.analysis.part == "test" else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """All of a report; `table` is None where no row is on a test part."""

    request: ReportRequest
    runs: tuple[ReportedRun, ...]
    table: Leaderboard | None
    table_problem: str = ""
    baseline: tuple[BaselineTable, ...] = ()
    baseline_notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The names of the runs."""
        names = [run.name for run in self.runs]
        shown = ", ".join(names[:3])
        return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004

    def entries(self) -> dict[SetKey, list[ChartEntry]]:
        """Return what can be drawn on each set, in the order of the results."""
        several = len(self.runs) > 1
        by_set: dict[SetKey, list[ChartEntry]] = {}
        for run in self.runs:
            for entry in chart_entries(*run.stored, run.name if several else ""):
                key = (entry.predictions.dataset, entry.predictions.task)
                by_set.setdefault(key, []).append(entry)
        return by_set


def read_report(
    request: ReportRequest,
    plugins: Plugins,
    progress: Callable[[str], None] = lambda _: None,
) -> ReportContent:
    """Read runs and analyze them; no model is loaded.

    `progress` is called with what is done next. Raises SafebenchError for names that
    nothing has, or where there is no finished run.
    """
    files, rows = _read_rows(request)
    folders = [file.parent for file in files.values()]
    if request.baseline is not None:
        named_files(request.baseline, folders)  # a wrong name costs no analysis
    runs = []
    for name, file in files.items():
        of_run = tuple(row for row in rows if row.run == name)
        if of_run:
            progress(f"analyzing {name}")
            runs.append(_read_run(file, name, of_run, request, plugins))
    progress("testing differences")
    table, problem = None, ""
    try:
        table = _leaderboard(rows, folders, request, plugins)
    except RunFolderError as error:  # all of the rest is still there
        problem = error.message
    content = ReportContent(
        request=request, runs=tuple(runs), table=table, table_problem=problem
    )
    if request.baseline is None:
        return content
    from .baseline import compare_with_baseline

    tables, notes = compare_with_baseline(table, request.baseline, folders, plugins)
    return replace(content, baseline=tables, baseline_notes=notes)


def content_of_analysis(
    folder: Path, analysis: RunAnalysis, request: ReportRequest, plugins: Plugins
) -> ReportContent:
    """Return a report of a run that was analyzed already.

    Its results are added as far as there are any: a run may have been cut off.
    """
    file = folder / RESULTS_FILE
    wanted = request.analysis
    rows: list[Row] = []
    if file.is_file():
        rows = [replace(row, run=analysis.run) for row in read_rows(file)]
        rows = filter_rows(rows, wanted.classifiers, wanted.strategies, wanted.datasets)
    run = ReportedRun(
        name=analysis.run,
        folder=folder,
        rows=tuple(rows),
        written=_written(file) if rows else "",
        headline=headline(rows) if rows else "",
        facts=run_facts(folder),
        analysis=analysis,
    )
    table, problem = None, "the run has no results: it was cut off"
    if rows:
        try:
            table = _leaderboard(rows, [folder], request, plugins)
        except RunFolderError as error:
            problem = error.message
    return ReportContent(
        request=request, runs=(run,), table=table, table_problem=problem
    )


def read_table(request: ReportRequest, plugins: Plugins) -> Leaderboard:
    """Return the leaderboard of a report alone, with intervals and ties.

    Raises SafebenchError where there is nothing to show.
    """
    files, rows = _read_rows(request)
    folders = [file.parent for file in files.values()]
    return _leaderboard(rows, folders, request, plugins)


def _read_rows(request: ReportRequest) -> tuple[dict[str, Path], list[Row]]:
    """Return the results files by the names of their runs, and the rows asked for."""
    files = results_files(request.runs)
    if not files:
        raise RunFolderError(
            "no finished run in 'runs': `safebench run` makes one, or name a run folder"
        )
    named = dict(zip(run_names([file.parent for file in files]), files, strict=True))
    rows = [
        replace(row, run=name)
        for name, file in named.items()
        for row in read_rows(file)
    ]
    wanted = request.analysis
    rows = filter_rows(rows, wanted.classifiers, wanted.strategies, wanted.datasets)
    return named, note_changed_parts(rows, [file.parent for file in files])


def _read_run(
    file: Path,
    name: str,
    rows: tuple[Row, ...],
    request: ReportRequest,
    plugins: Plugins,
) -> ReportedRun:
    run = ReportedRun(
        name=name,
        folder=file.parent,
        rows=rows,
        written=_written(file),
        headline=headline(rows),
        facts=run_facts(file.parent),
    )
    specs = [plugins.get(MetricSpec, metric) for metric in request.slice_metrics]
    narrowed = _known_to(rows, request.analysis)
    try:
        analysis = analyze_run(file.parent, narrowed, plugins, specs)
    except RunFolderError as error:  # without predictions the rest is still there
        return replace(run, problem=error.message)
    return replace(run, analysis=replace(analysis, run=name))


def _known_to(rows: Sequence[Row], request: AnalysisRequest) -> AnalysisRequest:
    """Return the request without names that other runs of the report have alone."""
    classifiers = {row.classifier.casefold() for row in rows}
    datasets = {name.casefold() for row in rows for name in (row.dataset, set_of(row))}
    methods = {m.casefold() for row in rows for m in (row.strategy, method_of(row))}
    return replace(
        request,
        classifiers=_among(request.classifiers, classifiers),
        strategies=_among(request.strategies, methods),
        datasets=_among(request.datasets, datasets),
    )


def _among(names: Sequence[str], known: set[str]) -> tuple[str, ...]:
    if any(name.casefold() == "all" for name in names):
        return ()
    return tuple(name for name in names if name.casefold() in known)


def set_of(row: Row) -> str:
    """Return the dataset of a row as tables name it."""
    return ":".join(filter(None, (row.dataset, row.config, row.split)))


def method_of(row: Row) -> str:
    """Return the strategy of a row with its calibrator."""
    return "+".join(filter(None, (row.strategy, row.calibrator)))


def _written(file: Path) -> str:
    moment = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _leaderboard(
    rows: Sequence[Row],
    folders: Sequence[Path],
    request: ReportRequest,
    plugins: Plugins,
) -> Leaderboard:
    specs = plugins.unambiguous(MetricSpec)
    return build_leaderboard(
        rows,
        specs=specs,
        metrics=request.metrics,
        sort=request.sort,
        ci=True,
        ties_with_best=partial(ties_with_best, folders=folders, specs=specs),
    )
