"""Output of `safebench drift`: as text, Markdown and JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.decision.drift import thin
from safebench.sanitize import json_text, printable

if TYPE_CHECKING:
    from safebench.console import RenderOptions
    from safebench.decision.drift import DriftReport
    from safebench.decision.score_stream import ScoreStream

FORMATS = ("text", "md", "json")


def render_drift(report: DriftReport, form: str, options: RenderOptions) -> str:
    """Return a report in one of `FORMATS`."""
    if form == "json":
        return json_text(drift_record(report), options.encoding, indent=2)
    facts = [(name, printable(text)) for name, text in _facts(report)]
    if form == "md":
        rows = [f"| {name} | {_escape(text)} |" for name, text in facts]
        return "\n".join(["| what | result |", "| :-- | :-- |", *rows])
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in facts)


def _facts(report: DriftReport) -> list[tuple[str, str]]:
    alarm, psi = report.alarm, report.psi
    rings = 1 / report.alpha
    highest = int(np.argmax(alarm.log10_evidence))
    at = int(report.stream.lines[highest])
    most = f"highest {_power(alarm.log10_evidence[highest])} at line {at}"
    verdict = f"quiet: evidence below {rings:.4g} after every line; {most}"
    if alarm.line is not None:
        kind = "scores" if alarm.because == "scores" else "lines without a score"
        row = int(np.flatnonzero(report.stream.lines == alarm.line)[0])
        value = alarm.log10_evidence[row]
        verdict = (
            f"RANG at line {alarm.line}, for {kind}: evidence {_power(value)}, it "
            f"rings from {rings:.4g}; {most}"
        )
    ks = "not known"
    if report.ks is not None:
        statistic, p = report.ks
        ks = f"D {statistic:.3f}, p {_p(p)}, of all lines (a test for one look)"
    index = "not known"
    if psi is not None:
        index = (
            f"{psi.value:.3f} in {psi.bins} bins; without drift {psi.expected:.3f} on "
            f"average, above {psi.usual_most:.3f} in 5 %"
        )
    missing = (
        f"{_missing(report.stream)} lines, {_missing(report.reference)} in the "
        f"reference; p of as many or more {_p(report.missing_p)}"
    )
    return [
        ("reference", f"{report.reference.name}: {len(report.reference.known)} scores"),
        ("stream", f"{report.stream.name}: {len(report.stream.known)} scores"),
        ("alarm", verdict),
        ("KS", ks),
        ("PSI", index),
        ("missing", missing),
        *(("note", note) for note in report.notes),
    ]


def drift_record(report: DriftReport) -> dict[str, Any]:
    """Return JSON values; null where something is not known, with a note."""
    alarm, psi = report.alarm, report.psi
    points = thin(alarm, report.stream.lines)
    return {
        "drifted": report.drifted,
        "alpha": report.alpha,
        "reference": _side(report.reference),
        "stream": _side(report.stream),
        "alarm": {
            "line": alarm.line,
            "because": alarm.because or None,
            "log10_rings_from": math.log10(1 / report.alpha),
            "log10_highest": float(alarm.log10_evidence.max()),
            "log10_last": float(alarm.log10_evidence[-1]),
            "trajectory": [{"line": x, "log10_evidence": y} for x, y in points],
        },
        "ks": report.ks and {"statistic": report.ks[0], "p": report.ks[1]},
        "psi": psi and psi._asdict(),
        "missing_p": report.missing_p,
        "notes": list(report.notes),
    }


def _side(stream: ScoreStream) -> dict[str, Any]:
    return {
        "name": stream.name,
        "n": stream.n,
        "scores": len(stream.known),
        "missing": int(stream.missing.sum()),
        "unsafe": stream.n_pos,
    }


def _missing(stream: ScoreStream) -> str:
    return f"{int(stream.missing.sum())} of {stream.n}"


def _power(log10: float) -> str:
    """Return a number by its logarithm: it may be too large for a float."""
    if abs(log10) < 4:  # noqa: PLR2004 - from there on powers are easier to read
        return f"{10**log10:.3g}"
    exponent = math.floor(log10)
    return f"{10 ** (log10 - exponent):.1f}e{exponent}"


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"  # noqa: PLR2004 - what is shown


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\|`*<>[]" else char for char in text)
