"""Output of `safebench threshold`: for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from safebench.console import render_rich
from safebench.decision.measured import COST, FLAGGED, FOUND, RATES, REVIEWED
from safebench.decision.prevalence import ALERTS, MISSED, PRECISION
from safebench.decision.remarks import budget_missed
from safebench.decision.thresholds import GIVEN, finite
from safebench.sanitize import json_text, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from safebench.console import RenderOptions
    from safebench.decision.measured import MeasuredDecisions, ReviewBand
    from safebench.decision.thresholds import ThresholdChoice
    from safebench.decision.transfer import (
        CategoryThreshold,
        SetThreshold,
        ThresholdReport,
    )
    from safebench.statistics import Interval

FORMATS = ("table", "md", "json")
_NAME_WIDTH = 14  # cells that four columns with intervals leave of 80
NOTHING = "none"  # a threshold above every score
_HEADERS = {
    "fpr": "FPR",
    "recall": "recall",
    "precision": "precision",
    FLAGGED: "flagged",
    REVIEWED: "reviewed",
    FOUND: "recall with review",
    COST: "mean cost",
    ALERTS: "alerts per million",
    MISSED: "missed per million",
}


class IntervalTable(NamedTuple):
    """A table of texts; a cell of two lines has its interval on the second."""

    title: str
    headers: tuple[str, ...]
    rows: list[tuple[str, ...]]


class _Line(NamedTuple):
    """A measurement with the name of its line, and why there is none."""

    name: str
    threshold: float | None
    measured: MeasuredDecisions | None
    note: str = ""


def render_thresholds(
    reports: Sequence[ThresholdReport], form: str, options: RenderOptions
) -> str:
    """Return reports in one of `FORMATS`."""
    if form == "json":
        records = [report_record(report) for report in reports]
        return json_text(records, options.encoding, indent=2)
    if form == "md":
        return "\n\n".join(_markdown(report) for report in reports)
    items = (item for report in reports for item in _rich_items(report))
    return render_rich(items, options)


def format_threshold(threshold: float | None) -> str:
    """Return four digits; `none` where nothing reaches it."""
    if threshold is None:
        return "-"
    return NOTHING if math.isinf(threshold) else f"{threshold:.4g}"


def _tables(report: ThresholdReport) -> Iterator[IntervalTable]:
    """Yield what was measured: own test parts first, then other sets, then all."""
    own = [
        _Line(s.dataset, s.choice.threshold if s.choice else None, s.own, s.note)
        for s in report.sets
    ]
    yield from _tables_of("on the test part of each set", own, report)
    for chosen in report.sets:
        if chosen.elsewhere:
            assert chosen.choice is not None
            at = chosen.choice.threshold
            lines = [_Line(m.dataset, at, m) for m in chosen.elsewhere]
            title = f"chosen on {chosen.dataset}, measured on other sets"
            yield from _tables_of(title, lines, report)
    everywhere = report.everywhere
    if everywhere is not None and everywhere.measured:
        lines = [_Line(m.dataset, everywhere.threshold, m) for m in everywhere.measured]
        title = f"one threshold for all {len(everywhere.datasets)} sets"
        yield from _tables_of(title, lines, report)
        lines = [
            _Line(s.dataset, s.threshold, s.measured, s.note)
            for s in everywhere.left_out
        ]
        title = "one threshold for all other sets, measured on the one left out"
        yield from _tables_of(title, lines, report)
    for chosen in report.sets:
        if chosen.categories:
            yield _category_table(chosen.dataset, chosen.categories)


def _tables_of(
    title: str, lines: Sequence[_Line], report: ThresholdReport
) -> Iterator[IntervalTable]:
    """Yield rates, and what review, costs and prevalence add, for the same lines."""
    yield _table(title, lines, (*RATES, FLAGGED), threshold=True)
    measured = [line.measured for line in lines if line.measured is not None]
    extra = [
        name
        for name in (REVIEWED, FOUND, COST)
        if any(name in m.metrics for m in measured)
    ]
    if extra:
        yield _table("", lines, extra)
    if report.request.prevalence is not None and measured:
        names = (ALERTS, PRECISION, MISSED)
        prevalence = f"at a prevalence of {report.request.prevalence:g}"
        yield _table(prevalence, lines, names, at_prevalence=True)


def _table(
    title: str,
    lines: Sequence[_Line],
    names: Sequence[str],
    *,
    threshold: bool = False,
    at_prevalence: bool = False,
) -> IntervalTable:
    rows = []
    for line in lines:
        cells = [line.name]
        if threshold:
            cells.append(format_threshold(line.threshold))
        values: dict[str, Interval] = {}
        if line.measured is not None:
            m = line.measured
            values = m.at_prevalence if at_prevalence else m.metrics
        cells += [_interval_cell(values.get(name), name) for name in names]
        rows.append(tuple(cells))
    headers = ["set", *(["threshold"] if threshold else [])]
    headers += [_HEADERS[name] for name in names]
    return IntervalTable(title, tuple(headers), rows)


def _category_table(
    dataset: str, categories: Sequence[CategoryThreshold]
) -> IntervalTable:
    rows = [
        (
            known.category,
            format_threshold(known.choice.threshold),
            *(_interval_cell(known.measured.metrics[name], name) for name in RATES),
            f"{known.n_pos:,}",
        )
        for known in categories
        if known.choice is not None and known.measured is not None
    ]
    headers = ("category", "threshold", *(_HEADERS[n] for n in RATES), "positives")
    return IntervalTable(f"categories of {dataset}", headers, rows)


def _interval_cell(interval: Interval | None, name: str) -> str:
    """Return a value, and its interval on a line of its own."""
    if interval is None or interval.value is None:
        return "-"
    value = _number(interval.value, name)
    if interval.low is None or interval.high is None:
        return value
    return f"{value}\n[{_number(interval.low, name)} {_number(interval.high, name)}]"


def _number(value: float, name: str) -> str:
    if name in (ALERTS, MISSED):
        return f"{value:,.0f}"
    # Of a rare class precision is small, and three decimals would leave one digit.
    if name == PRECISION and 0 < value < 0.1:  # noqa: PLR2004 - two digits below it
        return f"{value:.2g}"
    if name == COST and 0 < abs(value) < 0.1:  # noqa: PLR2004 - in any unit
        return f"{value:.2g}"
    return f"{value:.3f}"


def remarks(report: ThresholdReport) -> Iterator[str]:
    """Yield what a reader must know beside the numbers."""
    yield _how(report)
    yield from _remarks_on_sets(report)
    yield from _remarks_on_categories(report)
    yield from _remarks_on_elsewhere(report)
    yield from _remarks_on_all(report)
    for note, names in _interval_notes(report).items():
        yield f"{', '.join(names)}: {note}"
    if report.request.prevalence is not None:
        yield (
            "numbers at a prevalence take recall and FPR as measured here: only the "
            "share of positives is another one"
        )
    yield "brackets: 95 % intervals; samples of a group count together"


def _remarks_on_sets(report: ThresholdReport) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for chosen in report.sets:
        if chosen.choice is None:
            reasons.setdefault(chosen.note, []).append(chosen.dataset)
        elif chosen.review is not None and chosen.review.high is not None:
            yield f"{chosen.dataset}: reviewed from {chosen.review.low:.4g} on"
        elif report.request.review is not None and chosen.review is None:
            yield f"{chosen.dataset}: no score below the threshold fits the review"
        name = "" if len(report.sets) == 1 else f"{chosen.dataset}: "
        for remark in chosen.remarks:
            yield remark if remark.startswith(chosen.dataset) else f"{name}{remark}"
    for reason, datasets in reasons.items():
        yield f"no threshold on {', '.join(datasets)}: {reason}"


def _remarks_on_elsewhere(report: ThresholdReport) -> Iterator[str]:
    """Say of sets that a threshold is brought to what is said of its own."""
    said = {chosen.dataset for chosen in report.sets if chosen.own is not None}
    straddled: dict[tuple[str, float, int], None] = {}
    for measured in _all_elsewhere(report):
        if measured.n_failed and measured.dataset not in said:
            said.add(measured.dataset)
            yield (
                f"{measured.dataset}: {measured.n_failed:,} of {measured.n:,} test "
                "samples failed, and count as wrong"
            )
        if measured.n_straddling:
            known = measured.dataset, measured.threshold, measured.n_straddling
            straddled[known] = None
    for dataset, threshold, n in straddled:
        at = f"{threshold:.4g}"
        yield f"{dataset}: {n:,} test scores are bounded on both sides of {at}"


def _remarks_on_all(report: ThresholdReport) -> Iterator[str]:
    everywhere = report.everywhere
    if everywhere is None:
        return
    if everywhere.note:
        yield f"no threshold for all sets: {everywhere.note}"
    for measured in everywhere.measured:
        if missed := budget_missed(measured, report.request.rule):
            yield f"with one threshold for all, {missed}"
    for left in everywhere.left_out:
        if left.note:
            yield f"leaving out {left.dataset}: {left.note}"


def _how(report: ThresholdReport) -> str:
    request = report.request
    if request.rule.name == GIVEN:
        return f"decided by score >= {request.rule.value:g}, as asked for"
    by = f", --control {request.control}" if request.control else ""
    at = ""
    if request.prevalence is not None and request.rule.name in (
        "cost",
        "review_budget",
    ):
        at = f" at a prevalence of {request.prevalence:g}"
    promise = "" if request.control else "; the rate of new samples is not promised"
    if request.rule.name == "cost":
        promise = ""
    return (
        f"chosen on the calibration part by {request.rule.option}{by}{at}, decided by "
        f"score >= threshold{promise}"
    )


def _remarks_on_categories(report: ThresholdReport) -> Iterator[str]:
    if not report.request.per_category:
        return
    for chosen in report.sets:
        if chosen.choice is not None and not chosen.categories:
            yield f"{chosen.dataset}: no categories with scores and truth"
        reasons: dict[str, list[str]] = {}
        for known in chosen.categories:
            if known.choice is None:
                reasons.setdefault(known.note, []).append(known.category)
        for reason, names in reasons.items():
            yield f"{chosen.dataset}, no threshold for {', '.join(names)}: {reason}"


def _interval_notes(report: ThresholdReport) -> dict[str, list[str]]:
    """Return the notes of intervals, and why some have none, with their metrics."""
    notes: dict[str, list[str]] = {}
    for measured in _all_measured(report):
        for name, interval in (
            *measured.metrics.items(),
            *measured.at_prevalence.items(),
        ):
            missing = interval.value is None or interval.low is None
            note = f"no interval: {interval.method}" if missing else interval.note
            if note:
                label = f"{measured.dataset} {_HEADERS[name]}"
                names = notes.setdefault(note, [])
                names += [label] * (label not in names)
    return notes


def _all_measured(report: ThresholdReport) -> Iterator[MeasuredDecisions]:
    for chosen in report.sets:
        yield from filter(None, (chosen.own,))
        yield from chosen.elsewhere
        yield from (c.measured for c in chosen.categories if c.measured is not None)
    if report.everywhere is not None:
        yield from report.everywhere.measured
        yield from (
            known for left in report.everywhere.left_out if (known := left.measured)
        )


def _all_elsewhere(report: ThresholdReport) -> Iterator[MeasuredDecisions]:
    for chosen in report.sets:
        yield from chosen.elsewhere
    if report.everywhere is not None:
        yield from report.everywhere.measured
        yield from (
            known for left in report.everywhere.left_out if (known := left.measured)
        )


def _heading(report: ThresholdReport) -> str:
    return printable(f"{report.label} ({report.model}), {report.task}")


def _rich_items(report: ThresholdReport) -> Iterator[RenderableType]:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    yield Text(_heading(report), style="bold")
    for content in _tables(report):
        if content.title:
            yield Text(printable(content.title))
        table = Table(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=0,
            border_style="dim",
        )
        for position, header in enumerate(content.headers):
            table.add_column(
                header,
                justify="right" if position else "left",
                no_wrap=False,
                overflow="fold",
            )
        for name, *numbers in content.rows:
            # Intervals take a second line anyway: a long name is broken there.
            fits = name.find(":") < _NAME_WIDTH < len(name)
            first = name.replace(":", ":\n", 1) if fits else name
            cells = (printable_cell(cell) for cell in (first, *numbers))
            table.add_row(*map(Text, cells))
        yield table
        yield Text()
    for remark in remarks(report):
        yield Text(f"- {printable(remark)}", style="dim")
    yield Text()


def printable_cell(cell: str) -> str:
    """Return a cell without characters that steer, its lines kept."""
    return "\n".join(map(printable, cell.split("\n")))


def _markdown(report: ThresholdReport) -> str:
    lines = [f"**{_escape(_heading(report))}**", ""]
    for content in _tables(report):
        if content.title:
            lines += [f"{_escape(printable(content.title))}:", ""]
        lines += [
            f"| {' | '.join(content.headers)} |",
            f"| {' | '.join([':--'] + ['--:'] * (len(content.headers) - 1))} |",
            *(_markdown_row(row) for row in content.rows),
            "",
        ]
    return "\n".join(
        [*lines, *(f"- {_escape(printable(remark))}" for remark in remarks(report))]
    )


def _markdown_row(row: Sequence[str]) -> str:
    cells = (_escape(printable_cell(cell)).replace("\n", " ") for cell in row)
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\|`*<>[]" else char for char in text)


def report_record(report: ThresholdReport) -> dict[str, Any]:
    """Return a report as JSON values; what is not known is null, with a `note`."""
    request = report.request
    rule = {name: v for name, v in asdict(request.rule).items() if v is not None}
    everywhere = report.everywhere
    return {
        "classifier": report.classifier,
        "model": report.model,
        "strategy": report.strategy,
        "task": report.task,
        "rule": rule,
        "control": request.control,
        "delta": request.delta if request.control == "ltt" else None,
        "prevalence": request.prevalence,
        "sets": [_set_record(chosen) for chosen in report.sets],
        "all_sets": None
        if everywhere is None
        else {
            "datasets": list(everywhere.datasets),
            "threshold": finite(everywhere.threshold),
            "review": _review_record(everywhere.review),
            "measured": [m.to_json() for m in everywhere.measured],
            "leave_one_out": [
                {
                    "dataset": left.dataset,
                    "threshold": finite(left.threshold),
                    "measured": left.measured and left.measured.to_json(),
                    "note": left.note,
                }
                for left in everywhere.left_out
            ],
            "note": everywhere.note,
        },
        "remarks": list(remarks(report)),
    }


def _set_record(chosen: SetThreshold) -> dict[str, Any]:
    return {
        "dataset": chosen.dataset,
        "threshold": _threshold(chosen.choice),
        "review": _review_record(chosen.review),
        "calibration": chosen.choice and chosen.choice.to_json(),
        "test": chosen.own and chosen.own.to_json(),
        "elsewhere": [m.to_json() for m in chosen.elsewhere],
        "categories": [
            {
                "category": known.category,
                "threshold": _threshold(known.choice),
                "calibration": known.choice and known.choice.to_json(),
                "test": known.measured and known.measured.to_json(),
                "n_pos": known.n_pos,
                "n_neg": known.n_neg,
                "note": known.note,
            }
            for known in chosen.categories
        ],
        "note": chosen.note,
    }


def _threshold(choice: ThresholdChoice | None) -> float | None:
    return None if choice is None else finite(choice.threshold)


def _review_record(review: ReviewBand | None) -> dict[str, Any] | None:
    return None if review is None else {"low": review.low, "high": review.high}
