"""Quality against cost: which cells of a table no other one beats in both.

Only cells that were measured on the same samples are compared, and times only if they
are of the same kind of device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, OptionError, RunFolderError, SafebenchError
from safebench.metrics.intervals import can_compare

from .comparison import ALPHA, compare, files_by_row, names_of_row
from .latency import NOT_MEASURED
from .rows import LATENCY_METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.specs import MetricSpec
    from safebench.statistics import Interval

    from .prediction_reading import PredictionFile
    from .rows import Row

# what a cost is in a row, whether less is better, and whether it is that of a device
COSTS = {
    "seconds": ("seconds a sample", True, True),
    "forward_passes": ("forward passes a sample", True, False),
    "tokens": ("tokens a sample", True, False),
    "prompts_per_second": ("prompts per second", False, True),
    "latency_p50": ("median latency, s", True, True),
    "latency_p95": ("p95 latency, s", True, True),
}
NOT_TESTED = "not tested: no predictions of both"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoCell:
    """One cell: what it is worth and what it costs.

    `dominated_by` names the best of those that cost no more and are worth no less, one
    of both strictly; None: it is on the front. `difference` is how much better that
    one is (its interval by groups), `holm` the p-value adjusted for all cells,
    `significant` whether the difference in quality is; None where nothing was tested,
    and `note` says why. Only a latency has `cost_low` and `cost_high`.
    """

    run: str
    classifier: str
    method: str
    value: float
    ci_low: float | None
    ci_high: float | None
    cost: float
    cost_low: float | None = None
    cost_high: float | None = None
    dominated_by: str | None = None
    difference: Interval | None = None
    holm: float | None = None
    significant: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoFront:
    """Cells measured on the same samples, cheapest first; `device` of times alone."""

    dataset: str
    task: str
    n: int
    n_pos: int | None
    device: str | None
    cells: tuple[ParetoCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pareto:
    """Fronts by dataset, and the cells that are on none with the reason of each."""

    metric: str
    higher_is_better: bool
    cost: str
    fronts: tuple[ParetoFront, ...]
    left_out: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]


def pareto(
    rows: Sequence[Row], folders: Sequence[Path], spec: MetricSpec, cost: str
) -> Pareto:
    """Compare cells by a metric and a cost of `COSTS`.

    Raises OptionError for a metric without a direction, RunFolderError if no cell has
    the metric.
    """
    if spec.higher_is_better is None:
        raise OptionError(f"{spec.name} has no better or worse: no front")
    costs = _Costs(rows, cost)
    chosen = [
        row for row in rows if row.metric == spec.name and row.is_of_whole_test_part
    ]
    if not chosen:
        raise RunFolderError(f"no result of {spec.name} on a whole test part")
    known: dict[tuple[Any, ...], list[Row]] = {}
    left_out: list[tuple[str, str, str]] = []
    seen = set()
    for row in chosen:
        key = (row.combination, row.value, costs.of(row), row.n)
        if key in seen:  # a run that was copied says nothing new
            continue
        seen.add(key)
        if reason := _why_left_out(row, costs):
            left_out.append((_label(row), dataset_of(row), reason))
        else:
            known.setdefault(_samples(row, cost), []).append(row)
    files = files_by_row(folders)
    fronts: list[ParetoFront] = []
    pairs = []
    for members in known.values():
        front, dominated = _front(members, spec, costs)
        pairs += [
            (len(fronts), place, files.get(_key(a)), files.get(_key(b)))
            for place, a, b in dominated
        ]
        fronts.append(front)
    fronts = _with_tests(fronts, pairs, spec)
    return Pareto(
        metric=spec.name,
        higher_is_better=spec.higher_is_better,
        cost=cost,
        fronts=tuple(sorted(fronts, key=lambda front: front.dataset)),
        left_out=tuple(left_out),
        notes=tuple(_notes(known, fronts, cost)),
    )


class _Costs:
    """The cost of one sample of each cell: in its rows, or a row of its own."""

    def __init__(self, rows: Sequence[Row], name: str) -> None:
        self.name = name
        self._latency = {
            (row.run, row.combination): row
            for row in rows
            if row.metric == name and row.is_of_whole_test_part
        }

    @property
    def is_latency(self) -> bool:
        """Tell whether it was measured apart, of single samples."""
        return self.name in LATENCY_METRICS

    def latency(self, row: Row) -> Row | None:
        """Return the row of a cell's latency."""
        return self._latency.get((row.run, row.combination))

    def of(self, row: Row) -> float | None:
        """Return the cost of one sample; a row has that of all."""
        if self.is_latency:
            measured = self.latency(row)
            return None if measured is None else measured.value
        if self.name == "prompts_per_second":
            return row.samples_per_second
        total = getattr(row, self.name)
        return None if total is None or not row.n else total / row.n


def _why_left_out(row: Row, costs: _Costs) -> str:
    if row.value is None:
        return row.note or "the metric is not known"
    if row.saw_test_labels:
        return "its threshold was chosen on the test labels"
    if costs.is_latency:
        measured = costs.latency(row)
        why = NOT_MEASURED if measured is None else measured.note
        return "" if costs.of(row) is not None else why
    cost = costs.name
    if row.cost_shared_with:
        return f"its evidence was recorded, and paid, with {row.cost_shared_with}"
    if costs.of(row) is None:
        spoken = next(
            (part for part in row.note.split("; ") if part.startswith("cost not")), ""
        )
        if cost == "prompts_per_second" and row.seconds == 0:
            return "it takes no time that was measured"
        return spoken or f"no {cost} in its results"
    return ""


