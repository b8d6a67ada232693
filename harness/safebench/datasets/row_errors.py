"""Collect the bad rows of one source: whoever mends a file wants to see all at once."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from safebench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .request import LoadReport

MAX_SHOWN_ERRORS = 10


class RowErrors:
    """The bad rows of one source: fatal, or with `skip` recorded and left out."""

    def __init__(self, name: str, *, skip: bool) -> None:
        self.name = name
        self.skip = skip
        self.errors: list[tuple[str, str]] = []

    def add(self, where: str, problem: str) -> None:
        """Add the problem of the row at `where` (``FILE:LINE`` or ``hub-id[row]``)."""
        self.errors.append((where, problem))

    def raise_or_record(self, report: LoadReport, usable: int) -> None:
        """Raise `DataError` for bad rows, or with `skip` add them to `report.skipped`.

        `usable` counts the good rows: if there are none, skipping does not help.
        """
        # Parsing errors were added before errors of content: put them in file order.
        self.errors.sort(key=lambda error: _line_order(error[0]))
        if self.errors and not self.skip:
            raise DataError(self._message())
        if not usable:
            raise DataError(
                f"no usable rows in {self.name}: all {len(self.errors)} are bad"
                f"\n{format_errors(self.errors)}"
            )
        report.skipped += self.errors

    def _message(self) -> str:
        advice = "--on-bad-row skip leaves bad rows out and counts them"
        if len(self.errors) == 1:
            where, problem = self.errors[0]
            return f"{where}: {problem} ({advice})"
        return (
            f"{self.name}: {len(self.errors)} rows cannot be read; {advice}"
            f"\n{format_errors(self.errors)}"
        )


def format_errors(errors: Sequence[tuple[str, str]]) -> str:
    """Return the first errors (where, problem) as lines, and a count of the rest."""
    lines = [f"  {where}: {problem}" for where, problem in errors[:MAX_SHOWN_ERRORS]]
    if len(errors) > MAX_SHOWN_ERRORS:
        lines.append(f"  and {len(errors) - MAX_SHOWN_ERRORS} more")
    return "\n".join(lines)


def summarise_errors(errors: Sequence[tuple[str, str]]) -> str:
    """Return few errors line by line, and many as counts of the same problem."""
    if len(errors) <= MAX_SHOWN_ERRORS:
        return format_errors(errors)
    first: dict[str, str] = {}
    for where, problem in errors:
        first.setdefault(problem, where)
    counts = Counter(problem for _, problem in errors).most_common(MAX_SHOWN_ERRORS)
    lines = [f"  {n} x {problem} (first: {first[problem]})" for problem, n in counts]
    rest = len(errors) - sum(n for _, n in counts)
    return "\n".join([*lines, f"  and {rest} more"] if rest else lines)


def _line_order(where: str) -> tuple[str, int]:
    """Sort FILE:9 before FILE:10, and FILE[9] before FILE[10]."""
    place = re.fullmatch(r"(.*)(?::|\[)(\d+)\]?", where, re.DOTALL)
    return (place[1], int(place[2])) if place else (where, 0)
