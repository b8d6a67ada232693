"""Gate: whether a run keeps its promises, rule by rule, by the safe end of intervals.

A rule bounds a metric (`Bound`), or says by how much it may be worse than that of a
baseline on the same samples (non-inferiority). What is not known does not pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from safebench.combination.changed_parts import changed_parts
from safebench.config_file import OptionFile
from safebench.errors import (
    DataError,
    OptionError,
    RunFolderError,
    SafebenchError,
    did_you_mean,
    unknown_name,
)
from safebench.metrics.compute import compute
from safebench.metrics.intervals import (
    can_compare,
    definition_of,
)
from safebench.results.comparison import compare, names_of_row
from safebench.results.outcomes import align, to_outcome
from safebench.results.prediction_reading import prediction_files, read_prediction_file
from safebench.results.rows import RESULTS_FILE, Row, read_rows
from safebench.results.run_files import CONFIG_FILE, MANIFEST_FILE, parse_manifest
from safebench.results.runs import RUNS_FOLDER, results_files, run_names
from safebench.results.selection import named_files
from safebench.statistics.interval import mid_p_interval

from .operating_point import read_point
from .rows_at_threshold import GivenThreshold, rows_at_threshold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from safebench.metrics import Outcome
    from safebench.results.prediction_reading import PredictionFile
    from safebench.specs import MetricSpec
    from safebench.statistics import Interval

    from .operating_point import OperatingPoint

MIN, MAX, NO_WORSE = "min", "max", "no_worse"
INTERVAL, VALUE = "interval", "value"  # what decides
DEFAULT_METRICS = ("recall", "fpr")  # compared with a baseline where no rule says more
# Metrics from 0 to 1, of which a bound of 5 is a slip for 5 %.
_FROM_0_TO_1 = frozenset(
    {"accuracy", "precision", "recall", "f1", "balanced_accuracy", "fpr", "fnr"}
    | {"auroc", "auprc", "tpr_at_fpr_0.01", "fpr_at_tpr_0.95", "pauroc_fpr_0.1"}
    | {"brier", "ece", "ece_mass", "mce", "aurc", "e_aurc", "error_auroc"}
)
# Shares of one class, whose number is the one to raise.
_SHARE_OF = {"recall": "positives", "fnr": "positives", "fpr": "negatives"}
_MAX_SAMPLES = 1e9  # more than that is no advice
# Stored numbers may be rounded once; another measurement differs by more.
_SAME = 1e-6
_VERIFIED_NEEDS = frozenset({"score", "probability", "decision"})


class Bound(NamedTuple):
    """A bound of a metric: `side` is ``min`` or ``max``.

    `where` names what it is about: classifiers, strategies or datasets, all of which
    must fit; empty for every cell of the run.
    """

    metric: str
    side: str
    value: float
    where: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The rule in signs: ``recall >= 0.9``."""
        return f"{self.metric} {'>=' if self.side == MIN else '<='} {self.value:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """What a gate asks for: rules, and what they are applied to.

    `by` is ``interval`` (the safe end of it decides) or ``value``. `max_failed` is the
    share of failed samples that is accepted. `baseline` names a run, or
    RUN/CLASSIFIER/STRATEGY, than which the metrics of the rules, or `metrics`, may be
    worse by `margin`. `of` and `datasets` select cells of the run.
    """

    bounds: tuple[Bound, ...] = ()
    baseline: str | None = None
    margin: float = 0.0
    metrics: tuple[str, ...] = ()
    by: str = INTERVAL
    of: str = ""
    datasets: tuple[str, ...] = ()
    max_failed: float = 0.0
    operating_point: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """One rule on one cell, classifier/strategy on a dataset: kept or not, and why.

    `value`, `low` and `high` are those of the metric, or for a baseline of its
    difference from it; None where not known. `needed` is how many samples (of `kind`)
    of the test part would show that the rule is kept if the value stays as it is, and
    `n` how many there are.
    """

    rule: str
    kind: str
    metric: str
    cell: str
    dataset: str
    bound: float
    value: float | None
    low: float | None
    high: float | None
    passed: bool
    reason: str
    needed: int | None = None
    n: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """All results of a gate, in order of the rules; `notes` are about the run."""

    run: str
    by: str
    results: tuple[RuleResult, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Tell whether every rule was kept everywhere."""
        return all(result.passed for result in self.results)


