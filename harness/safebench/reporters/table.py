"""The leaderboard as data: its columns, lines and cells, which every format draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

from safebench.errors import unknown_name
from safebench.results.latency import NOT_MEASURED
from safebench.results.rows import LATENCY_METRICS
from safebench.results.slices import gap_metric
from safebench.sanitize import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from safebench.results import Row
    from safebench.specs import MetricSpec


REVIEWED = "reviewed labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number: its value, whether it is the best, or a note why it is missing.

    `n_scored` is what it rests on; bounds and interval are as in a result row.
    `ties_with_best`: tested against the best number, without a significant difference.
    """

    value: float | None
    best: bool = False
    note: str = ""
    n_scored: int | None = None
    bound_low: float | None = None
    bound_high: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str | None = None
    ties_with_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardLine:
    """One combination: its names, and its numbers in column order.

    `n` samples with a known label, `n_pos` of them positive, `n_failed` without a
    judgement. A line that is not `ranked` saw the test labels and is never the best.
    `source` names where a published number comes from: such a line was not measured
    here, is not ranked, and has n 0 where the source does not say. `slice` is the part
    of the set that it is about, None for all of it, `review` how its labels were
    reviewed, None for labels as the run had them. In the blocks of a
    terminal a line has its `rank`, and stands for the methods that are `equal` to it
    and for those that are `unscored` but decide alike.
    """

    classifier: str
    model: str
    strategy: str
    dataset: str
    task: str
    cells: tuple[Cell, ...]
    n: int
    n_failed: int
    n_pos: int | None = None
    calibrator: str | None = None
    ranked: bool = True
    run: str = ""
    slice: str | None = None
    review: Mapping[str, Any] | None = None
    source: str = ""
    rank: int | None = None
    equal: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()

    @property
    def counts(self) -> tuple[str, str]:
        """`n` and `n_failed` as shown: a dash for what a published line lacks."""
        if self.source:
            return (str(self.n) if self.n else "-", "-")
        return (str(self.n), str(self.n_failed))

    @property
    def method(self) -> str:
        """The strategy with its calibrator: ``strategy[+calibrator]``."""
        return "+".join(filter(None, (self.strategy, self.calibrator)))

    @property
    def section(self) -> str:
        """What numbers can be compared on: dataset and task, and a slice of it."""
        return f"{self.place} ({self.task})"

    @property
    def place(self) -> str:
        """The dataset, with the slice of it, or with its reviewed labels."""
        labels = "" if self.review is None else REVIEWED
        return ", ".join(filter(None, (self.dataset, self.slice, labels)))


class Explanation(str):
    """A footnote that says how a table is read, and takes nothing from a number.

    `topic` is what it is about: where there are many, a terminal counts them by it.
    """

    __slots__ = ("topic",)
    topic: str

    def __new__(cls, text: str, topic: str = "") -> Self:
        """Return the text of the note, with its topic."""
        note = super().__new__(cls, text)
        note.topic = topic
        return note


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Metrics as columns, with True where higher is better, and sorted lines.

    Lines of one section stand together; `sort` is the metric that orders them. `ci`
    tells whether intervals are shown. `prevalence` is the share of positives that all
    numbers are about, None for that of the data, `threshold` the score that all
    decisions are made at, None for that of each line's run. `blocks` show the same
    lines without repeating any, for terminals; `headers` are read in place of the
    metrics' names. `cell_notes`: notes on numbers are not among the footnotes.
    """

    metrics: tuple[str, ...]
    higher_is_better: tuple[bool | None, ...]
    lines: tuple[LeaderboardLine, ...]
    sort: str = ""
    title: str = ""
    footnotes: tuple[str, ...] = field(default=())
    ci: bool = False
    prevalence: float | None = None
    threshold: float | None = None
    blocks: tuple[Leaderboard, ...] = ()
    headers: tuple[str, ...] = ()
    cell_notes: bool = False

    @property
    def about(self) -> dict[str, float]:
        """What all numbers are about if not the data and decisions as in the run."""
        named = {"prevalence": self.prevalence, "threshold": self.threshold}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def sections(self) -> list[tuple[str, tuple[LeaderboardLine, ...]]]:
        """The lines by dataset and task, with that name."""
        by_section = groupby(self.lines, key=lambda line: line.section)
        return [(name, tuple(lines)) for name, lines in by_section]


DEFAULT_METRICS = (
    "auroc",
    "auprc",
    "f1",
    "precision",
    "recall",
    "fpr",
    "accuracy",
    "micro_f1",
)
# fields that all rows of a line share, with True where higher is better
_SHARED_COSTS: dict[str, bool] = {
    "seconds": False,
    "samples_per_second": True,
    "forward_passes": False,
    "tokens": False,
    "peak_memory_mib": False,
}
# what a column may be called beside a metric: costs, those of single samples included
COST_COLUMNS = _SHARED_COSTS | dict.fromkeys(LATENCY_METRICS, False)
# all costs in the order in which they are shown, under one name
ALL_COSTS = "costs"
COSTS_SHOWN = (
    "samples_per_second",
    *LATENCY_METRICS,
    "forward_passes",
    "tokens",
    "peak_memory_mib",
)
_ALIASES = {"prompts_per_second": "samples_per_second"}
# columns that are no metric and are always shown, by which lines can be sorted, too
NAME_COLUMNS = ("classifier", "model", "strategy")
COUNT_COLUMNS = ("n", "failed")
ONLY_IF_DEFINED = frozenset({"micro_f1"})  # shown only if some line has a number
MAX_COLUMNS = 8  # of metrics that nobody asked for


@dataclass(frozen=True, slots=True)
class CombinationRows:
    """The rows of one combination in one run, by metric."""

    rows: dict[str, Row]

    @property
    def head(self) -> Row:
        """Any of the rows: for what they share."""
        return next(iter(self.rows.values()))

    @property
    def section(self) -> tuple[Any, ...]:
        """Within this, numbers can be compared."""
        head = self.head
        reviewed = head.review is not None
        return (head.dataset, head.config, head.split, head.task, head.slice, reviewed)

    @property
    def n(self) -> int:
        """Samples with a known label: metrics of some of them have a smaller n."""
        return max(row.n for row in self.rows.values())

    def cell(self, name: str) -> Cell:
        """Return one metric's number, or a cost that the rows share."""
        row = self.rows.get(name)
        if row is not None:
            return _cell(row)
        if name in _SHARED_COSTS:
            return Cell(value=getattr(self.head, name), note=self._why_no_cost(name))
        if name in LATENCY_METRICS:
            return Cell(value=None, note=NOT_MEASURED)
        # of slices and gaps each line has some columns, by what it is
        sliced = self.head.slice is not None
        return Cell(value=None, note="" if sliced else "not in these results")

    def _why_no_cost(self, name: str) -> str:
        """Return why a cost is not known, "" if it is or another footnote says so."""
        if getattr(self.head, name) is not None or self.head.cost_shared_with:
            return ""
        if name == "samples_per_second" and self.head.seconds == 0:
            return "it takes no time that was measured"
        spoken = (part for part in self.head.note.split("; ") if "cost not" in part)
        return next(spoken, "not in these results")


