"""Which figures an analysis gets, and their PNG files.

Curves of all strategies on a dataset share one figure; what belongs to one combination
or one ensemble has a figure of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safebench.sanitize import sanitize

from .combination import draw_reliability, draw_uncertainty
from .curves import (
    draw_risk_coverage,
    draw_roc_and_pr,
    merge_indistinguishable,
    recall_at_fprs,
    risk_at_coverages,
)
from .ensemble import draw_disagreement, draw_member_spread
from .style import MAX_CURVES, plot_style

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from safebench.analysis import CombinationAnalysis, RunAnalysis
    from safebench.analysis.agreement import Agreement
    from safebench.analysis.ensemble import EnsembleMembers

DPI = 160
MAX_COMBINATIONS = 12  # combinations that get figures of their own
_MIN_RATERS = 3  # two raters differ by one number, which needs no heat map
_UNSAFE = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True, slots=True)
class NamedFigure:
    """A figure: its file name without suffix, what it shows, and the drawing.

    A `wide` one takes a row of its own on a page.
    """

    name: str
    alt: str
    figure: Figure
    wide: bool = False


def write_plots(analysis: RunAnalysis, folder: Path) -> list[Path]:
    """Write every figure of an analysis into a folder, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for drawn in draw_figures(analysis):
        path = folder / f"{drawn.name}.png"
        drawn.figure.savefig(path, dpi=DPI, metadata={"Description": drawn.alt})
        written.append(path)
    return written


def omitted_figures_note(analysis: RunAnalysis) -> str:
    """Return how many combinations have no figures, or nothing if all have."""
    n_omitted = len(analysis.combinations) - MAX_COMBINATIONS
    if n_omitted <= 0:
        return ""
    return (
        f"{n_omitted} combinations have no plots of their own: choose with "
        "--classifier, --strategy and --dataset"
    )


def draw_figures(analysis: RunAnalysis) -> Iterator[NamedFigure]:
    """Yield the figures of an analysis, drawn in the package's style."""
    with plot_style():
        for dataset, combinations in _by_dataset(analysis).items():
            yield from _dataset_figures(dataset, combinations)
        for combination in analysis.combinations[:MAX_COMBINATIONS]:
            yield from _combination_figures(combination)
        for members in analysis.ensembles:
            yield _member_spread(members)
        of_members = [members.agreement for members in analysis.ensembles]
        for agreement in (*of_members, *analysis.agreements):
            if len(agreement.names) >= _MIN_RATERS:
                yield _disagreement(agreement)


def _by_dataset(analysis: RunAnalysis) -> dict[str, list[CombinationAnalysis]]:
    by_dataset: dict[str, list[CombinationAnalysis]] = {}
    for combination in analysis.combinations:
        by_dataset.setdefault(combination.predictions.dataset, []).append(combination)
    return by_dataset


def _dataset_figures(
    dataset: str, combinations: Sequence[CombinationAnalysis]
) -> Iterator[NamedFigure]:
    first = combinations[0].predictions
    about = f"{sanitize(dataset)}: {first.n} samples, {int(first.y.sum())} positive"
    short = len({c.predictions.classifier for c in combinations}) == 1
    about = f"{sanitize(first.classifier)} on {about}" if short else about
    ranked = sorted(
        (c for c in combinations if c.risk_coverage is not None),
        key=lambda c: c.risk_coverage.aurc if c.risk_coverage else 1.0,
    )
    if ranked:
        named = [(_curve_label(c, short=short), c) for c in ranked]
        curves = merge_indistinguishable(named, risk_at_coverages)
        subtitle = about + _omitted_curves_note(curves)
        yield NamedFigure(
            _slug(dataset, "risk-coverage"),
            f"Risk-coverage curves on {dataset}",
            draw_risk_coverage(curves[:MAX_CURVES], subtitle),
        )
    scored = [c for c in combinations if _has_two_classes(c)]
    if scored:
        named = [(_curve_label(c, short=short), c) for c in scored]
        curves = merge_indistinguishable(named, recall_at_fprs)
        subtitle = about + _omitted_curves_note(curves)
        yield NamedFigure(
            _slug(dataset, "roc-pr"),
            f"ROC and precision-recall curves on {dataset}",
            draw_roc_and_pr(curves[:MAX_CURVES], subtitle),
            wide=True,
        )


def _omitted_curves_note(curves: Sequence[object]) -> str:
    return f"; {MAX_CURVES} of {len(curves)} curves" if len(curves) > MAX_CURVES else ""


def _curve_label(combination: CombinationAnalysis, *, short: bool) -> str:
    """Return the strategy's name, unless `short` after its classifier's."""
    predictions = combination.predictions
    prefix = "" if short else f"{predictions.classifier}/"
    return sanitize(prefix + predictions.method)


def _has_two_classes(combination: CombinationAnalysis) -> bool:
    """Tell whether there are curves: scores of samples of both classes."""
    predictions = combination.predictions
    return len(np.unique(predictions.y[~np.isnan(predictions.score)])) > 1


def _combination_figures(combination: CombinationAnalysis) -> Iterator[NamedFigure]:
    predictions, uncertainty = combination.predictions, combination.uncertainty
    about = sanitize(predictions.name)
    names = (predictions.dataset, predictions.classifier, predictions.method)
    if combination.error_detection is not None and uncertainty is not None:
        source = "closeness to the threshold"
        if uncertainty.from_strategy:
            source = "the strategy's own"
        yield NamedFigure(
            _slug(*names, "uncertainty"),
            f"Histogram: uncertainty of right and wrong decisions, {about}",
            draw_uncertainty(combination.error_detection, source, about),
        )
    if combination.reliability is not None:
        yield NamedFigure(
            _slug(*names, "reliability"),
            f"Reliability diagram of {about}",
            draw_reliability(combination.reliability, about),
        )


def _member_spread(members: EnsembleMembers) -> NamedFigure:
    agreement = members.agreement
    about = f"{sanitize(agreement.title)} on {sanitize(agreement.dataset)}"
    return NamedFigure(
        _slug(agreement.dataset, agreement.title, "parting"),
        f"Scatter plot: standard deviation against mean, {about}",
        draw_member_spread(members, about),
    )


def _disagreement(agreement: Agreement) -> NamedFigure:
    return NamedFigure(
        _slug(agreement.dataset, agreement.title, "disagreement"),
        f"Heat map: how often {agreement.title} differ on {agreement.dataset}",
        draw_disagreement(agreement),
    )


def _slug(*parts: str) -> str:
    return ".".join(_UNSAFE.sub("_", part) for part in parts)