def parse_bound(text: str, side: str) -> Bound:
    """Return the rule ``METRIC[@WHERE...]=X``; raises OptionError for other texts."""
    option = f"--{side}"
    name, equals, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    metric, *where = (part.strip() for part in name.split("@"))
    if not equals or not metric or not all(where) or not math.isfinite(value):
        raise OptionError(
            f"{option} {text!r}: expected METRIC=NUMBER or METRIC@DATASET=NUMBER, as "
            "in recall=.9"
        )
    return Bound(metric.casefold(), side, value, tuple(where))


def check_request(request: GateRequest, specs: Mapping[str, MetricSpec]) -> None:
    """Raise a SafebenchError for rules that say nothing, or what cannot be meant."""
    if not request.bounds and request.baseline is None:
        raise OptionError(
            "which rules? say --min recall=.9, --max fpr=.05 or --baseline RUN"
        )
    if request.operating_point and request.baseline:
        raise OptionError(
            "--baseline compares runs at their own thresholds: leave out "
            "--operating-point"
        )
    if request.metrics and request.baseline is None:
        raise OptionError("--metrics says what to compare: name the --baseline")
    if not (math.isfinite(request.margin) and request.margin >= 0):
        raise OptionError(f"--margin {request.margin:g}: it is 0 or more")
    for bound in request.bounds:
        _check_bound(bound, specs)
    for name in request.metrics:
        if name not in specs:
            raise unknown_name("metric", name, specs)
    for metric in {bound.metric for bound in request.bounds}:
        both = [b for b in request.bounds if b.metric == metric and not b.where]
        lowest = max((b.value for b in both if b.side == MIN), default=-math.inf)
        highest = min((b.value for b in both if b.side == MAX), default=math.inf)
        if lowest > highest:
            raise OptionError(
                f"{metric}: nothing is at least {lowest:g} and at most {highest:g}"
            )


def _check_bound(bound: Bound, specs: Mapping[str, MetricSpec]) -> None:
    option = f"--{bound.side} {bound.metric}={bound.value:g}"
    if bound.metric not in specs:
        raise unknown_name("metric", bound.metric, specs)
    if bound.metric in _FROM_0_TO_1 and not 0 <= bound.value <= 1:
        percent = f", {bound.value / 100:g} for {bound.value:g} %"
        raise OptionError(
            f"{option}: {bound.metric} is from 0 to 1"
            + (percent if 1 < bound.value <= 100 else "")  # noqa: PLR2004 - per cent
        )
    higher = specs[bound.metric].higher_is_better
    if higher is not None and higher != (bound.side == MIN):
        better, other = ("higher", MIN) if higher else ("lower", MAX)
        raise OptionError(
            f"{option}: {bound.metric} is better where it is {better}: say --{other}"
        )


class _Cell(NamedTuple):
    """What is measured on what: its rows by metric, and its stored predictions."""

    label: str
    classifier: str
    method: str
    dataset: str
    rows: dict[str, list[Row]]
    file: PredictionFile | None

    @property
    def names(self) -> set[str]:
        """What rules may call it, in lower case."""
        known = {self.label, self.classifier, self.method, self.dataset}
        known.add(self.dataset.partition(":")[0])
        return {name.casefold() for name in known}