def _cell(row: Row) -> Cell:
    return Cell(
        value=row.value,
        note=printable(row.note),
        n_scored=row.n_scored,
        bound_low=row.bound_low,
        bound_high=row.bound_high,
        ci_low=row.ci_low,
        ci_high=row.ci_high,
        ci_method=row.ci_method,
    )


@dataclass(frozen=True, slots=True)
class ColumnSelection:
    """The metrics shown and the one that sorts, with their directions."""

    metrics: tuple[str, ...]
    sort: str
    higher_is_better: Mapping[str, bool | None]


def choose_columns(
    rows: Sequence[Row],
    specs: Sequence[MetricSpec],
    metrics: Sequence[str] | None,
    sort: str | None,
) -> ColumnSelection:
    """Return the columns asked for, or the usual ones that the rows have.

    A cost that was recorded with the evidence is a column like a metric, if asked for.
    Raises UnknownNameError for a metric that neither the rows nor `specs` know.
    """
    higher_is_better: dict[str, bool | None] = dict(COST_COLUMNS)
    higher_is_better |= {spec.name: spec.higher_is_better for spec in specs}
    # rows come last: they say what was true of the metric when they were written
    higher_is_better |= {row.metric: row.higher_is_better for row in rows}
    names = [
        name
        for word in metrics or ()
        for name in (COSTS_SHOWN if word.strip().casefold() == ALL_COSTS else (word,))
    ]
    chosen = [_known_metric(name, {*higher_is_better, *_ALIASES}) for name in names]
    chosen = chosen or _default_metrics(rows)
    sort_by = _sort_column(sort, higher_is_better) if sort else _default_sort(chosen)
    if not metrics and sort_by in higher_is_better and sort_by not in chosen:
        chosen.append(sort_by)
    return ColumnSelection(tuple(dict.fromkeys(chosen)), sort_by, higher_is_better)


def _known_metric(name: str, known: Collection[str], what: str = "metric") -> str:
    by_folded_name = {metric.casefold(): metric for metric in known}
    metric = by_folded_name.get(name.strip().casefold())
    if metric is None:
        raise unknown_name(what, name.strip(), known)
    return _ALIASES.get(metric, metric)


def _sort_column(name: str, metrics: Collection[str]) -> str:
    """Return the metric, cost or other column of that name; a metric comes first."""
    columns = (*_ALIASES, *NAME_COLUMNS, *COUNT_COLUMNS, *metrics)
    return _known_metric(name, dict.fromkeys(columns), "column")


def _default_metrics(rows: Sequence[Row]) -> list[str]:
    """Return the usual columns that the rows have, or the first that they have."""
    present = dict.fromkeys(row.metric for row in rows)
    defined = {row.metric for row in rows if row.value is not None}
    usual = [
        name
        for name in DEFAULT_METRICS
        if name in present and (name in defined or name not in ONLY_IF_DEFINED)
    ]
    gaps = [gap_metric(name) for name in DEFAULT_METRICS]
    usual += [name for name in gaps if name in present]
    return usual or list(present)[:MAX_COLUMNS]


def _default_sort(chosen: Sequence[str]) -> str:
    return next((name for name in DEFAULT_METRICS if name in chosen), chosen[0])
