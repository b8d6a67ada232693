"""The charts of a set of samples: ROC, precision-recall, risk-coverage, calibration.

What cannot be drawn is said in words: samples of one class, strategies without scores,
samples that failed, scores that are known within bounds only.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from safebench.analysis.calibration import reliability_diagram
from safebench.analysis.selective import risk_coverage, risk_coverage_curve
from safebench.analysis.uncertainty import decision_uncertainty
from safebench.metrics import metric_value
from safebench.number_format import format_number
from safebench.sanitize import sanitize

from .curves import (
    CandidateCurve,
    choice_notes,
    choose_curves,
    positions,
    pr_points,
    recall_on_grid,
    risk_on_grid,
    roc_points,
)
from .svg import MAX_SERIES, Axis, Chart, Guide, Series, draw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.analysis.calibration import ReliabilityDiagram
    from safebench.results import Row
    from safebench.typing import Array

    from .curves import ChartEntry, ChosenCurves, Curve

MAX_RELIABILITY = 3  # curves with intervals at every point
_UNIT = np.array([0.0, 1.0])
_MIN_DECISIONS = 10  # with fewer, an error rate jumps between 0 and 1
_MIN_SHARE = 0.02
_SAME_ERROR_RATE = 0.005  # range of error rates that one best curve can stand for
_VALUE_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartCard:
    """A chart with its title and notes; without an `svg`, `reason` says why."""

    kind: str
    title: str
    svg: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def html(self) -> str:
        """The chart as one element of a page; texts in it are escaped."""
        notes = "".join(f"<li>{_escaped(note)}</li>" for note in self.notes)
        return (
            f'<figure class="chart {self.kind}">'
            f"<figcaption>{_escaped(self.title)}</figcaption>"
            + (self.svg or f'<p class="words">{_escaped(self.reason)}</p>')
            + (f"<ul>{notes}</ul>" if notes else "")
            + "</figure>"
        )

    def __html__(self) -> str:
        """Return the same: templates that escape ask for it."""
        return self.html


def _escaped(text: str) -> str:
    return escape(sanitize(text), quote=False)


def set_charts(entries: Sequence[ChartEntry]) -> list[ChartCard]:
    """Return ROC, precision-recall, risk-coverage and reliability of one set.

    `entries` are predictions of one dataset and task; their samples may differ.
    """
    known: dict[str, int] = {}
    return [
        *_ranking_cards(entries, known),
        _risk_card(entries, known),
        _reliability_card(entries, known),
    ]


def _ranking_cards(
    entries: Sequence[ChartEntry], known: dict[str, int]
) -> tuple[ChartCard, ChartCard]:
    drawable = [entry for entry in entries if _has_two_classes(entry)]
    if not drawable:
        reason = _no_ranking(entries)
        return (
            ChartCard(kind="roc", title="ROC", reason=reason),
            ChartCard(kind="pr", title="Precision and recall", reason=reason),
        )
    aurocs = {id(entry): _auroc(entry) for entry in drawable}
    choice = choose_curves(
        [CandidateCurve(e, recall_on_grid(e), -aurocs[id(e)]) for e in drawable],
        MAX_SERIES,
    )
    styles = positions([c.entry.name for c in choice.curves], known, MAX_SERIES)
    notes = (*_omissions(entries, drawable), *choice_notes(choice))
    return _roc_card(choice, styles, notes), _pr_card(choice, styles)


def _has_two_classes(entry: ChartEntry) -> bool:
    return len(np.unique(entry.predictions.y[entry.scored])) > 1


def _auroc(entry: ChartEntry) -> float:
    scored = entry.scored
    ranks = np.unique(entry.predictions.score[scored], return_inverse=True)[1]
    return metric_value("auroc", entry.predictions.y[scored], ranks) or 0.0


def _no_ranking(entries: Sequence[ChartEntry]) -> str:
    """Return why nothing can be ranked."""
    if not any(entry.scored.any() for entry in entries):
        return "No strategy gives a score on this set, so there is nothing to rank."
    n, positive = _size(entries)
    if positive in (0, n):
        kind = "positive" if positive else "negative"
        return (
            f"All {n:,} samples are {kind}: a curve needs both classes. Recall or the "
            "false positive rate in the table is what this set can say."
        )
    return "The samples with a score are all of one class: a curve needs both."


def _size(entries: Sequence[ChartEntry]) -> tuple[int, int]:
    largest = max(entries, key=lambda entry: entry.predictions.n).predictions
    return largest.n, int(largest.y.sum())


def _roc_card(
    choice: ChosenCurves, styles: Sequence[int], notes: Sequence[str]
) -> ChartCard:
    series = []
    for curve, style in zip(choice.curves, styles, strict=True):
        fpr, tpr = roc_points(*_ranked(curve.entry))
        point = _operating_point(curve.entry)
        series.append(
            Series(
                name=curve.name,
                position=style,
                x=fpr,
                y=tpr,
                numbers=_with_interval(curve.entry, "auroc", -curve.order),
                marks=[point] if point else (),
                bars=_bars(curve.entry, "recall", point),
                flat_bars=_flat_bars(curve.entry, "fpr", point),
            )
        )
    chart = Chart(
        alt=_alt("ROC curves", "AUROC", series),
        x=Axis(label="false positive rate"),
        y=Axis(label="recall (true positive rate)"),
        series=series,
        guides=[Guide(x=_UNIT, y=_UNIT)],
    )
    told = ["AUROC [95 % interval]; dotted: chance"]
    if any(s.marks for s in series):
        told.append("marks: where decisions are made, with 95 % intervals")
    return ChartCard(kind="roc", title="ROC", svg=draw(chart), notes=(*told, *notes))


def _pr_card(choice: ChosenCurves, styles: Sequence[int]) -> ChartCard:
    series = []
    for curve, style in zip(choice.curves, styles, strict=True):
        recall, precision = pr_points(*_ranked(curve.entry))
        # from the left edge on: up to the first recall, precision is the first one
        recall = np.append(0.0, recall)
        precision = np.append(precision[0], precision)
        series.append(
            Series(
                name=curve.name,
                position=style,
                x=recall,
                y=precision,
                step="pre",
                numbers=_with_interval(curve.entry, "auprc", _auprc(curve.entry)),
                marks=_pr_point(curve.entry),
            )
        )
    first = choice.curves[0].entry.predictions
    prevalence = float(first.y.mean())
    chart = Chart(
        alt=_alt("Precision-recall curves", "AUPRC", series),
        x=Axis(label="recall"),
        y=Axis(label="precision"),
        series=series,
        guides=[Guide(x=_UNIT, y=np.full(2, prevalence))],
    )
    note = f"AUPRC [95 % interval]; dotted: {prevalence:.3f}, the share of positives"
    return ChartCard(
        kind="pr", title="Precision and recall", svg=draw(chart), notes=(note,)
    )


def _ranked(entry: ChartEntry) -> tuple[Array, Array]:
    return entry.predictions.y[entry.scored], entry.predictions.score[entry.scored]


def _auprc(entry: ChartEntry) -> float | None:
    y, score = _ranked(entry)
    return metric_value("auprc", y, np.unique(score, return_inverse=True)[1])


def _with_interval(entry: ChartEntry, metric: str, value: float | None) -> str:
    """Return the value, with the interval of the results where they say the same."""
    row = _row(entry, metric, value)
    text = format_number(value)
    if row is None or row.ci_low is None or row.ci_high is None:
        return text
    return f"{text} [{row.ci_low:.3f} {row.ci_high:.3f}]"


def _row(entry: ChartEntry, metric: str, value: float | None) -> Row | None:
    """Return a row of the results if it is about the very number that is drawn."""
    row = entry.rows.get(metric)
    if row is None or row.value is None or value is None:
        return None
    return row if abs(row.value - value) < _VALUE_TOLERANCE else None


def _flagged_rates(entry: ChartEntry) -> tuple[int, int, int, int] | None:
    """Return TP, FP, positives and negatives of scored samples with a decision."""
    predictions = entry.predictions
    kept = entry.scored & predictions.judged
    y, flagged = predictions.y[kept], predictions.decision[kept] == 1
    if not y.any() or y.all():
        return None
    return (
        int((flagged & y).sum()),
        int((flagged & ~y).sum()),
        int(y.sum()),
        int((~y).sum()),
    )


def _operating_point(entry: ChartEntry) -> tuple[float, float] | None:
    counts = _flagged_rates(entry)
    if counts is None:
        return None
    tp, fp, positives, negatives = counts
    return fp / negatives, tp / positives


def _pr_point(entry: ChartEntry) -> list[tuple[float, float]]:
    counts = _flagged_rates(entry)
    if counts is None or not counts[0] + counts[1]:
        return []
    tp, fp, positives, _ = counts
    return [(tp / positives, tp / (tp + fp))]


def _bars(
    entry: ChartEntry, metric: str, point: tuple[float, float] | None
) -> list[tuple[float, float, float]]:
    row = _row(entry, metric, point[1]) if point else None
    if row is None or point is None or row.ci_low is None or row.ci_high is None:
        return []
    return [(point[0], row.ci_low, row.ci_high)]


def _flat_bars(
    entry: ChartEntry, metric: str, point: tuple[float, float] | None
) -> list[tuple[float, float, float]]:
    row = _row(entry, metric, point[0]) if point else None
    if row is None or point is None or row.ci_low is None or row.ci_high is None:
        return []
    return [(row.ci_low, row.ci_high, point[1])]


def _alt(what: str, number: str, series: Sequence[Series]) -> str:
    listed = "; ".join(f"{s.name}: {number} {s.numbers}" for s in series)
    return f"{what}. {listed}"


def _omissions(
    entries: Sequence[ChartEntry], drawable: Sequence[ChartEntry]
) -> Iterator[str]:
    """Yield which strategies are missing, and what is missing in those drawn."""
    drawn = {id(entry) for entry in drawable}
    missing = [entry for entry in entries if id(entry) not in drawn]
    if missing:
        names = ", ".join(entry.name for entry in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""  # noqa: PLR2004
        yield f"without a score of both classes, so not here: {names}{more}"
    failed: dict[tuple[str, int, int], None] = {}
    for entry in drawable:
        n_failed = sum(error is not None for error in entry.predictions.errors)
        if n_failed:
            failed[entry.guard, n_failed, entry.predictions.n] = None
    for guard, n_failed, n in failed:
        yield f"{guard}: {n_failed} of {n} samples failed, and are in no curve"
    yield from _bounded(drawable)


def _bounded(entries: Sequence[ChartEntry]) -> Iterator[str]:
    """Yield whose scores are known within bounds only."""
    for entry in entries:
        predictions = entry.predictions
        width = predictions.upper - predictions.lower
        wide = width[np.isfinite(width) & (width > 0)]
        if not len(wide) or float(wide.max()) < 0.5e-3:  # noqa: PLR2004 - not seen
            continue
        row = entry.rows.get("auroc")
        ends = ""
        if row is not None and row.bound_low is not None and row.bound_high is not None:
            ends = (
                f"; AUROC {row.bound_low:.3f} to {row.bound_high:.3f}, wherever "
                "they are"
            )
        yield (
            f"{entry.name}: {len(wide)} scores are known within bounds, "
            f"{float(wide.max()):.3f} wide at most{ends}"
        )


def _risk_card(entries: Sequence[ChartEntry], known: dict[str, int]) -> ChartCard:
    title = "Risk and coverage"
    candidates, of_score = [], set()
    for entry in entries:
        uncertainty = decision_uncertainty(entry.predictions)
        if uncertainty is None:
            continue
        wrong = entry.predictions.wrong[uncertainty.rows]
        coverage, risk = risk_coverage(wrong, uncertainty.values)
        if not uncertainty.from_strategy:
            of_score.add(entry.name)
        values = risk_on_grid(coverage, risk)
        candidates.append(CandidateCurve(entry, values, float(risk.mean())))
    if not candidates:
        reason = (
            "No strategy is more sure of one decision than of another: none gives an "
            "uncertainty, or a score with a threshold to be close to."
        )
        return ChartCard(kind="risk", title=title, reason=reason)
    choice = choose_curves(candidates, MAX_SERIES)
    styles = positions([c.entry.name for c in choice.curves], known, MAX_SERIES)
    drawn = list(zip(choice.curves, styles, strict=True))
    series = [
        _risk_series(curve, style, intervals=place == 0)
        for place, (curve, style) in enumerate(drawn)
    ]
    highest = max(float(s.y.max()) for s in series)
    bars = max((high for s in series for _, _, high in s.bars), default=0.0)
    chart = Chart(
        alt=_alt("Risk-coverage curves", "AURC", series),
        x=Axis(label="coverage: share of decisions kept, most certain first"),
        y=Axis(label="risk: share that is wrong", high=max(highest, bars) * 1.1 or 0.1),
        series=series,
        guides=list(_risk_guides(series)),
    )
    notes = ["AURC, the mean risk; bars: 95 % intervals of the first"]
    derived = [c.entry.name for c in choice.curves if c.entry.name in of_score]
    if derived:
        notes.append(
            f"{', '.join(derived)}: uncertainty is the closeness of the score to the "
            "threshold"
        )
    return ChartCard(
        kind="risk",
        title=title,
        svg=draw(chart),
        notes=(*notes, *choice_notes(choice)),
    )


def _risk_series(curve: Curve, style: int, *, intervals: bool) -> Series:
    """Return a curve without its first few decisions, whose error rate jumps."""
    predictions = curve.entry.predictions
    uncertainty = decision_uncertainty(predictions)
    assert uncertainty is not None, curve.name
    rows = uncertainty.rows
    coverage, risk = risk_coverage(predictions.wrong[rows], uncertainty.values)
    first = min(max(_MIN_DECISIONS, int(_MIN_SHARE * len(risk))), len(risk)) - 1
    bars = []
    if intervals:
        groups = predictions.groups
        whole = risk_coverage_curve(
            predictions.y[rows],
            predictions.decision[rows].astype(bool),
            uncertainty.values,
            groups.select(rows),
        )
        bars = [
            (point.coverage, 1 - point.high, 1 - point.low)
            for point in whole.points
            if point.low is not None and point.high is not None
        ]
    return Series(
        name=curve.name,
        position=style,
        x=coverage[first:],
        y=risk[first:],
        numbers=format_number(curve.order),
        marks=[(float(coverage[-1]), float(risk[-1]))],
        bars=bars,
    )


def _risk_guides(series: Sequence[Series]) -> Iterator[Guide]:
    """Yield the curve of the best possible uncertainty, where one stands for all."""
    rates = [float(s.y[-1]) for s in series]
    if max(rates) - min(rates) >= _SAME_ERROR_RATE:
        return
    coverage = np.linspace(0.005, 1, 200)
    best = np.maximum(coverage - (1 - rates[0]), 0) / coverage
    yield Guide(x=coverage, y=best, name="best possible")


def _reliability_card(
    entries: Sequence[ChartEntry], known: dict[str, int]
) -> ChartCard:
    title = "Calibration"
    claiming = [e for e in entries if e.predictions.probability and e.scored.any()]
    if not claiming:
        scores = any(entry.scored.any() for entry in entries)
        reason = (
            "No score claims to be a probability, so none can be calibrated or not: "
            "`safebench calibrate` makes probabilities of scores."
            if scores
            else "No strategy gives a score on this set."
        )
        return ChartCard(kind="reliability", title=title, reason=reason)
    choice = choose_curves(
        [CandidateCurve(e, *_sorted_scores(e)) for e in claiming], MAX_RELIABILITY
    )
    styles = positions([c.entry.name for c in choice.curves], known, MAX_SERIES)
    series, notes = [], []
    for curve, style in zip(choice.curves, styles, strict=True):
        diagram = _diagram(curve.entry)
        series.append(_reliability_series(curve, style, diagram))
        notes.append(
            f"{curve.entry.name}: a calibrated score would show an ECE of "
            f"{diagram.null_mean:.3f} on average, above {diagram.null_p95:.3f} in 5 % "
            "of cases"
            + (f"; {diagram.clipped} outside of 0 to 1" if diagram.clipped else "")
        )
    chart = Chart(
        alt=_alt("Reliability diagrams", "ECE", series),
        x=Axis(label="probability that the guard gives"),
        y=Axis(label="share that is positive"),
        series=series,
        guides=[Guide(x=_UNIT, y=_UNIT)],
    )
    told = "ECE; bars: 95 % intervals; dotted: calibrated"
    return ChartCard(
        kind="reliability",
        title=title,
        svg=draw(chart),
        notes=(told, *notes, *choice_notes(choice)),
    )


def _sorted_scores(entry: ChartEntry) -> tuple[Array, float]:
    """Return quantiles of the score by class, to compare by, and its Brier score."""
    y, score = _ranked(entry)
    shares = np.linspace(0, 1, 51)
    parts = [np.quantile(score[y == kind], shares) for kind in np.unique(y)]
    p = score.clip(0, 1)
    return np.concatenate(parts), float(((p - y) ** 2).mean())


def _diagram(entry: ChartEntry) -> ReliabilityDiagram:
    groups = entry.predictions.groups.select(np.flatnonzero(entry.scored))
    return reliability_diagram(*_ranked(entry), groups)


def _reliability_series(
    curve: Curve, style: int, diagram: ReliabilityDiagram
) -> Series:
    filled = diagram.count > 0
    x, y = diagram.mean_predicted[filled], diagram.fraction_positive[filled]
    low, high = diagram.low[filled], diagram.high[filled]
    return Series(
        name=curve.name,
        position=style,
        x=x,
        y=y,
        numbers=f"{diagram.ece:.3f}",
        marks=list(zip(x.tolist(), y.tolist(), strict=True)),
        bars=[
            (a, float(b), float(c))
            for a, b, c in zip(x.tolist(), low, high, strict=True)
            if np.isfinite(b) and np.isfinite(c)
        ],
    )