def _samples(row: Row, cost: str) -> tuple[Any, ...]:
    """Return what two rows must share to be compared.

    Combinations of runs with other samples know no hash: their numbers tell.
    """
    device = (row.device, row.latency_mode) if COSTS[cost][2] else ()
    return (dataset_of(row), row.task, row.n, row.n_pos, row.split_hash, *device)


def _label(row: Row) -> str:
    method = "+".join(filter(None, (row.strategy, row.calibrator)))
    return f"{row.classifier}/{method}"


def is_about(row: Row, name: str) -> bool:
    """Tell whether a dataset is named: as tables do, or without config and split."""
    return name.casefold() in {row.dataset.casefold(), dataset_of(row).casefold()}


def dataset_of(row: Row) -> str:
    """Return the dataset of a row as tables call it: ``name[:config]:split``."""
    return ":".join(filter(None, (row.dataset, row.config, row.split)))


def _key(row: Row) -> tuple[str, ...]:
    return (row.run, *names_of_row(row))


def _front(
    rows: Sequence[Row], spec: MetricSpec, costs: _Costs
) -> tuple[ParetoFront, list[tuple[int, Row, Row]]]:
    """Return the cells of one set of samples, and of the dominated ones by which."""
    cost = costs.name
    cheap = 1 if COSTS[cost][1] else -1
    good = 1 if spec.higher_is_better else -1

    def place(row: Row) -> tuple[float, float]:
        price = costs.of(row)
        assert price is not None
        assert row.value is not None
        return cheap * price, -good * row.value

    ordered = sorted(rows, key=place)
    several = len({_label(row) for row in rows}) < len(rows)
    cells, dominated = [], []
    for position, row in enumerate(ordered):
        price, loss = place(row)
        better = [
            other
            for other in ordered
            if place(other) != (price, loss)
            and place(other)[0] <= price
            and place(other)[1] <= loss
        ]
        best = min(better, key=lambda other: place(other)[::-1], default=None)
        if best is not None:
            dominated.append((position, row, best))
        measured = costs.latency(row)
        cells.append(
            ParetoCell(
                run=row.run,
                classifier=row.classifier,
                method=_label(row).removeprefix(f"{row.classifier}/"),
                value=row.value or 0.0,
                ci_low=row.ci_low,
                ci_high=row.ci_high,
                cost=costs.of(row) or 0.0,
                cost_low=None if measured is None else measured.ci_low,
                cost_high=None if measured is None else measured.ci_high,
                dominated_by=(
                    None if best is None else f"{best.run}/" * several + _label(best)
                ),
                note="" if best is None else NOT_TESTED,
            )
        )
    head = ordered[0]
    front = ParetoFront(
        dataset=dataset_of(head),
        task=head.task,
        n=head.n,
        n_pos=head.n_pos,
        device=head.device if COSTS[cost][2] else None,
        cells=tuple(cells),
    )
    return front, dominated


def _with_tests(
    fronts: list[ParetoFront],
    pairs: Sequence[tuple[int, int, PredictionFile | None, PredictionFile | None]],
    spec: MetricSpec,
) -> list[ParetoFront]:
    """Add paired tests of dominated cells, adjusted for their number (Holm)."""
    if not can_compare(spec):
        why = f"{spec.name} has no paired test"
        return [_replace_notes(front, why) for front in fronts]
    tested = [
        (front, place, a, b)
        for front, place, a, b in pairs
        if a is not None and b is not None and a.path != b.path
    ]
    try:
        comparisons = compare([(a, b) for _, _, a, b in tested], [spec])
    except DataError:
        raise
    except SafebenchError as error:
        return [_replace_notes(front, error.message) for front in fronts]
    for (number, place, _, _), comparison in zip(tested, comparisons, strict=True):
        line = comparison.lines[0]
        cells = list(fronts[number].cells)
        cells[place] = replace(
            cells[place],
            difference=line.difference,
            holm=line.holm,
            significant=None if line.holm is None else line.holm < ALPHA,
            note=line.note,
        )
        fronts[number] = replace(fronts[number], cells=tuple(cells))
    return fronts


def _replace_notes(front: ParetoFront, note: str) -> ParetoFront:
    cells = (replace(c, note=note if c.dominated_by else "") for c in front.cells)
    return replace(front, cells=tuple(cells))


def _notes(
    known: dict[tuple[Any, ...], list[Row]], fronts: Sequence[ParetoFront], cost: str
) -> list[str]:
    """Say what was not compared, and what the costs leave out."""
    notes = []
    names = [(front.dataset, front.task) for front in fronts]
    for name, task in dict.fromkeys(names):
        if names.count((name, task)) > 1:
            what = "samples or devices" if COSTS[cost][2] else "samples"
            notes.append(
                f"{name} ({task}) has {names.count((name, task))} tables: cells of "
                f"other {what} are not compared"
            )
    shared = any(
        len({row.evidence_key for row in rows}) < len(rows) for rows in known.values()
    )
    if shared:
        notes.append(
            "strategies that read one recording cost the same: each would cost no more "
            "alone"
        )
    if cost in LATENCY_METRICS:
        notes.append("latency is of samples one at a time, from text to evidence")
    elif COSTS[cost][2]:
        notes.append("times are of one run each, and have no interval")
    return notes
