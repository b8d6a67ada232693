"""Output of `safebench gate`: lines, Markdown, JSON, and JUnit XML for CI."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import asdict
from typing import TYPE_CHECKING

from safebench.decision.gate_rules import NO_WORSE
from safebench.sanitize import json_text, printable

if TYPE_CHECKING:
    from safebench.console import RenderOptions
    from safebench.decision.gate_rules import GateReport, RuleResult

FORMATS = ("text", "md", "json")
_DIGITS = 3  # significant ones, more where an end would read as the bound
_MAX_DIGITS = 17
# What XML 1.0 cannot hold, not even as a reference; surrogates are no text at all.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_gate(report: GateReport, form: str, options: RenderOptions) -> str:
    """Return a report in one of `FORMATS`."""
    if form == "json":
        return json_text(gate_record(report), options.encoding, indent=2)
    return gate_markdown(report) if form == "md" else gate_text(report)


def gate_text(report: GateReport) -> str:
    """Return one line a rule and cell, failed ones first, then notes."""
    ordered = sorted(report.results, key=lambda result: result.passed)
    lines = [
        printable(f"{'pass' if result.passed else 'FAIL'} {_sentence(result)}")
        for result in ordered
    ]
    return "\n".join([*lines, *(printable(f"note: {n}") for n in report.notes)])


def gate_record(report: GateReport) -> dict[str, object]:
    """Return JSON values; a number that is not known is null, with a reason."""
    return {
        "run": report.run,
        "by": report.by,
        "passed": report.passed,
        "failed": sum(not result.passed for result in report.results),
        "rules": [asdict(result) for result in report.results],
        "notes": list(report.notes),
    }


def gate_markdown(report: GateReport) -> str:
    """Return a table of all rules, for a summary of CI or a comment."""
    failed = sum(not result.passed for result in report.results)
    verdict = f"{failed} of {len(report.results)} rules failed" if failed else "passed"
    lines = [
        f"**Gate of {_escape(report.run)}: {verdict}**",
        "",
        "| | rule | of | on | value | 95 % interval | reason |",
        "| :-- | :-- | :-- | :-- | --: | :-- | :-- |",
    ]
    for result in report.results:
        cells = (
            "pass" if result.passed else "**FAIL**",
            _escape(result.rule),
            _escape(result.cell or "-"),
            _escape(result.dataset or "-"),
            _number(result, result.value),
            _interval(result) or "-",
            _escape("; ".join(filter(None, (result.reason, result.note)))),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if report.notes:
        lines += ["", *(f"- {_escape(note)}" for note in report.notes)]
    return "\n".join(lines)


def gate_junit(report: GateReport) -> str:
    """Return JUnit XML: one test case a rule and cell."""
    failed = sum(not result.passed for result in report.results)
    counts = {"tests": str(len(report.results)), "failures": str(failed), "errors": "0"}
    suites = ET.Element("testsuites", counts)
    suite = ET.SubElement(
        suites, "testsuite", {"name": _xml(f"safebench gate {report.run}"), **counts}
    )
    for result in report.results:
        where = f"{result.cell} on {result.dataset}" if result.cell else report.run
        case = ET.SubElement(
            suite,
            "testcase",
            {"classname": _xml(where), "name": _xml(result.rule), "time": "0"},
        )
        if not result.passed:
            failure = ET.SubElement(
                case, "failure", {"message": _xml(result.reason), "type": result.kind}
            )
            failure.text = _xml(_sentence(result))
    ET.indent(suites)
    text = ET.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _xml(text: str) -> str:
    """Return text on one line that XML can hold; the writer escapes its signs."""
    return _NO_XML.sub(" ", printable(text))


def _sentence(result: RuleResult) -> str:
    where = f" on {result.dataset} by {result.cell}" if result.cell else ""
    numbers = ""
    if result.value is not None:
        numbers = f" {_number(result, result.value)}"
        if interval := _interval(result):
            numbers += f" ({interval})"
    text = f"{result.rule}{where}:{numbers}"
    reason = f" {result.reason}" if result.reason else ""
    separator = "," if numbers and reason else ""
    note = f" [{result.note}]" if result.note else ""
    return f"{text}{separator}{reason}{note}"


def _interval(result: RuleResult) -> str:
    if result.low is None or result.high is None:
        return ""
    return f"{_number(result, result.low)} to {_number(result, result.high)}"


def _number(result: RuleResult, number: float | None) -> str:
    """Return a number in so many digits that it is seen on which side it lies."""
    if number is None:
        return "-"
    bound, sign = result.bound, ""
    if result.kind == NO_WORSE:
        bound, sign = (bound if number > 0 else -bound), "+"
    for digits in range(_DIGITS, _MAX_DIGITS):
        text = f"{number:{sign}.{digits}g}"
        if (float(text) > bound) == (number > bound) and (float(text) < bound) == (
            number < bound
        ):
            return text
    return f"{number:{sign}.{_MAX_DIGITS}g}"


def _escape(text: str) -> str:
    cleaned = printable(text)
    return "".join(f"\\{char}" if char in "\\|`*<>[]" else char for char in cleaned)