def run_gate(
    run: str | Path,
    request: GateRequest,
    specs: Mapping[str, MetricSpec],
    root: Path = RUNS_FOLDER,
) -> GateReport:
    """Apply rules to a run; `specs` are the installed metrics by name.

    Raises a SafebenchError for a mistake in the rules or names; whatever is wrong with
    a number fails the rules that rest on it.
    """
    check_request(request, specs)
    files = results_files([run], root)
    if len(files) > 1:
        names = ", ".join(file.parent.name for file in files[:5])
        raise RunFolderError(f"{run} holds {len(files)} runs: name one, {names}")
    folder = files[0].parent if files[0].name == RESULTS_FILE else files[0]
    rows, damage = _read_rows(files[0])
    if damage:
        return GateReport(
            run=str(run), by=request.by, results=_all_failed(request, damage)
        )
    cells = _select(_cells(rows, folder), request)
    unfinished, notes = _state_of(folder)
    old = {} if unfinished else changed_parts(folder)  # by label and dataset
    problems = _problems(cells, request, specs)
    if request.operating_point:
        point = read_point(request.operating_point)
        cells = _at_point(point, cells, specs, folder)
        notes.append(f"measured at the threshold of {request.operating_point}")
    _require_names(request.bounds, cells)
    results = []
    for bound in request.bounds:
        for cell in cells:
            if all(name.casefold() in cell.names for name in bound.where):
                key = cell.label, cell.dataset
                stale = problems.get(key, {}).get(bound.metric, "")
                reason = unfinished or old.get(key, stale)
                results.append(_check(bound, cell, request, reason))
    if request.baseline is not None:
        results += _against_baseline(
            cells, request, specs, unfinished=unfinished, old=old, root=root
        )
    return GateReport(
        run=str(run), by=request.by, results=tuple(results), notes=tuple(notes)
    )


def _read_rows(path: Path) -> tuple[list[Row], str]:
    """Return the rows of whole test parts, or why they cannot be used."""
    try:
        rows = read_rows(path)
    except DataError as error:
        return [], " ".join(error.message.split())
    whole = [row for row in rows if row.is_of_whole_test_part]
    return whole, "" if whole else f"{path} has no results of a test part"


def _all_failed(request: GateRequest, reason: str) -> tuple[RuleResult, ...]:
    """Return a failure for each rule: nothing of the run can be used."""
    bounds = [(b.text, b.side, b.metric, b.value) for b in request.bounds]
    if request.baseline is not None:
        metrics = _compared_metrics(request)
        bounds += [
            (_no_worse(name, request), NO_WORSE, name, request.margin)
            for name in metrics
        ]
    return tuple(
        RuleResult(
            rule=rule,
            kind=kind,
            metric=metric,
            cell="",
            dataset="",
            bound=bound,
            value=None,
            low=None,
            high=None,
            passed=False,
            reason=reason,
        )
        for rule, kind, metric, bound in bounds
    )


def _state_of(folder: Path) -> tuple[str, list[str]]:
    """Return why the results may be old ("" if they are not), and notes on the run."""
    try:
        status = parse_manifest(folder / MANIFEST_FILE).get("status")
    except FileNotFoundError:
        return "", ["no manifest: nobody knows whether the results were edited"]
    except ValueError as error:
        return f"the manifest of the run is damaged: {error}", []
    if status != "done":
        return (
            f"the last command of the run has not finished (status {status!r}), the "
            "results may be older: repeat it"
        ), []
    try:
        limit = OptionFile.read(folder / CONFIG_FILE).content.get("limit")
    except SafebenchError:  # only for a note
        limit = None
    if limit is None:
        return "", []
    return "", [f"a random part of each set was measured (--limit {limit})"]


def _cells(rows: Iterable[Row], folder: Path) -> list[_Cell]:
    """Return the cells of a run in the order of its results."""
    try:
        files = {(f.classifier, f.dataset, f.method): f for f in _files(folder)}
    except DataError:  # whoever reads the file is told what is wrong
        files = {}
    cells: dict[tuple[str, str], _Cell] = {}
    for row in rows:
        method = "+".join(filter(None, (row.strategy, row.calibrator)))
        dataset = ":".join(filter(None, (row.dataset, row.config, row.split)))
        label = f"{row.classifier}/{method}"
        file = files.get(names_of_row(row))
        cell = _Cell(label, row.classifier, method, dataset, {}, file)
        known = cells.setdefault((label, dataset), cell)
        known.rows.setdefault(row.metric, []).append(row)
    return list(cells.values())


