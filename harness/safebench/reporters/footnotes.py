"""Footnotes of the leaderboard: what a reader must know beside the numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from safebench.sanitize import printable
from safebench.specs import NO_THRESHOLD

from .layout import TIE_MARK
from .review_notes import review_notes
from .table import COST_COLUMNS, Explanation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench.results import Row
    from safebench.specs import MetricSpec

    from .table import Cell, ColumnSelection, LeaderboardLine

    # lines by the text of a note, then by metric
    _PositionsByMetric = dict[str, dict[str, list[int]]]

EMBEDDED = "(embedded)"  # end of the name of a model that comes with its plugin
_NOTE_SEPARATOR = "; "
_OF_INTERVALS = "the interval "  # start of what metrics note about their intervals
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_SLOT = "\0"  # in the place of a number; no note holds one
_MAX_NAMED = 3  # more lines than this are counted, not named
INTERVALS = "brackets: 95 % intervals"  # how the note on them begins


def footnotes(
    heads: Sequence[Row],
    lines: Sequence[LeaderboardLine],
    columns: ColumnSelection,
    specs: Sequence[MetricSpec],
    *,
    ci: bool = False,
    cell_notes: bool = True,
) -> Iterator[str]:
    """Yield remarks on models, missing numbers, thresholds and samples.

    `heads` holds one result row a line, for what all rows of the line share. Without
    `cell_notes` those of single numbers are left to `notes_on_cells`.
    """
    yield from review_notes(lines, name_lines)
    yield from _embedded(lines)
    if ci:
        yield from _intervals(lines, columns)
    if cell_notes:
        yield from notes_on_cells(lines, columns.metrics, ci=ci)
    if any(spec.name in columns.metrics and _decides(spec) for spec in specs):
        yield from _thresholds(heads, lines)
    if any(line.n_failed for line in lines):
        yield (
            "failed samples count as wrong decisions; metrics of scores leave them out"
        )
    yield from _truncated(heads, lines)
    yield from _conflicting(heads, lines)
    if COST_COLUMNS.keys() & {*columns.metrics}:
        yield from _shared_costs(heads, lines)
    yield from _contaminated(heads, lines)
    yield from _missing_of_packs(heads)
    yield from _one_class(heads, lines)
    yield from _mixes(heads, lines)
    yield from _licences(heads, lines)
    unranked = [line for line in lines if not line.ranked]
    if unranked:
        names = name_lines(unranked, lines) or "every line"
        yield f"not ranked, saw the test labels: {names}"


def _decides(spec: MetricSpec) -> bool:
    return bool(spec.needs & {"decision", "categories"})


def _embedded(lines: Sequence[LeaderboardLine]) -> Iterator[str]:
    for model in dict.fromkeys(line.model for line in lines):
        if model.endswith(EMBEDDED):
            yield (f"{model} is a small demonstration model, not for production")


def _intervals(
    lines: Sequence[LeaderboardLine], columns: ColumnSelection
) -> Iterator[str]:
    """Explain the brackets and marks, and the numbers without an interval."""
    cells = [cell for line in lines for cell in line.cells]
    if not any(cell.ci_method for cell in cells):
        yield "no intervals in these results: run again, the evidence is re-used"
    if any(line.slice is not None for line in lines):
        yield (
            f"{INTERVALS} that hold for all slices of a column at once, "
            "those of a gap for all pairs of its slices"
        )
    elif any(cell.ci_low is not None for cell in cells):
        yield Explanation(
            f"{INTERVALS}, resampled by group; lines share their samples, "
            "so `safebench compare A B` tests a difference",
            "intervals",
        )
    if any(_outside_interval(cell) for cell in cells):
        yield Explanation(
            "a number may lie outside its interval: chance alone makes errors of "
            "calibration too large, and the interval allows for that",
            "intervals",
        )
    missing = (cell.ci_method or "" for cell in cells if _without_interval(cell))
    # Each reason once, in the order of the lines: a set would have another each time.
    for reason in dict.fromkeys(missing):
        yield f"no interval: {reason.removeprefix('none: ')}"
    if any(cell.ties_with_best for cell in cells):
        yield (
            f"{TIE_MARK} no significant difference to the best {columns.sort} of its "
            "dataset (paired bootstrap, Holm); this does not make them equal"
        )


def _outside_interval(cell: Cell) -> bool:
    if cell.value is None or cell.ci_low is None or cell.ci_high is None:
        return False
    return not cell.ci_low <= cell.value <= cell.ci_high


def _without_interval(cell: Cell) -> bool:
    return cell.value is not None and cell.ci_low is None and bool(cell.ci_method)


def notes_on_cells(
    lines: Sequence[LeaderboardLine], metrics: Sequence[str], *, ci: bool
) -> Iterator[str]:
    """Yield each note of the cells once, with its metrics and lines.

    What is said of intervals only where they are shown (`ci`).
    """
    positions_of: _PositionsByMetric = defaultdict(lambda: defaultdict(list))
    for note, metric, position in _cell_notes(lines, metrics, ci=ci):
        positions_of[note][metric].append(position)
    for note, by_metric in positions_of.items():
        for positions, names in _by_lines(by_metric).items():
            yield f"{_metrics_and_lines(names, positions, lines)}: {note}"


def short_notes_on_cells(
    lines: Sequence[LeaderboardLine], metrics: Sequence[str], *, ci: bool
) -> Iterator[str]:
    """Yield what the notes of the cells say, each kind once, with how many it is about.

    Notes on intervals that differ in their numbers alone are one, from the least to the
    largest.
    """
    positions_of: _PositionsByMetric = defaultdict(lambda: defaultdict(list))
    numbers_of: dict[str, list[list[str]]] = defaultdict(list)
    for note, metric, position in _cell_notes(lines, metrics, ci=ci):
        for part in note.split(_NOTE_SEPARATOR):
            kind = part
            if part.startswith(_OF_INTERVALS):
                kind = _NUMBER.sub(_SLOT, part)
                numbers_of[kind].append(_NUMBER.findall(part))
            positions_of[kind][metric].append(position)
    for kind, by_metric in positions_of.items():
        text = _with_ranges(kind, numbers_of[kind]) if kind in numbers_of else kind
        if len(groups := _by_lines(by_metric)) == 1:
            ((positions, names),) = groups.items()
            yield f"{_metrics_and_lines(named(names), positions, lines)}: {text}"
        else:
            n = sum(map(len, by_metric.values()))
            yield f"{n} numbers ({named([*by_metric])}): {text}"


def _cell_notes(
    lines: Sequence[LeaderboardLine], metrics: Sequence[str], *, ci: bool
) -> Iterator[tuple[str, str, int]]:
    """Yield the note of each cell that has one, with its metric and line."""
    for position, line in enumerate(lines):
        if "=" in (line.slice or ""):  # the gap's note names those that matter
            continue
        for metric, cell in zip(metrics, line.cells, strict=True):
            note = cell.note if ci else _without_intervals(cell.note)
            if note:
                yield note, metric, position


def _by_lines(by_metric: Mapping[str, list[int]]) -> dict[tuple[int, ...], list[str]]:
    """Return the metrics by lines: those of one note on the same lines share it."""
    metrics_on: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for metric, positions in by_metric.items():
        metrics_on[tuple(positions)].append(metric)
    return metrics_on


def _metrics_and_lines(
    names: Sequence[str] | str,
    positions: Sequence[int],
    lines: Sequence[LeaderboardLine],
) -> str:
    listed = names if isinstance(names, str) else ", ".join(names)
    where = name_lines([lines[position] for position in positions], lines)
    return f"{listed} ({where})" if where else listed


def _with_ranges(kind: str, numbers: Sequence[Sequence[str]]) -> str:
    """Return a text with its numbers, least and largest where they differ."""
    text = kind
    for column in zip(*numbers, strict=True):
        ordered = sorted(set(column), key=lambda number: float(number.replace(",", "")))
        ends = dict.fromkeys((ordered[0], ordered[-1]))
        text = text.replace(_SLOT, " to ".join(ends), 1)
    return text


def _without_intervals(note: str) -> str:
    """Return a note without its parts about an interval, which is not shown."""
    parts = note.split(_NOTE_SEPARATOR)
    return _NOTE_SEPARATOR.join(p for p in parts if not p.startswith(_OF_INTERVALS))


def _thresholds(
    heads: Sequence[Row], lines: Sequence[LeaderboardLine]
) -> Iterator[str]:
    """Yield the thresholds of decisions, where they came from, and on which lines.

    A strategy that decides by a rule of its own says so in place of a source.
    """
    at_scores: dict[str, list[LeaderboardLine]] = defaultdict(list)
    by_rules: dict[str, list[LeaderboardLine]] = defaultdict(list)
    for head, line in zip(heads, lines, strict=True):
        if head.threshold is None:
            continue
        source = printable(head.threshold_from or "unknown source")
        if source.startswith(NO_THRESHOLD):
            by_rules[source.removeprefix(NO_THRESHOLD)].append(line)
        else:
            at_scores[f"{head.threshold:.4g} ({source})"].append(line)
    phrases = []
    for phrase, lines_of in (("at a score from", at_scores), ("by", by_rules)):
        parts = []
        for text, some in lines_of.items():
            names = name_lines(some, lines)
            parts.append(text + (f" for {names}" if names else ""))
        if parts:
            phrases.append(f"{phrase} {'; '.join(parts)}")
    if phrases:
        yield Explanation(f"decisions {'; '.join(phrases)}", "thresholds")


def _truncated(heads: Sequence[Row], lines: Sequence[LeaderboardLine]) -> Iterator[str]:
    # strategies share the evidence of their classifier, so their lines say the same
    counts = dict.fromkeys(
        (line.classifier, line.dataset, head.n_truncated, line.n)
        for head, line in zip(heads, lines, strict=True)
        if head.n_truncated
    )
    for classifier, dataset, n_truncated, n in counts:
        yield f"{classifier} on {dataset}: {n_truncated} of {n} samples were truncated"


def _conflicting(
    heads: Sequence[Row], lines: Sequence[LeaderboardLine]
) -> Iterator[str]:
    counts = dict.fromkeys(
        (line.dataset, head.n_conflicting, line.n)
        for head, line in zip(heads, lines, strict=True)
        if head.n_conflicting
    )
    for dataset, n_conflicting, n in counts:
        yield (
            f"{dataset}: {n_conflicting} of {n} samples have a text that occurs with "
            "the other label, too, so that no guard can have all of them right"
        )


def _shared_costs(
    heads: Sequence[Row], lines: Sequence[LeaderboardLine]
) -> Iterator[str]:
    """Yield who pays for evidence that a dataset has in common with others."""
    shared = dict.fromkeys(
        (line.classifier, line.dataset, head.cost_shared_with)
        for head, line in zip(heads, lines, strict=True)
        if head.cost_shared_with
    )
    for classifier, dataset, payers in shared:
        yield (
            f"{classifier} on {dataset}: recorded once for several datasets, the cost "
            f"is counted on {printable(payers or '')}"
        )


def _contaminated(
    heads: Sequence[Row], lines: Sequence[LeaderboardLine]
) -> Iterator[str]:
    contaminated = {
        (line.classifier, line.dataset)
        for head, line in zip(heads, lines, strict=True)
        if head.contaminated
    }
    for classifier, dataset in sorted(contaminated):
        yield (
            f"{classifier} on {dataset}: the model may have been trained on this set, "
            "or on its prompts"
        )


def _missing_of_packs(heads: Sequence[Row]) -> Iterator[str]:
    """Yield the sets of packs that could not be read, so that nobody takes a mean."""
    missing = dict.fromkeys((h.pack, h.pack_missing) for h in heads if h.pack_missing)
    for pack, sets in missing:
        yield f"pack {printable(pack or '')} without {printable(sets or '')}"


def _one_class(heads: Sequence[Row], lines: Sequence[LeaderboardLine]) -> Iterator[str]:
    """Yield which sets have one class, and what would make a ranking possible.

    Precision and F1 have no value there, and accuracy is the one rate in other words.
    """
    rates = {
        line.place: ("recall", "negative") if head.n_pos else ("fpr", "positive")
        for head, line in zip(heads, lines, strict=True)
        if head.n_pos is not None
        and head.n_neg is not None
        and bool(head.n_pos) != bool(head.n_neg)
    }
    for dataset, (rate, lacking) in rates.items():
        other = "xstest_safe" if lacking == "negative" else "harmbench"
        is_prompt = any(
            head.task == "prompt_harm"
            for head, line in zip(heads, lines, strict=True)
            if line.place == dataset
        )
        example = f", as in -d {dataset}+{other}" if is_prompt else ", as in -d A+B"
        yield (
            f"{dataset} has one class: {rate} alone says something; to rank, join a "
            f"set with {lacking} samples{example}"
        )


def _mixes(heads: Sequence[Row], lines: Sequence[LeaderboardLine]) -> Iterator[str]:
    """Yield what sets were joined from: their mix decides what a ranking says."""
    mixes = {
        line.dataset: head.mix
        for head, line in zip(heads, lines, strict=True)
        if head.mix
    }
    for dataset, mix in mixes.items():
        yield (
            f"{dataset}: joined from {printable(mix)}; telling these sources apart is "
            "rewarded as well as telling harm"
        )


def _licences(heads: Sequence[Row], lines: Sequence[LeaderboardLine]) -> Iterator[str]:
    """Yield the licences of public sets in one line, sets of one licence together."""
    sets_under: dict[str, dict[str, None]] = defaultdict(dict)
    for head, line in zip(heads, lines, strict=True):
        if head.licence:
            sets_under[printable(head.licence)][line.dataset] = None
    if sets_under:
        listed = "; ".join(
            f"{', '.join(names)}: {licence}" for licence, names in sets_under.items()
        )
        yield Explanation(f"licences of the data: {listed}", "licences")


def named(names: Sequence[str], most: int = _MAX_NAMED) -> str:
    """Return the first names, and the number of the others."""
    shown = list(names[:most])
    rest = len(names) - len(shown)
    if rest == 1:  # its name takes no more room than the count
        return ", ".join(names)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def name_lines(
    subset: Sequence[LeaderboardLine], lines: Sequence[LeaderboardLine]
) -> str:
    """Return the shortest names that mean these lines and no others.

    Nothing if they are all lines, a count where the names would be too many.
    """
    if len(subset) == len(lines):
        return ""
    one_classifier = len({line.classifier for line in lines}) == 1
    naming: list[Callable[[LeaderboardLine], str]] = [
        (lambda line: line.method) if one_classifier else _classifier_and_method,
        lambda line: line.classifier,
        lambda line: f"on {line.place}",
        lambda line: f"{_classifier_and_method(line)} on {line.place}",
    ]
    for name in naming:
        names = dict.fromkeys(map(name, subset))
        # A short name is of no use where it means other lines, too.
        exact = sum(name(line) in names for line in lines) == len(subset)
        if exact and len(names) <= _MAX_NAMED:
            return ", ".join(names)
    return f"{len(subset)} lines"


def _classifier_and_method(line: LeaderboardLine) -> str:
    return f"{line.classifier}/{line.method}"
