"""The analysis as titled tables of text: what terminal, Markdown and HTML draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.reporters.text import shown

from .overview import contest, overview
from .section import TEXT_LIMIT, Section, interval, number, percent, whole
from .sparkline import sparkline
from .visible import visible
from .voters import agreement_sections, members_sections

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from safebench.metrics import Value

    from .analyse import Analysis, Combination
    from .calibration import Calibration
    from .detection import Detection, Spread
    from .hardest import Hard
    from .selective import Selective
    from .slices import SliceTable

_PAIRS = 10


def sections(
    analysis: Analysis, *, unicode: bool = True, top: int = _PAIRS, full: bool = True
) -> Iterator[Section]:
    """Yield overview and contests, each combination, then who agrees with whom.

    Unless `full`, combinations are left out where there are too many for a screen.
    """
    detailed = analysis.detailed and (full or analysis.few)
    yield overview(analysis, detailed=detailed)
    yield from map(contest, analysis.contests)
    if detailed:
        for combination in analysis.combinations:
            yield from _combination(combination, analysis.metrics, unicode=unicode)
    for members in analysis.members:
        listed = detailed or len(analysis.members) == 1
        yield from members_sections(members, top, listed=listed)
    for agreement in analysis.agreements:
        yield from agreement_sections(agreement, top)


def _combination(
    combination: Combination, metrics: Sequence[str], *, unicode: bool
) -> Iterator[Section]:
    predictions = combination.predictions
    yield Section(
        title=visible(predictions.name),
        notes=(
            f"{predictions.n} samples, {int(predictions.y.sum())} positive",
            *combination.notes,
        ),
        level=1,
    )
    if combination.detection is not None:
        yield _detection(combination.detection, unicode=unicode)
    if combination.selective is not None:
        yield _retained(combination.selective)
    if combination.calibration is not None:
        yield _calibration(combination.calibration)
    known = [table for table in combination.slices if table.slices]
    for table in known:
        yield _slices(table, metrics)
    if len(known) < len(combination.slices):
        yield _lacking([table for table in combination.slices if not table.slices])
    if combination.hardest:
        yield _hard("Hardest: the least sure", combination.hardest)
    if combination.mistakes:
        yield _hard("Surest mistakes", combination.mistakes)


def _detection(found: Detection, *, unicode: bool) -> Section:
    note = found.note or (
        f"error AUROC {number(found.auroc)} {interval(found.low, found.high)}".strip()
    )
    low, high = number(found.edges[0]), number(found.edges[-1])
    return Section(
        title="Uncertainty of right and wrong decisions",
        headers=("decisions", f"from {low} to {high}", "n", "25 %", "median", "75 %"),
        rows=(
            _spread("right", found.right, unicode=unicode),
            _spread("wrong", found.wrong, unicode=unicode),
        ),
        left=2,
        notes=(note,),
    )


def _spread(name: str, spread: Spread, *, unicode: bool) -> tuple[str, ...]:
    quartiles = spread.quartiles or (None, None, None)
    bars = sparkline(spread.counts, unicode=unicode)
    return (name, bars, str(spread.n), *(number(value, 4) for value in quartiles))


def _retained(found: Selective) -> Section:
    rows = tuple(
        (
            whole(level.share),
            str(level.kept),
            number(level.accuracy),
            interval(level.low, level.high),
            number(level.f1),
        )
        for level in found.levels
    )
    covers = ", ".join(
        f"at most {whole(risk)} wrong: {percent(cover)} kept"
        for risk, cover in found.covers.items()
    )
    areas = (
        f"AURC {number(found.aurc, 4)}, best possible {number(found.optimal, 4)}, "
        f"E-AURC {number(found.e_aurc, 4)}, AUGRC {number(found.augrc, 4)}"
    )
    return Section(
        title="Accuracy against the share kept, surest first",
        headers=("kept", "n", "accuracy", "95 %", "F1"),
        rows=rows,
        notes=(areas, covers),
    )


def _calibration(found: Calibration) -> Section:
    edges = len(found.count)
    rows = tuple(
        (
            f"{i / edges:.2f} to {(i + 1) / edges:.2f}",
            str(found.count[i]),
            number(found.said[i]),
            number(found.seen[i]),
            interval(found.low[i], found.high[i]),
        )
        for i in range(edges)
        if found.count[i]
    )
    clipped = f"; {found.clipped} values outside 0 to 1" if found.clipped else ""
    note = (
        f"ECE {number(found.ece)}; perfect probabilities would give "
        f"{number(found.null_mean)} (95 % below {number(found.null_p95)}) at this "
        f"n; Brier {number(found.brier)}{clipped}"
    )
    return Section(
        title="Calibration",
        headers=("P(positive)", "n", "mean P", "seen", "95 %"),
        rows=rows,
        notes=(note,),
    )


def _slices(table: SliceTable, metrics: Sequence[str]) -> Section:
    rows = tuple(
        (
            visible(part.value, 60),
            str(part.n),
            str(part.n_pos),
            number(part.accuracy),
            interval(part.low, part.high),
            *(_value(part.metrics, name) for name in metrics),
        )
        for part in table.slices
    )
    return Section(
        title=f"By {visible(table.column)}",
        headers=("part", "n", "positive", "accuracy", "95 %", *metrics),
        rows=rows,
        notes=(table.note,) if table.note else (),
    )


def _lacking(tables: Sequence[SliceTable]) -> Section:
    """Return one line for each column that makes no slices."""
    return Section(
        title="No slices",
        notes=tuple(f"by {visible(table.column)}: {table.note}" for table in tables),
    )


def _value(found: Mapping[str, Value], name: str) -> str:
    value = found.get(name)
    return shown(value.value if value else None, name, 3)


def _hard(title: str, found: Sequence[Hard]) -> Section:
    words = {True: "positive", False: "negative"}
    text = any(hard.text is not None for hard in found)
    rows = tuple(
        (
            visible(hard.id),
            words[hard.label],
            words[hard.decision],
            *((visible(hard.text or "", TEXT_LIMIT),) if text else ()),
            number(hard.score),
            number(hard.uncertainty, 4),
        )
        for hard in found
    )
    headers = ("id", "label", "decision", *(("text",) if text else ()))
    return Section(
        title=title,
        headers=(*headers, "score", "uncertainty"),
        rows=rows,
        left=len(headers),
    )
