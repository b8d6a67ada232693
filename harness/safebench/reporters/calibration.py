"""Output of `safebench calibrate`: what each calibrator did to the losses."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from safebench.calibration.calibrated import RAW_CATEGORIES
from safebench.calibration.calibrated_rows import fit_note
from safebench.console import render_rich
from safebench.number_format import format_metric
from safebench.sanitize import json_text, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from safebench.calibration.loss_change import LossChange
    from safebench.calibration.run_folder import CalibrationResult
    from safebench.console import RenderOptions

HEADERS = ("calibrator", "labels", "Brier", "change", "NLL", "change", "")
_VERDICT_WIDTH = len("Brier better;")


def render_calibrations(
    results: Sequence[CalibrationResult], form: str, options: RenderOptions
) -> str:
    """Return results as ``table``, ``md`` or ``json``."""
    if form == "json":
        records = [_record(result) for result in results]
        return json_text(records, options.encoding, indent=2)
    sections = groupby(
        results, key=lambda r: f"{r.dataset} ({r.task}): {r.classifier}/{r.strategy}"
    )
    if form == "md":
        return "\n\n".join(
            _markdown(name, list(part), options) for name, part in sections
        )
    items = (
        item for name, part in sections for item in _items(name, list(part), options)
    )
    return render_rich(items, options)


def verdict(changes: Sequence[LossChange]) -> str:
    """Return what became of both losses, in one word where it is the same."""
    by_verdict: dict[str, list[str]] = {}
    for change in changes:
        name = "Brier" if change.metric == "brier" else change.metric.upper()
        by_verdict.setdefault(change.verdict, []).append(name)
    if len(by_verdict) == 1:
        return next(iter(by_verdict))
    return "; ".join(f"{', '.join(n)} {verdict}" for verdict, n in by_verdict.items())


def _cells(
    result: CalibrationResult, options: RenderOptions, separator: str
) -> tuple[str, ...]:
    assert result.fitted is not None
    data = result.fitted.fit
    labels = f"{data.n} ({data.n_pos} unsafe)" if data.n_pos is not None else "none"
    cells = [_name(result), labels.replace(" (", f"{separator}(")]
    by_metric = {change.metric: change for change in result.changes}
    for name in ("brier", "nll"):
        change = by_metric.get(name)
        cells += _change_cells(change, options, separator) if change else ("-", "-")
    return (*cells, verdict(result.changes))


def _change_cells(
    change: LossChange, options: RenderOptions, separator: str
) -> tuple[str, str]:
    value = format_metric(change.calibrated, change.metric, options.decimals)
    if change.raw is None or change.calibrated is None:
        return value, "-"
    text = _signed(change.calibrated - change.raw, change.metric, options)
    difference = change.difference
    if difference is not None and difference.low is not None:
        low, high = (
            _signed(end, change.metric, options)
            for end in (difference.low, difference.high)
        )
        text += f"{separator}[{low} {high}]"
    return value, text


def _signed(number: float | None, metric: str, options: RenderOptions) -> str:
    text = format_metric(number, metric, options.decimals)
    rises = number is not None and number > 0 and text.strip("-0.")
    return f"+{text}" if rises else text


def _name(result: CalibrationResult) -> str:
    return f"+{result.calibrator}"


def _notes(results: Sequence[CalibrationResult]) -> Iterator[str]:
    """Yield what a reader must know: what was refused, and what the numbers rest on."""
    for result in results:
        if result.refused:
            yield f"{_name(result)}: not fitted: {result.refused}"
        elif result.fitted is not None:
            data = result.fitted.fit
            if data.n_pos is None or data.dataset != result.dataset:
                yield f"{_name(result)}: {fit_note(result.fitted)}"
            for note in result.fitted.notes:
                if note != RAW_CATEGORIES:
                    yield f"{_name(result)}: {note}"
    fitted = [result.fitted for result in results if result.fitted is not None]
    if any(RAW_CATEGORIES in calibrator.notes for calibrator in fitted):
        yield "categories are not calibrated (--per-category does it)"
    if fitted:
        yield (
            "losses and paired 95 % intervals of the change on the test part; lower is "
            "better; n.s.: not significant; labels are those of the calibration part"
        )


def _items(
    name: str, results: Sequence[CalibrationResult], options: RenderOptions
) -> Iterator[RenderableType]:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    yield Text(printable(name), style="bold")
    table = Table(
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, border_style="dim"
    )
    last = len(HEADERS) - 1
    for position, header in enumerate(HEADERS):
        is_number = 0 < position < last
        table.add_column(
            header,
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="fold",
            min_width=_VERDICT_WIDTH if position == last else None,
        )
    fitted = [result for result in results if result.fitted is not None]
    for result in fitted:
        cells = _cells(result, options, "\n")
        worse = any(change.verdict == "worse" for change in result.changes)
        table.add_row(*map(Text, map(printable_lines, cells)), style="red" * worse)
    if fitted:
        yield table
    for note in _notes(results):
        yield Text(f"- {printable(note)}", style="dim")
    yield Text()


def printable_lines(text: str) -> str:
    """Return text safe for terminals, with its line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def _markdown(
    name: str, results: Sequence[CalibrationResult], options: RenderOptions
) -> str:
    lines = [f"**{_escaped(name)}**", ""]
    fitted = [result for result in results if result.fitted is not None]
    if fitted:
        lines += [
            f"| {' | '.join(HEADERS)} |",
            "| :-- | --: | --: | --: | --: | --: | :-- |",
        ]
        for result in fitted:
            cells = map(_escaped, _cells(result, options, " "))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += [f"- {_escaped(printable(note))}" for note in _notes(results)]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\|`*<>[]" else char for char in text)


def _record(result: CalibrationResult) -> dict[str, Any]:
    fitted = result.fitted
    return {
        "classifier": result.classifier,
        "strategy": result.strategy,
        "calibrator": result.calibrator,
        "dataset": result.dataset,
        "task": result.task,
        "fit": None if fitted is None else asdict(fitted.fit),
        "transductive": None if fitted is None else fitted.transductive,
        "state": None if fitted is None else fitted.state,
        "losses": [
            {
                "metric": change.metric,
                "raw": change.raw,
                "calibrated": change.calibrated,
                "difference": change.difference and change.difference.value,
                "low": change.difference and change.difference.low,
                "high": change.difference and change.difference.high,
                "p": change.difference and change.difference.p,
                "verdict": change.verdict,
            }
            for change in result.changes
        ],
        "notes": [] if fitted is None else [fit_note(fitted), *fitted.notes],
        "refused": result.refused or None,
    }