def _files(folder: Path) -> list[PredictionFile]:
    try:
        return prediction_files(folder)
    except RunFolderError:
        return []


def _select(cells: list[_Cell], request: GateRequest) -> list[_Cell]:
    """Return the cells that `--of` and `-d` name, or refuse with the nearest name."""
    of = request.of.casefold()
    if of:
        # The whole label first: a strategy may be called as a classifier is.
        by_name = [
            [cell for cell in cells if getattr(cell, name).casefold() == of]
            for name in ("label", "method", "classifier")
        ]
        chosen = next(filter(None, by_name), None)
        if chosen is None:
            known = {n for c in cells for n in (c.label, c.method, c.classifier)}
            raise unknown_name("results --of", request.of, known)
        cells = chosen
    wanted = {name.casefold() for name in request.datasets}
    names = {n for c in cells for n in (c.dataset, c.dataset.partition(":")[0])}
    for name in request.datasets:
        if name.casefold() not in {known.casefold() for known in names}:
            raise unknown_name("dataset in this run", name, names)
    return [cell for cell in cells if not wanted or wanted & cell.names]


def _require_names(bounds: Sequence[Bound], cells: Sequence[_Cell]) -> None:
    """Raise for a rule that is about nothing of the run: it would pass in silence."""
    known = {n for c in cells for n in (c.label, c.classifier, c.method, c.dataset)}
    known |= {cell.dataset.partition(":")[0] for cell in cells}
    for bound in bounds:
        for name in bound.where:
            if name.casefold() not in {k.casefold() for k in known}:
                raise unknown_name(f"name after @ in --{bound.side}", name, known)
        wanted = {name.casefold() for name in bound.where}
        if not any(wanted <= cell.names for cell in cells):
            raise OptionError(
                f"--{bound.side} {bound.metric}@{'@'.join(bound.where)}: nothing in "
                "the run is all of that"
            )


def _problems(
    cells: Sequence[_Cell], request: GateRequest, specs: Mapping[str, MetricSpec]
) -> dict[tuple[str, str], dict[str, str]]:
    """Return by cell and metric why a row is not what its predictions say."""
    wanted = {bound.metric for bound in request.bounds}
    problems: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        if cell.file is None:
            continue
        try:
            outcome = to_outcome(read_prediction_file(cell.file.path))
        except SafebenchError as error:
            reason = " ".join(error.message.split())
            problems[cell.label, cell.dataset] = dict.fromkeys(wanted, reason)
            continue
        reasons = {
            name: reason
            for name in wanted & cell.rows.keys()
            if (reason := _stale(cell.rows[name][-1], specs[name], outcome))
        }
        problems[cell.label, cell.dataset] = reasons
    return problems


def _stale(row: Row, spec: MetricSpec, outcome: Outcome) -> str:
    """Return how a row differs from the predictions beside it, "" if it does not."""
    if row.n != outcome.n:
        return (
            f"the row counts {row.n} samples, the stored predictions {outcome.n}: it "
            "is of another command, run again"
        )
    if not spec.needs <= _VERIFIED_NEEDS or definition_of(spec) is None:
        return ""
    computed = [value for _, value in compute(outcome, [spec])]
    value = computed[0].value if computed else None
    if value is None or row.value is None or abs(value - row.value) <= _SAME:
        return ""
    return (
        f"the row says {row.value:.4g}, the stored predictions {value:.4g}: it is of "
        "another command, run again"
    )


