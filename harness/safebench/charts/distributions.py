"""Charts of one combination and of one ensemble: how uncertainty is distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.number_format import format_number

from .cards import ChartCard
from .svg import Axis, Chart, Guide, Series, draw

if TYPE_CHECKING:
    from safebench.analysis.ensemble import EnsembleMembers
    from safebench.analysis.uncertainty import ErrorDetection
    from safebench.typing import Array

MAX_DOTS = 1500  # of right, and of wrong decisions


def uncertainty_card(detection: ErrorDetection) -> ChartCard:
    """Return the distribution of the uncertainty of right and of wrong decisions."""
    title = "Uncertainty of right and wrong decisions"
    edges = np.array(detection.edges)
    if not edges[0] < edges[-1]:
        reason = "All decisions have the same uncertainty."
        return ChartCard(kind="uncertainty", title=title, reason=reason)
    series = []
    for position, (name, part) in enumerate(
        (("right", detection.right), ("wrong", detection.wrong))
    ):
        if not part.n:
            continue
        shares = np.append(np.array(part.counts) / part.n, 0.0)
        median = "" if part.quartiles is None else format_number(part.quartiles[1])
        series.append(
            Series(
                name=f"{name}, n = {part.n:,}",
                position=position,
                x=edges,
                y=shares,
                numbers=f"median {median}" if median else "",
                step="post",
                kind="fill",
            )
        )
    top = max((float(s.y.max()) for s in series), default=0.0)
    auroc = detection.note
    if detection.auroc is not None:
        auroc = f"error AUROC {detection.auroc:.3f}"
        if detection.low is not None and detection.high is not None:
            auroc += f" [{detection.low:.3f} {detection.high:.3f}]"
    chart = Chart(
        alt=f"Histogram of the uncertainty of right and of wrong decisions: {auroc}",
        x=Axis(label="uncertainty", low=float(edges[0]), high=float(edges[-1])),
        y=Axis(label="share of decisions", high=top * 1.1 or 1.0),
        series=series,
    )
    return ChartCard(kind="uncertainty", title=title, svg=draw(chart), notes=(auroc,))


def member_spread_card(members: EnsembleMembers) -> ChartCard:
    """Return the standard deviation of the members' probabilities against their mean.

    Errors at the bottom corners, where all members agree, are those that no measure of
    disagreement finds. Members that say 0 or 1 spread most at a given mean.
    """
    mean = np.linspace(0, 1, 101)
    series = []
    for position, (name, mask) in enumerate(
        (("right", ~members.wrong), ("wrong", members.wrong))
    ):
        rows = _subsample(np.flatnonzero(mask))
        n = int(mask.sum())
        shown = f", {len(rows):,} drawn" if len(rows) < n else ""
        series.append(
            Series(
                name=f"{name}, n = {n:,}{shown}",
                position=position,
                x=members.mean_probability[rows],
                y=members.std[rows],
                kind="dots",
            )
        )
    top = min(1.15 * float(members.std.max()) + 0.03, 0.52)
    limit = np.sqrt(mean * (1 - mean))
    inside = limit <= top
    chart = Chart(
        alt="Scatter plot of the members' standard deviation against their mean, for "
        "right and for wrong decisions",
        x=Axis(label="mean of the members' probabilities"),
        y=Axis(label="their standard deviation", high=top),
        series=series,
        guides=[
            Guide(x=mean[side & inside], y=limit[side & inside], name=name)
            for side, name in (
                (mean <= 0.5, "largest possible"),  # noqa: PLR2004
                (mean > 0.5, ""),  # noqa: PLR2004
            )
        ],
    )
    return ChartCard(
        kind="spread", title="Disagreement of members, by decision", svg=draw(chart)
    )


def _subsample(rows: Array) -> Array:
    """Return at most `MAX_DOTS` of the rows, evenly spaced."""
    step = -(-len(rows) // MAX_DOTS)
    return rows[:: max(step, 1)]
