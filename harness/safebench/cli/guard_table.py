"""The table of `list guards`: a line a guard, in 80 columns.

What does not fit is cut; `list guards NAME` and `--json` have it whole.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from safebench.records import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from safebench.specs import GuardProfile

WIDTH = 80
_GAP = "  "
_TASK_LETTERS = dict(zip(TASKS, "PRFIJG", strict=True))
_WIDEST_VERIFIED = 16
_HEADS = ("tasks", "answer", "verified")
HINT = "safebench list guards NAME shows all of one: its command, prompt, models"


def table_lines(
    guards: Mapping[str, Sequence[GuardProfile]], width: int = WIDTH
) -> Iterator[str]:
    """Yield the lines of a table for the guards of each classifier."""
    letters = [f"{letter} {task}" for task, letter in _TASK_LETTERS.items()]
    yield from wrap(f"tasks: {', '.join(letters)}", width, subsequent_indent=" " * 7)
    yield "verified: weights (the published model), frame (a random one of its class)"
    for classifier, profiles in guards.items():
        if not profiles:
            continue
        rows = [
            (f"  {p.name}", _letters(p.tasks), p.answer, _kind(p)) for p in profiles
        ]
        rows.insert(0, (classifier, *_HEADS))
        names, tasks, _, verified = (max(map(len, x)) for x in zip(*rows, strict=True))
        verified = min(verified, _WIDEST_VERIFIED)
        rest = width - names - tasks - verified - 3 * len(_GAP)
        yield ""
        for row in rows:
            cells = zip(row, (names, tasks, rest, verified), strict=True)
            yield _GAP.join(_cut(x, n).ljust(n) for x, n in cells).rstrip()
    yield ""
    yield HINT


def _kind(profile: GuardProfile) -> str:
    """Return how a guard was verified, without the details behind a colon."""
    return profile.verified.partition(":")[0] or "?"


def _letters(tasks: Sequence[str]) -> str:
    """Return a letter for each task, a dot in place of those that are not answered."""
    return "".join(x if task in tasks else "." for task, x in _TASK_LETTERS.items())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3].rstrip() + "..."
