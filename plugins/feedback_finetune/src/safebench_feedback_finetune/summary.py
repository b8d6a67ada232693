"""What a collection came to, beside what people say where they said it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .records import Collected

# People's labels: of prompts, then of responses.
HEAD = ("", "number", "share", "labelled harmful", "labelled benign", "not labelled")


def counts(records: Iterable[Collected]) -> dict[str, Any]:
    """Return how many prompts and responses went where, by what people say of them.

    A prompt counts once, whatever the number of its responses.
    """
    records = list(records)
    prompts = list({record.prompt_id: record for record in records}.values())
    answered = [record for record in records if record.p_out is not None]
    return {
        "prompts": _labels(record.label for record in prompts),
        "blocked_at_input": _labels(r.label for r in prompts if not r.passed),
        "passed": _labels(record.label for record in prompts if record.passed),
        "responses": _labels(record.response_label for record in answered),
        "passed_then_blocked": _labels(r.response_label for r in answered if r.slipped),
        "passed_and_passed": _labels(
            r.response_label for r in answered if not r.slipped
        ),
        "without_response": sum(r.passed and r.p_out is None for r in records),
    }


def _labels(labels: Iterable[bool | None]) -> dict[str, int]:
    said = list(labels)
    return {
        "n": len(said),
        "harmful": sum(label is True for label in said),
        "benign": sum(label is False for label in said),
        "not_labelled": sum(label is None for label in said),
    }


def summary_text(found: dict[str, Any]) -> str:
    """Return the counts as a table for people."""
    rows = [
        HEAD,
        *_part(found, "prompts", ("blocked_at_input", "passed")),
        *_part(found, "responses", ("passed_then_blocked", "passed_and_passed")),
    ]
    text = aligned(rows)
    if missing := found["without_response"]:
        text += f"\n{missing} prompts passed and got no response that can be judged"
    return text


def _part(
    found: dict[str, Any], whole: str, parts: Sequence[str]
) -> list[tuple[str, ...]]:
    n = found[whole]["n"]
    rows = []
    for name in (whole, *parts):
        row = found[name]
        share = f"{row['n'] / n:.1%}" if n else "-"
        cells = (row["n"], share, row["harmful"], row["benign"], row["not_labelled"])
        indent = "" if name == whole else "  "
        rows.append((indent + name.replace("_", " "), *map(str, cells)))
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table, all columns but the first to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
