"""The overview of many combinations: one table a set, which uncertainty finds errors.

Strategies of one guard often share their decisions, and some their uncertainty too: a
line stands for all whose numbers are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.number_format import format_interval, format_number
from safebench.sanitize import sanitize

from .agreement import IDENTICAL
from .text_table import TextTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .run_analysis import CombinationAnalysis, RunAnalysis
    from .uncertainty import StrategyResult

BEST, TIED = "*", "~"
HEADERS = (
    "guard and strategy",
    "error AUROC",
    "95 %",
    "AURC",
    "acc. at 80 %",
    "E-AURC",
)
NOTES = (
    (
        f"{BEST} best of the uncertainties about the same decisions; {TIED} no "
        "significant difference to it (paired, by group)"
    ),
    (
        "error AUROC: chance that a wrong decision is less certain than a right one "
        "(0.5: uncertainty says nothing); its interval is clustered by group"
    ),
    (
        "AURC: mean error rate over all shares kept; E-AURC: AURC above the best "
        "possible; lower is better"
    ),
)
_NAME_WIDTH = 29  # cells: the longest strategy with a count
TOO_MANY = (
    "too many combinations to show in full: choose with --classifier, --strategy and "
    "--dataset, or see all on a page with --html"
)
_Key = tuple[str, str, str]  # classifier, dataset, method


def set_overviews(analysis: RunAnalysis) -> Iterator[TextTable]:
    """Yield a table for each set, its lines by guard, the best uncertainty first."""
    results = {
        (comparison.classifier, comparison.dataset, result.strategy): result
        for comparison in analysis.uncertainty_comparisons
        for result in comparison.results
    }
    by_set: dict[str, list[CombinationAnalysis]] = {}
    for combination in analysis.combinations:
        by_set.setdefault(combination.predictions.dataset, []).append(combination)
    for dataset, combinations in by_set.items():
        yield _set_table(dataset, combinations, results)
    derived = any(c.uncertainty and not c.uncertainty.from_strategy
                  for c in analysis.combinations)  # fmt: skip
    closeness = (
        "^ uncertainty is the closeness of the score to the threshold, as the strategy "
        "gives none of its own"
    )
    part = "" if analysis.part == "all" else f", {analysis.part} part"
    yield TextTable(
        title=f"{sanitize(analysis.run)}{part}",
        notes=(
            *NOTES,
            *((closeness,) if derived else ()),
            *(sanitize(n) for n in analysis.notes if not _is_said(n, analysis)),
            TOO_MANY,
        ),
    )


def _is_said(note: str, analysis: RunAnalysis) -> bool:
    """Tell whether a note names strategies of one guard that decide alike.

    The tables say that: these stand below one line.
    """
    guards = {c.predictions.classifier for c in analysis.combinations}
    _, _, names = note.partition(": ")
    of_one = any(
        all(name.startswith(f"{guard}/") for name in names.split(", "))
        for guard in guards
    )
    return note.startswith(IDENTICAL) and of_one


def _set_table(
    dataset: str,
    combinations: Sequence[CombinationAnalysis],
    results: dict[_Key, StrategyResult],
) -> TextTable:
    rows: list[tuple[str, ...]] = []
    notes = []
    for decided in _by_decisions(combinations):
        predictions = decided[0].predictions
        n_wrong, n = int(predictions.wrong.sum()), int(predictions.judged.sum())
        guard = sanitize(predictions.classifier)
        empty = [""] * (len(HEADERS) - 3)
        rows.append((guard, "", f"{n_wrong:,} of {n:,} wrong", *empty))
        folded: dict[tuple[str, ...], list[CombinationAnalysis]] = {}
        for combination in sorted(decided, key=_order):
            folded.setdefault(_numbers(combination, results), []).append(combination)
        for numbers, (first, *equal) in folded.items():
            more = f" (+{len(equal)})" if equal else ""
            rows.append((f"  {_name(first)}{more}", *numbers))
            if equal:
                names = ", ".join(sanitize(c.predictions.method) for c in equal)
                notes.append(f"{guard} {_name(first)} = {names}")
    n = max(combination.predictions.n for combination in combinations)
    return TextTable(
        title=f"Which uncertainty finds the errors on {sanitize(dataset)}: "
        f"{n:,} samples",
        headers=HEADERS,
        rows=tuple(rows),
        expendable=("E-AURC", "acc. at 80 %"),
        name_width=_NAME_WIDTH,
        notes=tuple(notes),
        level=1,
    )


def _by_decisions(
    combinations: Sequence[CombinationAnalysis],
) -> list[list[CombinationAnalysis]]:
    """Return the combinations of each guard that decide alike, one list each."""
    alike: dict[tuple[object, ...], list[CombinationAnalysis]] = {}
    guards = list(dict.fromkeys(c.predictions.classifier for c in combinations))
    for combination in sorted(
        combinations, key=lambda c: guards.index(c.predictions.classifier)
    ):
        predictions = combination.predictions
        decisions = (predictions.judged.tobytes(), predictions.wrong.tobytes())
        alike.setdefault((predictions.classifier, *decisions), []).append(combination)
    return list(alike.values())


def _order(combination: CombinationAnalysis) -> float:
    detection = combination.error_detection
    return 1.0 if detection is None or detection.auroc is None else -detection.auroc


def _name(combination: CombinationAnalysis) -> str:
    predictions, uncertainty = combination.predictions, combination.uncertainty
    derived = uncertainty is not None and not uncertainty.from_strategy
    return sanitize(predictions.method) + ("^" if derived else "")


def _numbers(
    combination: CombinationAnalysis, results: dict[_Key, StrategyResult]
) -> tuple[str, ...]:
    predictions = combination.predictions
    detection, curve = combination.error_detection, combination.risk_coverage
    key = (predictions.classifier, predictions.dataset, predictions.method)
    accuracy_at = {p.coverage: p.accuracy for p in curve.points} if curve else {}
    return (
        _marked(detection.auroc if detection else None, results.get(key)),
        format_interval(detection.low, detection.high) if detection else "",
        format_number(curve.aurc if curve else None, 4),
        format_number(accuracy_at.get(0.8)),
        format_number(curve.e_aurc if curve else None, 4),
    )


def _marked(auroc: float | None, result: StrategyResult | None) -> str:
    """Return the number with what the paired comparison says of it."""
    text = format_number(auroc)
    if result is None:
        return f"{text} "
    if result.low is None or result.high is None:
        # the best one has no interval; nor has any where groups are too few
        return f"{text}{BEST}" if not result.difference else f"{text} "
    if result.low == result.high == 0:  # monotone in the best one
        return f"{text}{BEST}"
    return f"{text} " if result.high < 0 else f"{TIED}{text} "