def _at_point(
    point: OperatingPoint,
    cells: Sequence[_Cell],
    specs: Mapping[str, MetricSpec],
    folder: Path,
) -> list[_Cell]:
    """Return the cells of an operating point's score, measured at its threshold."""
    (name,) = run_names([folder])
    rows = [
        replace(row, run=name)
        for cell in cells
        for same in cell.rows.values()
        for row in same
    ]
    given = GivenThreshold(point.threshold, point)
    return _cells(
        rows_at_threshold(rows, [folder], given, list(specs.values())), folder
    )


def _check(bound: Bound, cell: _Cell, request: GateRequest, problem: str) -> RuleResult:
    """Apply one rule to one cell."""
    rows = cell.rows.get(bound.metric, [])
    row = rows[-1] if rows else None
    result = RuleResult(
        rule=bound.text,
        kind=bound.side,
        metric=bound.metric,
        cell=cell.label,
        dataset=cell.dataset,
        bound=bound.value,
        value=row.value if row else None,
        low=row.ci_low if row else None,
        high=row.ci_high if row else None,
        passed=False,
        reason="",
        note=_note_of(row) if row else "",
    )
    if row is None:
        hint = did_you_mean(bound.metric, cell.rows)
        return replace(result, reason=f"the results have no {bound.metric}{hint}")
    problem = problem or _unusable(row, len(rows), request)
    if problem:
        return replace(result, reason=problem)
    return _decide(result, bound, row, request.by)


def _unusable(row: Row, n_rows: int, request: GateRequest) -> str:
    """Return why a number cannot be relied on, "" if it can."""
    if n_rows > 1:
        return (
            f"{n_rows} rows of different models, options or evidence have this name: "
            "nobody knows which is meant; run into a folder of its own"
        )
    if row.value is None:
        return f"not known: {row.note or row.ci_method or 'no reason was stored'}"
    if row.contaminated:
        return "the guard's family was trained on this dataset (contaminated)"
    if row.saw_test_labels:
        return f"its threshold was chosen on the test labels ({row.threshold_from})"
    if row.n and row.n_failed / row.n > request.max_failed:
        return (
            f"{row.n_failed} of {row.n} samples failed, above --max-failed "
            f"{request.max_failed:g}: run again, or accept so many"
        )
    if request.by == INTERVAL and (row.ci_low is None or row.ci_high is None):
        why = (row.ci_method or "none: not stored").removeprefix("none: ")
        return f"no interval: {why}; --by value decides without one"
    return ""


def _note_of(row: Row) -> str:
    notes = []
    if row.pack_missing:
        notes.append(f"without {row.pack_missing} of its pack")
    if row.n_failed:
        notes.append(f"{row.n_failed} of {row.n} samples failed")
    return "; ".join(notes)


def _decide(result: RuleResult, bound: Bound, row: Row, by: str) -> RuleResult:
    """Decide by the safe end, and say what would let a failed rule pass."""
    assert row.value is not None
    floor = bound.side == MIN

    def keeps(number: float) -> bool:
        return number >= bound.value if floor else number <= bound.value

    end, name = (row.ci_low, "low") if floor else (row.ci_high, "high")
    decisive = row.value if by == VALUE else end
    assert decisive is not None
    if keeps(decisive):
        return replace(result, passed=True)
    side = "below" if floor else "above"
    if not keeps(row.value):
        return replace(
            result,
            reason=f"the value is {side} {bound.value:g}, more samples do not help: "
            f"{_advice(bound)}",
        )
    assert end is not None
    n, kind = _count(row, bound.metric)
    share = bound.metric in _SHARE_OF or bound.metric in {"accuracy", "precision"}
    needed = samples_needed(row.value, end, bound.value, n, share=share)
    more = f"no number of {kind} shows it: the value is the bound itself"
    if needed is not None:
        more = f"about {needed:,} {kind} would show it, here are {n:,}"
    return replace(
        result,
        reason=f"the {name} end of the interval is {side} {bound.value:g}; {more}",
        needed=needed,
        n=n,
    )


