"""Figure of drift: the evidence after each line, and both distributions of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .style import BLUE, MUTED, VERMILION, new_figure, plot_style, set_title

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.decision.drift import DriftReport

DPI = 150


def write_drift_plot(report: DriftReport, path: Path) -> Path:
    """Write the figure of a report; the ending of the name says in which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with plot_style():
        figure = new_figure(6.4, 6.4)
        top, bottom = figure.subplots(2, 1)
        lines = report.stream.lines
        top.plot(lines, report.alarm.log10_evidence, color=BLUE, linewidth=1.6)
        rings = float(np.log10(1 / report.alpha))
        top.axhline(rings, color=VERMILION, linewidth=1.2, linestyle=(0, (4, 2)))
        top.annotate(
            f"rings from {1 / report.alpha:.4g}",
            (float(lines[0]), rings),
            xytext=(2, 3),
            textcoords="offset points",
            color=VERMILION,
            fontsize=9,
        )
        if report.alarm.line is not None:
            top.axvline(report.alarm.line, color=MUTED, linewidth=1.2)
        top.set_xlabel("line")
        top.set_ylabel("evidence, log10")
        set_title(top, "Drift", f"{report.stream.name} beside {report.reference.name}")
        for stream, colour, name in (
            (report.reference, MUTED, "reference"),
            (report.stream, BLUE, "stream"),
        ):
            known = np.sort(stream.known)
            if len(known):
                shares = np.arange(1, len(known) + 1) / len(known)
                bottom.step(known, shares, where="post", color=colour, label=name)
        bottom.set_xlabel("score")
        bottom.set_ylabel("share at or below")
        bottom.legend(loc="lower right")
        figure.savefig(path, dpi=DPI)
    return path
