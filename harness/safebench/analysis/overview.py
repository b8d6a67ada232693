"""The first table: a line for each classifier, strategy and dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .section import Section, interval, number
from .visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .analyse import Analysis, Combination
    from .contest import Contest, Rival


def overview(analysis: Analysis, *, detailed: bool = True) -> Section:
    """Return one line of numbers for each combination."""
    found = analysis.combinations
    names, same = _names(analysis)
    headers = (
        *names, "n", "accuracy", "error AUROC", "95 %", "AURC", "acc. at 80 %",
        "E-AURC", "ECE",
    )  # fmt: skip
    part = "" if analysis.part == "all" else f", {analysis.part} part"
    return Section(
        title=f"{visible(analysis.run)}{part}" + "".join(f", {name}" for name in same),
        headers=headers,
        rows=tuple(
            (*(_named(each, name) for name in names), *_numbers(each)) for each in found
        ),
        left=len(names),
        notes=tuple(_overview_notes(analysis, detailed=detailed)),
        level=1,
    )


def _names(analysis: Analysis) -> tuple[tuple[str, ...], list[str]]:
    """Return the axes that tell combinations apart, and what all have in common."""
    axes: dict[str, set[str]] = {
        axis: {str(getattr(c.predictions, axis)) for c in analysis.combinations}
        for axis in ("classifier", "strategy", "dataset")
    }
    varying = tuple(axis for axis, values in axes.items() if len(values) > 1)
    shown_axes = varying or ("strategy",)
    same = [visible(v) for a, (v, *_) in axes.items() if a not in shown_axes]
    return shown_axes, same


def _named(combination: Combination, axis: str) -> str:
    own = combination.doubt is None or combination.doubt.own
    mark = "" if own or axis != "strategy" else "*"
    return visible(str(getattr(combination.predictions, axis))) + mark


def _numbers(combination: Combination) -> tuple[str, ...]:
    found, curve = combination.detection, combination.selective
    levels = {level.share: level.accuracy for level in curve.levels} if curve else {}
    return (
        str(combination.predictions.n),
        number(combination.accuracy),
        number(found.auroc if found else None),
        interval(found.low, found.high) if found else "",
        number(curve.aurc if curve else None, 4),
        number(levels.get(0.8)),
        number(curve.e_aurc if curve else None, 4),
        number(combination.calibration.ece if combination.calibration else None),
    )


def _overview_notes(analysis: Analysis, *, detailed: bool) -> Iterator[str]:
    yield from map(visible, analysis.notes)
    if any(c.doubt is not None and not c.doubt.own for c in analysis.combinations):
        yield (
            "* uncertainty is the closeness of the score to the threshold, as the "
            "strategy gives none of its own"
        )
    yield (
        "error AUROC: chance that a wrong decision is less sure than a right one "
        "(0.5: uncertainty says nothing); its interval takes groups as wholes"
    )
    yield (
        "AURC: mean error rate over all shares kept, E-AURC what of it a perfect "
        "uncertainty would avoid; lower is better"
    )
    if not detailed:
        yield (
            "too many combinations to show in full: choose with --classifier, "
            "--strategy and --dataset"
        )


def contest(found: Contest) -> Section:
    """Return the strategies that doubt the same decisions, the best first."""
    return Section(
        title=f"Which uncertainty finds the {found.errors} errors of "
        f"{visible(found.classifier)} on {visible(found.dataset)}",
        headers=("strategy", "error AUROC", "to best", "95 %", "worse?"),
        rows=tuple(_rival(rival) for rival in found.rivals),
        notes=(f"paired over the same {found.n} decisions, groups as wholes",),
    )


def _rival(rival: Rival) -> tuple[str, ...]:
    name = visible(rival.strategy) + ("" if rival.own else "*")
    if rival.low is None or rival.high is None:
        return name, number(rival.auroc), "", "", ""
    if rival.low == rival.high == 0:
        return name, number(rival.auroc), number(0.0), "", "same order"
    verdict = "yes" if rival.high < 0 else "not shown"
    return (
        name,
        number(rival.auroc),
        number(rival.difference),
        interval(rival.low, rival.high),
        verdict,
    )