def _advice(bound: Bound) -> str:
    option = {"recall": "--min-recall", "fpr": "--max-fpr"}.get(bound.metric)
    if option is None:
        return "the guard has to change, or the bound"
    value = f"{bound.value:g}"
    return f"`safebench threshold RUN {option} {value}` chooses another threshold"


def _count(row: Row, metric: str) -> tuple[int, str]:
    """Return how many samples a value rests on, and what they are."""
    kind = _SHARE_OF.get(metric, "samples")
    counts = {"positives": row.n_pos, "negatives": row.n_neg}
    return counts.get(kind) or row.n_scored or row.n, kind


def samples_needed(
    value: float, end: float, bound: float, n: int, *, share: bool
) -> int | None:
    """Return how many samples move an end of an interval to the bound.

    The value is taken to stay; `n` is how many there are, `end` the end on the side of
    the bound. Ends of a `share` move as those of a mid-P interval, with as many
    independent samples as explain `end`; others with one over the root of n. None
    where no number is enough.
    """
    if value == bound or not n:
        return None
    if share and 0 <= value <= 1:
        place = 0 if end <= value else 1
        has, needs = (_mid_p_size(value, goal, place) for goal in (end, bound))
        if has is not None and needs is not None:
            return max(math.ceil(n * needs / has), n + 1)
    return max(math.ceil(n * ((value - end) / (value - bound)) ** 2), n + 1)


def _mid_p_size(value: float, goal: float, place: int) -> float | None:
    """Return for how many samples an end of the mid-P interval is `goal`."""
    low, high = 1.0, 2.0

    def beyond(size: float) -> bool:
        end = mid_p_interval(value * size, size)[place]
        return end < goal if place == 0 else end > goal

    while beyond(high):
        low, high = high, 2 * high
        if high > _MAX_SAMPLES:
            return None
    for _ in range(60):  # bisection to all digits of a float
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) else (low, middle)
    return high


def _compared_metrics(request: GateRequest) -> list[str]:
    named = request.metrics or tuple(bound.metric for bound in request.bounds)
    return list(dict.fromkeys(named or DEFAULT_METRICS))


def _no_worse(metric: str, request: GateRequest) -> str:
    return f"{metric} no worse than {request.baseline} by over {request.margin:g}"


def _against_baseline(
    cells: Sequence[_Cell],
    request: GateRequest,
    specs: Mapping[str, MetricSpec],
    *,
    unfinished: str,
    old: Mapping[tuple[str, str], str],
    root: Path,
) -> list[RuleResult]:
    """Compare every cell with that of the baseline, on the same samples."""
    assert request.baseline is not None
    baseline = named_files(request.baseline, (), root)
    metrics = [specs[name] for name in _compared_metrics(request)]
    results = []
    for cell in cells:
        differences: dict[str, tuple[Interval | None, str]] = {}
        other, reason = _counterpart(cell, baseline)
        note = ""
        if other is not None and cell.file is not None and not unfinished:
            differences, reason = _differences(other, cell.file, metrics)
            note = f"baseline: {other.label}" if other.label != cell.label else ""
        reason = unfinished or old.get((cell.label, cell.dataset), reason)
        for spec in metrics:
            rows = cell.rows.get(spec.name, [])
            problem = reason or (
                _unusable(rows[-1], len(rows), replace(request, by=VALUE))
                if rows
                else f"the results have no {spec.name}"
            )
            difference, why = differences.get(spec.name, (None, ""))
            result = RuleResult(
                rule=_no_worse(spec.name, request),
                kind=NO_WORSE,
                metric=spec.name,
                cell=cell.label,
                dataset=cell.dataset,
                bound=request.margin,
                value=difference.value if difference else None,
                low=difference.low if difference else None,
                high=difference.high if difference else None,
                passed=False,
                reason=problem or why,
                n=rows[-1].n if rows else None,
                note=note,
            )
            if not result.reason:
                result = _decide_difference(result, spec, request)
            results.append(result)
    return results


