"""Choose which pictures an analysis gets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safebench.analysis.doubt import OWN
from safebench.analysis.visible import visible

from .curves import (
    merged,
    operating,
    recall_at_alarms,
    risk_at_shares,
    risk_coverage,
)
from .matrix import disagreement
from .parting import parting
from .single import reliability, uncertainty
from .style import MOST, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure

    from safebench.analysis import Analysis, Combination
    from safebench.analysis.members import Members

_MAP = 3  # voters
SINGLES = 12  # combinations that get pictures of their own
_PLAIN = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture: its file name without suffix, what it shows, and the figure.

    A `wide` one takes a row of its own.
    """

    name: str
    alt: str
    figure: Figure
    wide: bool = False


def figures(analysis: Analysis) -> Iterator[Drawn]:
    """Yield the pictures of an analysis, drawn in the package's style."""
    with look():
        for dataset, found in _by_dataset(analysis).items():
            yield from _shared(dataset, found)
        for combination in analysis.combinations[:SINGLES]:
            yield from _single(combination)
        for members in analysis.members:
            yield _parting(members)
        groups = [members.agreement for members in analysis.members]
        for each in (*groups, *analysis.agreements):
            if len(each.names) < _MAP:
                continue  # one number needs no map
            alt = f"Heat map: how often {each.title} differ on {each.dataset}"
            yield Drawn(_slug(each.dataset, each.title, "disagreement"), alt,
                        disagreement(each))  # fmt: skip


def _parting(members: Members) -> Drawn:
    found = members.agreement
    about = f"{visible(found.title)} on {visible(found.dataset)}"
    return Drawn(
        _slug(found.dataset, found.title, "parting"),
        f"Scatter plot: spread against mean, {about}",
        parting(members, about),
    )


def left_out(analysis: Analysis) -> str:
    """Say which pictures were not drawn, so that nobody takes a part for the whole."""
    more = len(analysis.combinations) - SINGLES
    if more <= 0:
        return ""
    return (
        f"{more} combinations have no plots of their own: choose with --classifier, "
        "--strategy and --dataset"
    )


def _slug(*parts: str) -> str:
    return ".".join(_PLAIN.sub("_", part) for part in parts)


def _by_dataset(analysis: Analysis) -> dict[str, list[Combination]]:
    found: dict[str, list[Combination]] = {}
    for combination in analysis.combinations:
        found.setdefault(combination.predictions.dataset, []).append(combination)
    return found


def _shared(dataset: str, found: Sequence[Combination]) -> Iterator[Drawn]:
    first = found[0].predictions
    about = f"{visible(dataset)}: {first.n} samples, {int(first.y.sum())} positive"
    one = len({c.predictions.classifier for c in found}) == 1
    about = f"{visible(first.classifier)} on {about}" if one else about
    ranked = sorted(
        (c for c in found if c.selective is not None),
        key=lambda c: c.selective.aurc if c.selective else 1.0,
    )
    named = [(_label(c, one=one), c) for c in ranked]
    if named:
        alt = f"Risk-coverage curves on {dataset}"
        curves = merged(named, risk_at_shares)
        yield Drawn(_slug(dataset, "risk-coverage"), alt,
                    risk_coverage(curves[:MOST], about + _more(curves)))  # fmt: skip
    scored = [(_label(c, one=one), c) for c in found if _two_classes(c)]
    if scored:
        alt = f"ROC and precision-recall curves on {dataset}"
        curves = merged(scored, recall_at_alarms)
        drawn = operating(curves[:MOST], about + _more(curves))
        yield Drawn(_slug(dataset, "roc-pr"), alt, drawn, wide=True)


def _more(curves: Sequence[object]) -> str:
    """Say that a plot could not hold all curves."""
    return f"; {MOST} of {len(curves)} curves" if len(curves) > MOST else ""


def _label(combination: Combination, *, one: bool) -> str:
    found = combination.predictions
    return visible(found.strategy if one else f"{found.classifier}/{found.strategy}")


def _two_classes(combination: Combination) -> bool:
    """Tell whether there are curves: scores of samples of both classes."""
    predictions = combination.predictions
    return len(np.unique(predictions.y[~np.isnan(predictions.score)])) > 1


def _single(combination: Combination) -> Iterator[Drawn]:
    found = combination.predictions
    about = visible(found.name)
    place = (found.dataset, found.classifier, found.strategy)
    if combination.detection is not None and combination.doubt is not None:
        source = combination.doubt.source
        source = "the strategy's own" if source == OWN else "closeness to the threshold"
        yield Drawn(
            _slug(*place, "uncertainty"),
            f"Histogram: uncertainty of right and wrong decisions, {about}",
            uncertainty(combination.detection, source, about),
        )
    if combination.calibration is not None:
        yield Drawn(
            _slug(*place, "reliability"),
            f"Reliability diagram of {about}",
            reliability(combination.calibration, about),
        )
