"""What a reader must know beside the numbers."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from .layout import NEAR
from .text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.results import Row
    from safebench.specs import MetricSpec

    from .build import Group
    from .columns import Columns
    from .table import Cell, Line

EMBEDDED = "(embedded)"
_NAMED = 3  # more lines than this are counted, not named


def footnotes(
    groups: Sequence[Group],
    lines: Sequence[Line],
    columns: Columns,
    specs: Sequence[MetricSpec],
    *,
    ci: bool = False,
) -> Iterator[str]:
    """Yield remarks on models, missing numbers, thresholds and samples."""
    heads, metrics = [group.head for group in groups], columns.metrics
    yield from _embedded(lines)
    if ci:
        yield from _intervals(lines, columns)
    yield from _notes(lines, metrics)
    if any(spec.name in metrics and _decides(spec) for spec in specs):
        yield from _thresholds(heads, lines)
    if any(line.n_failed for line in lines):
        yield (
            "failed samples count as wrong decisions; metrics of scores leave them out"
        )
    yield from _truncated(heads, lines)
    yield from _contaminated(heads, lines)
    unranked = [line for line in lines if not line.ranked]
    if unranked:
        whom = subject(unranked, lines) or "every line"
        yield f"not ranked, saw the test labels: {whom}"


def _decides(spec: MetricSpec) -> bool:
    return bool(spec.needs & {"decision", "categories"})


def _embedded(lines: Sequence[Line]) -> Iterator[str]:
    for model in dict.fromkeys(line.model for line in lines):
        if model.endswith(EMBEDDED):
            yield (
                f"{model} is a small demonstration model that comes with its plugin, "
                "not for production"
            )


def _intervals(lines: Sequence[Line], columns: Columns) -> Iterator[str]:
    """Say what the brackets and marks mean, and what they do not."""
    cells = [cell for line in lines for cell in line.cells]
    if not any(cell.ci_method for cell in cells):
        yield "no intervals in these results: run again, the evidence is re-used"
    if any(cell.ci_low is not None for cell in cells):
        yield (
            "brackets: 95 % intervals that draw groups of samples as wholes; lines "
            "share their samples, so `safebench compare A B` tests a difference"
        )
    if any(_outside(cell) for cell in cells):
        yield (
            "a number may lie outside its interval: chance alone makes errors of "
            "calibration too large, and the interval allows for that"
        )
    for reason in dict.fromkeys(cell.ci_method for cell in cells if _without(cell)):
        yield f"no interval: {(reason or '').removeprefix('none: ')}"
    if any(cell.near_best for cell in cells):
        yield (
            f"{NEAR} not shown to differ from the best {columns.sort} of its dataset "
            "(paired bootstrap, Holm); this does not make them equal"
        )


def _outside(cell: Cell) -> bool:
    if cell.value is None or cell.ci_low is None or cell.ci_high is None:
        return False
    return not cell.ci_low <= cell.value <= cell.ci_high


def _without(cell: Cell) -> bool:
    return cell.value is not None and cell.ci_low is None and bool(cell.ci_method)


def _notes(lines: Sequence[Line], metrics: Sequence[str]) -> Iterator[str]:
    """Gather equal notes: which metrics, on which lines."""
    places: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, line in enumerate(lines):
        for metric, cell in zip(metrics, line.cells, strict=True):
            if cell.note:
                places[cell.note][metric].append(position)
    for note, by_metric in places.items():
        together: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for metric, positions in by_metric.items():
            together[tuple(positions)].append(metric)
        for found, names in together.items():
            on = subject([lines[position] for position in found], lines)
            yield f"{', '.join(names)}{f' ({on})' if on else ''}: {note}"


def _thresholds(heads: Sequence[Row], lines: Sequence[Line]) -> Iterator[str]:
    """Say at which thresholds decisions were made, and where these came from."""
    found: dict[str, list[Line]] = defaultdict(list)
    for head, line in zip(heads, lines, strict=True):
        if head.threshold is not None:
            source = printable(head.threshold_from or "unknown source")
            found[f"{head.threshold:.4g} ({source})"].append(line)
    parts = []
    for threshold, there in found.items():
        on = subject(there, lines)
        parts.append(threshold + (f" for {on}" if on else ""))
    if parts:
        yield f"decisions at a score from {'; '.join(parts)}"


def _truncated(heads: Sequence[Row], lines: Sequence[Line]) -> Iterator[str]:
    found: dict[tuple[str, str, int, int], None] = {}
    for head, line in zip(heads, lines, strict=True):
        if head.n_truncated:
            found[line.classifier, line.dataset, head.n_truncated, line.n] = None
    for classifier, dataset, count, n in found:
        yield f"{classifier} on {dataset}: {count} of {n} samples were truncated"


def _contaminated(heads: Sequence[Row], lines: Sequence[Line]) -> Iterator[str]:
    pairs = zip(heads, lines, strict=True)
    found = {
        (line.classifier, line.dataset) for head, line in pairs if head.contaminated
    }
    for classifier, dataset in sorted(found):
        yield f"{classifier} on {dataset}: the model may have been trained on this set"


def subject(some: Sequence[Line], lines: Sequence[Line]) -> str:
    """Name some of the lines as briefly as can be; nothing if they are all."""
    if len(some) == len(lines):
        return ""
    one_classifier = len({line.classifier for line in lines}) == 1
    ways: list[Callable[[Line], str]] = [
        (lambda line: line.method) if one_classifier else _who,
        lambda line: line.classifier,
        lambda line: f"on {line.dataset}",
        lambda line: f"{_who(line)} on {line.dataset}",
    ]
    for name in ways:
        names = dict.fromkeys(map(name, some))
        whole = sum(name(line) in names for line in lines) == len(some)
        if whole and len(names) <= _NAMED:
            return ", ".join(names)
    return f"{len(some)} lines"


def _who(line: Line) -> str:
    return f"{line.classifier}/{line.method}"