def _counterpart(
    cell: _Cell, baseline: Sequence[PredictionFile]
) -> tuple[PredictionFile | None, str]:
    """Return what a cell is compared with: its namesake, or the only one there is.

    Or why there is nothing.
    """
    if cell.file is None:
        return None, "no stored predictions to compare: run with them"
    same_set = [f for f in baseline if f.dataset == cell.file.dataset]
    matching = [f for f in same_set if f.label == cell.label] or (
        same_set if len(same_set) == 1 else []
    )
    if not matching:
        labels = ", ".join(f.label for f in same_set) or "nothing"
        return None, (
            f"the baseline has no {cell.label} on {cell.dataset} (there: {labels}); "
            "RUN/CLASSIFIER/STRATEGY names another"
        )
    if matching[0].path.resolve() == cell.file.path.resolve():
        return None, "the baseline is the run itself: name another one"
    return matching[0], ""


def _differences(
    baseline: PredictionFile, file: PredictionFile, metrics: Sequence[MetricSpec]
) -> tuple[dict[str, tuple[Interval | None, str]], str]:
    """Return by metric the difference from the baseline, or why there is none.

    And a reason that holds for all metrics, "" if there is none.
    """
    tested = [spec for spec in metrics if can_compare(spec)]
    try:
        problem = _other_samples(baseline, file)
        if problem:
            return {}, problem
        (comparison,) = compare([(baseline, file)], tested)
    except DataError as error:
        return {}, " ".join(error.message.split())
    lines = {line.metric: line for line in comparison.lines}
    differences: dict[str, tuple[Interval | None, str]] = {}
    for spec in metrics:
        line = lines.get(spec.name)
        if line is None:
            differences[spec.name] = None, f"{spec.name} has no paired test"
        else:
            why = _why_open(line.difference, line.note)
            differences[spec.name] = line.difference, why
    return differences, ""


def _why_open(difference: Interval | None, note: str) -> str:
    if difference is None or difference.value is None:
        return f"no difference: {note or 'undefined'}"
    return ""


def _other_samples(baseline: PredictionFile, file: PredictionFile) -> str:
    """Return how the samples of both differ, "" if they are the same."""
    a, b = (read_prediction_file(f.path) for f in (baseline, file))
    shared_a, shared_b, left_out = align(a, b)
    if left_out:
        return (
            f"{left_out} samples are in one of both runs alone: measure both on the "
            "same dataset, limit, seed and calibration fraction"
        )
    changed = sum(
        x != y for x, y in zip(shared_a.content, shared_b.content, strict=True)
    )
    if changed:
        return f"{changed} samples have another text in the baseline: run it again"
    return ""


def _decide_difference(
    result: RuleResult, spec: MetricSpec, request: GateRequest
) -> RuleResult:
    """Decide whether a difference from the baseline is not worse than the margin."""
    higher = spec.higher_is_better
    if higher is None:
        reason = f"nobody says whether a higher {spec.name} is better"
        return replace(result, reason=reason)
    assert result.value is not None
    sign = 1 if higher else -1
    end = result.low if higher else result.high
    if request.by == INTERVAL and end is None:
        reason = "no interval of the difference; --by value decides without one"
        return replace(result, reason=reason)
    decisive = result.value if request.by == VALUE else end
    assert decisive is not None
    if sign * decisive >= -request.margin:
        return replace(result, passed=True)
    if sign * result.value < -request.margin:
        reason = f"the value is worse by more than {request.margin:g}"
        return replace(result, reason=reason)
    assert end is not None
    limit, n = -sign * request.margin, result.n or 0
    needed = samples_needed(result.value, end, limit, n, share=False)
    more = "no number of samples shows it: the difference is the margin itself"
    if needed is not None:
        more = f"about {needed:,} samples would show it, here are {n:,}"
    reason = f"the {'low' if higher else 'high'} end is worse than {limit:+g}; {more}"
    return replace(result, reason=reason, needed=needed)
