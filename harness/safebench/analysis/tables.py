"""Tables of a run's analysis, as text: what terminal, Markdown and HTML draw.

`analysis_tables` yields them in the order of reading: the overview, comparisons of
uncertainties, each combination in full, then ensembles and agreements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.number_format import (
    format_interval,
    format_metric,
    format_number,
    format_percent,
    format_whole_percent,
)
from safebench.sanitize import sanitize
from safebench.statistics.bootstrap import MIN_GROUPS

from .ensemble_tables import agreement_tables, ensemble_tables
from .set_overview import set_overviews
from .text_table import TEXT_LIMIT, TextTable, sparkline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from safebench.metrics import MetricValue

    from .calibration import ReliabilityDiagram
    from .hard_examples import HardExample
    from .run_analysis import CombinationAnalysis, RunAnalysis
    from .selective import RiskCoverageCurve
    from .slice_gaps import SliceGap
    from .slices import SliceTable
    from .uncertainty import (
        Distribution,
        ErrorDetection,
        StrategyResult,
        UncertaintyComparison,
    )

MAX_PAIRS = 10  # pairs of raters that a table lists
# headings of the columns that tell combinations apart, and what stands in them
_AXES = {"classifier": "classifier", "strategy": "method", "dataset": "dataset"}
NO_INTERVAL = f"no interval: fewer than {MIN_GROUPS} groups of prompts"
SMALLEST_P = 0.001
GAP_NOTE = (
    "gap: largest minus smallest slice; by chance: the mean gap of slices that are "
    "alike; p by permutation of groups, Holm over all lines; ends hold for all pairs "
    "of slices at once, those of the worst slice for all slices"
)


def analysis_tables(
    analysis: RunAnalysis,
    *,
    unicode: bool = True,
    top: int = MAX_PAIRS,
    full: bool = True,
) -> Iterator[TextTable]:
    """Yield all tables of an analysis; `top` bounds lists of pairs and slices.

    Unless `full`, many combinations are shown as a table a set, without the rest.
    """
    detailed = analysis.detailed and (full or analysis.fits_screen)
    if full or detailed:
        yield overview_table(analysis)
        yield from map(uncertainty_comparison_table, analysis.uncertainty_comparisons)
    else:
        yield from set_overviews(analysis)
    if detailed:
        for combination in analysis.combinations:
            yield from combination_tables(
                combination, analysis.metrics, unicode=unicode
            )
    for members in analysis.ensembles:
        # one ensemble has few samples to list, whatever the number of strategies
        with_samples = detailed or len(analysis.ensembles) == 1
        yield from ensemble_tables(members, top, with_samples=with_samples)
    for agreement in analysis.agreements:
        yield from agreement_tables(agreement, top)


def overview_table(analysis: RunAnalysis) -> TextTable:
    """Return one line of numbers for each combination."""
    axes, shared = _varying_axes(analysis)
    part = "" if analysis.part == "all" else f"{analysis.part} part"
    title = [sanitize(analysis.run), part, *shared]
    return TextTable(
        title=", ".join(filter(None, title)),
        headers=(
            *axes, "n", "accuracy", "error AUROC", "95 %", "AURC", "acc. at 80 %",
            "E-AURC", "ECE",
        ),
        rows=tuple(
            (
                *(_axis_value(combination, axis) for axis in axes),
                *_combination_numbers(combination),
            )
            for combination in analysis.combinations
        ),
        text_columns=len(axes),
        # Accuracy is the same for all uncertainties about the same decisions.
        expendable=("ECE", "E-AURC", "acc. at 80 %", "n", "accuracy"),
        notes=tuple(_overview_notes(analysis)),
        level=1,
    )  # fmt: skip


def _varying_axes(analysis: RunAnalysis) -> tuple[tuple[str, ...], list[str]]:
    """Return the axes in which combinations differ, and the values that all share."""
    values_of = {
        axis: {str(getattr(c.predictions, name)) for c in analysis.combinations}
        for axis, name in _AXES.items()
    }
    varying = tuple(axis for axis, values in values_of.items() if len(values) > 1)
    # A run of one combination still has a column to name it by.
    axes = varying or ("strategy",)
    shared = [sanitize(v) for axis, (v, *_) in values_of.items() if axis not in axes]
    return axes, shared


def _axis_value(combination: CombinationAnalysis, axis: str) -> str:
    derived = (
        combination.uncertainty is not None
        and not combination.uncertainty.from_strategy
    )
    # Explained below the table: it is not what the strategy says of itself.
    mark = "*" if derived and axis == "strategy" else ""
    return sanitize(str(getattr(combination.predictions, _AXES[axis]))) + mark


def _combination_numbers(combination: CombinationAnalysis) -> tuple[str, ...]:
    detection, curve = combination.error_detection, combination.risk_coverage
    reliability = combination.reliability
    accuracy_at = {p.coverage: p.accuracy for p in curve.points} if curve else {}
    return (
        str(combination.predictions.n),
        format_number(combination.accuracy),
        format_number(detection.auroc if detection else None),
        format_interval(detection.low, detection.high) if detection else "",
        format_number(curve.aurc if curve else None, 4),
        format_number(accuracy_at.get(0.8)),
        format_number(curve.e_aurc if curve else None, 4),
        format_number(reliability.ece if reliability else None),
    )


def _overview_notes(analysis: RunAnalysis) -> Iterator[str]:
    yield from map(sanitize, analysis.notes)
    uncertainties = [combination.uncertainty for combination in analysis.combinations]
    if any(
        uncertainty is not None and not uncertainty.from_strategy
        for uncertainty in uncertainties
    ):
        yield (
            "* uncertainty is the closeness of the score to the threshold, as the "
            "strategy gives none of its own"
        )
    yield (
        "error AUROC: chance that a wrong decision is less certain than a right one "
        "(0.5: uncertainty says nothing); its interval is clustered by group"
    )
    yield (
        "AURC: mean error rate over all shares kept; E-AURC: AURC above the best "
        "possible; lower is better"
    )


def uncertainty_comparison_table(comparison: UncertaintyComparison) -> TextTable:
    """Return strategies that decide alike by how well they find errors, best first."""
    return TextTable(
        title=f"Which uncertainty finds the {comparison.n_errors} errors of "
        f"{sanitize(comparison.classifier)} on {sanitize(comparison.dataset)}",
        headers=("strategy", "error AUROC", "to best", "95 %", "worse?"),
        rows=tuple(_strategy_result_row(result) for result in comparison.results),
        notes=(f"paired over the same {comparison.n} decisions, clustered by group",),
    )


def _strategy_result_row(result: StrategyResult) -> tuple[str, ...]:
    name = sanitize(result.strategy) + ("" if result.from_strategy else "*")
    auroc = format_number(result.auroc)
    if result.low is None or result.high is None:
        return name, auroc, "", "", ""
    if result.low == result.high == 0:  # not an accident: one is monotone in the other
        return name, auroc, format_number(0.0), "", "same order"

    return (
        name,
        auroc,
        format_number(result.difference),
        format_interval(result.low, result.high),
        "yes" if result.high < 0 else "not significant",
    )


def combination_tables(
    combination: CombinationAnalysis, metrics: Sequence[str], *, unicode: bool = True
) -> Iterator[TextTable]:
    """Yield what there is to say of one combination, its name and size first."""
    predictions = combination.predictions
    yield TextTable(
        title=sanitize(predictions.name),
        notes=(
            f"{predictions.n} samples, {int(predictions.y.sum())} positive",
            *combination.notes,
        ),
        level=1,
    )
    if combination.error_detection is not None:
        yield _error_detection_table(combination.error_detection, unicode=unicode)
    if combination.risk_coverage is not None:
        yield _coverage_table(combination.risk_coverage)
    if combination.reliability is not None:
        yield _reliability_table(combination.reliability)
    # Columns without slices share one note: a table each would bury the others.
    known = [table for table in combination.slices if table.slices]
    for table in known:
        yield _slice_table(table, metrics)
    if combination.gaps:
        yield gap_table(combination.gaps)
    if len(known) < len(combination.slices):
        yield _missing_slices_table(
            [table for table in combination.slices if not table.slices]
        )
    if combination.least_certain:
        yield _example_table("Least certain decisions", combination.least_certain)
    if combination.high_confidence_errors:
        yield _example_table(
            "High-confidence errors", combination.high_confidence_errors
        )


def _error_detection_table(detection: ErrorDetection, *, unicode: bool) -> TextTable:
    interval = format_interval(detection.low, detection.high)
    auroc = f"error AUROC {format_number(detection.auroc)} {interval}".strip()
    low, high = format_number(detection.edges[0]), format_number(detection.edges[-1])
    return TextTable(
        title="Uncertainty of right and wrong decisions",
        headers=("decisions", f"from {low} to {high}", "n", "25 %", "median", "75 %"),
        rows=(
            _distribution_row("right", detection.right, unicode=unicode),
            _distribution_row("wrong", detection.wrong, unicode=unicode),
        ),
        text_columns=2,
        notes=(detection.note or auroc,),
    )


def _distribution_row(
    name: str, distribution: Distribution, *, unicode: bool
) -> tuple[str, ...]:
    return (
        name,
        sparkline(distribution.counts, unicode=unicode),
        str(distribution.n),
        *(format_number(q, 4) for q in distribution.quartiles or (None, None, None)),
    )


def _coverage_table(curve: RiskCoverageCurve) -> TextTable:
    rows = tuple(
        (
            format_whole_percent(point.coverage),
            str(point.n_kept),
            format_number(point.accuracy),
            format_interval(point.low, point.high),
            format_number(point.f1),
        )
        for point in curve.points
    )
    at_risk = ", ".join(
        f"at most {format_whole_percent(risk)} wrong: {format_percent(coverage)} kept"
        for risk, coverage in curve.coverage_at_risk.items()
    )
    areas = (
        f"AURC {format_number(curve.aurc, 4)}, "
        f"best possible {format_number(curve.optimal_aurc, 4)}, "
        f"E-AURC {format_number(curve.e_aurc, 4)}, "
        f"AUGRC {format_number(curve.augrc, 4)}"
    )
    missing = [NO_INTERVAL] if any(p.low is None for p in curve.points) else []
    return TextTable(
        title="Accuracy against the share kept, most certain first",
        headers=("kept", "n", "accuracy", "95 %", "F1"),
        rows=rows,
        notes=(areas, at_risk, *missing),
    )


def _reliability_table(diagram: ReliabilityDiagram) -> TextTable:
    n_bins = len(diagram.count)
    rows = tuple(
        (
            f"{i / n_bins:.2f} to {(i + 1) / n_bins:.2f}",
            str(diagram.count[i]),
            format_number(diagram.mean_predicted[i]),
            format_number(diagram.fraction_positive[i]),
            format_interval(diagram.low[i], diagram.high[i]),
        )
        for i in range(n_bins)
        if diagram.count[i]
    )
    clipped = f"; {diagram.clipped} values outside 0 to 1" if diagram.clipped else ""
    note = (
        f"ECE {format_number(diagram.ece)}; a calibrated score would show "
        f"{format_number(diagram.null_mean)} on average, above "
        f"{format_number(diagram.null_p95)} in 5 % of cases; "
        f"Brier {format_number(diagram.brier)}{clipped}"
    )
    return TextTable(
        title="Calibration",
        headers=("P(positive)", "n", "mean P", "observed", "95 %"),
        rows=rows,
        notes=(note,),
    )


def _slice_table(table: SliceTable, metrics: Sequence[str]) -> TextTable:
    rows = tuple(
        (
            sanitize(part.value, 60),
            str(part.n),
            str(part.n_pos),
            format_number(part.accuracy),
            format_interval(part.low, part.high),
            *(_metric_text(part.metrics, name) for name in metrics),
        )
        for part in table.slices
    )
    notes = [
        table.note,
        NO_INTERVAL if any(p.low is None for p in table.slices) else "",
    ]
    return TextTable(
        title=f"By {sanitize(table.column)}",
        headers=("slice", "n", "positive", "accuracy", "95 %", *metrics),
        rows=rows,
        notes=tuple(filter(None, notes)),
    )


def gap_table(gaps: Sequence[SliceGap]) -> TextTable:
    """Return the gaps between slices, and what is not known of them."""
    rows = []
    notes = [GAP_NOTE]
    for gap in gaps:
        if gap.gap is None:
            continue
        worst = gap.slices[0]
        rows.append(
            (
                f"{gap.metric} by {sanitize(gap.column, 30)}",
                sanitize(worst.value, 30),
                format_number(gap.gap),
                format_number(gap.expected),
                _p_text(gap.holm),
                format_number(worst.metric),
                format_interval(worst.low, worst.high),
                _p_text(worst.p),
                format_interval(gap.low, gap.high),
            )
        )
        if gap.left_out:
            shown = "; ".join(
                f"{sanitize(value, 30)}: {why}" for value, why in gap.left_out
            )
            notes.append(f"{gap.metric} by {sanitize(gap.column)} without {shown}")
    unknown: dict[str, list[str]] = {}
    for gap in gaps:
        if gap.gap is None:
            name = f"{gap.metric} by {sanitize(gap.column)}"
            unknown.setdefault(gap.note, []).append(name)
    notes += [f"{', '.join(names)}: {why}" for why, names in unknown.items()]
    return TextTable(
        title="Gaps between slices",
        headers=(
            *("gap of", "worst slice", "gap", "by chance", "p"),
            *("worst", "95 %", "p of worst", "95 % of gap"),
        ),
        rows=tuple(rows),
        text_columns=2,
        notes=tuple(notes),
    )


def _p_text(p: float | None) -> str:
    if p is None:
        return "-"
    return f"<{SMALLEST_P}" if p < SMALLEST_P else f"{p:.3f}"


def _missing_slices_table(tables: Sequence[SliceTable]) -> TextTable:
    """Return one note for each column that makes no slices."""
    return TextTable(
        title="No slices",
        notes=tuple(f"by {sanitize(table.column)}: {table.note}" for table in tables),
    )


def _metric_text(values: Mapping[str, MetricValue], name: str) -> str:
    value = values.get(name)
    return format_metric(value.value if value else None, name, 3)


def _example_table(title: str, examples: Sequence[HardExample]) -> TextTable:
    with_text = any(example.text is not None for example in examples)
    headers = ("id", "label", "decision", *(("text",) if with_text else ()))
    return TextTable(
        title=title,
        headers=(*headers, "score", "uncertainty"),
        rows=tuple(
            (
                sanitize(str(example.id)),
                "positive" if example.label else "negative",
                "positive" if example.decision else "negative",
                *((sanitize(example.text or "", TEXT_LIMIT),) if with_text else ()),
                format_number(example.score),
                format_number(example.uncertainty, 4),
            )
            for example in examples
        ),
        text_columns=len(headers),
    )
