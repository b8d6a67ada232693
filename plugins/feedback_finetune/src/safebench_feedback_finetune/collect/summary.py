"""The summary of a collection: where prompts and responses went, by their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .collection_folder import CollectionRecord

HEADER = ("", "number", "share", "labelled harmful", "labelled benign", "not labelled")


def collection_counts(records: Iterable[CollectionRecord]) -> dict[str, Any]:
    """Return how many prompts and responses passed or were blocked, by their labels.

    A prompt counts once, whatever the number of its responses. Labels are those of
    annotators: of the prompt in the rows of prompts, of the response in the others.
    Responses are those to prompts that passed.
    """
    records = list(records)
    prompts = list({record.prompt_id: record for record in records}.values())
    # A judge of its own reads responses to blocked prompts as well.
    answered = [r for r in records if r.passed and r.p_out is not None]
    return {
        "prompts": _label_counts(record.label for record in prompts),
        "blocked_at_input": _label_counts(r.label for r in prompts if not r.passed),
        "passed": _label_counts(record.label for record in prompts if record.passed),
        "responses": _label_counts(record.response_label for record in answered),
        "passed_then_blocked": _label_counts(
            r.response_label for r in answered if r.passed_then_blocked
        ),
        "passed_and_passed": _label_counts(
            r.response_label for r in answered if not r.passed_then_blocked
        ),
        "without_response": sum(r.passed and r.p_out is None for r in records),
    }


def _label_counts(labels: Iterable[bool | None]) -> dict[str, int]:
    labels = list(labels)
    return {
        "n": len(labels),
        "harmful": sum(label is True for label in labels),
        "benign": sum(label is False for label in labels),
        "not_labelled": sum(label is None for label in labels),
    }


def summary_text(counts: dict[str, Any]) -> str:
    """Return the counts as a table."""
    rows = [
        HEADER,
        *_table_rows(counts, "prompts", ("blocked_at_input", "passed")),
        *_table_rows(counts, "responses", ("passed_then_blocked", "passed_and_passed")),
    ]
    text = align_columns(rows)
    if missing := counts["without_response"]:
        text += f"\n{missing} prompts passed and got no response that can be judged"
    return text


def _table_rows(
    counts: dict[str, Any], whole: str, parts: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return a row for `whole` and an indented one for each of its parts."""
    total = counts[whole]["n"]
    rows = []
    for name in (whole, *parts):
        row = counts[name]
        share = f"{row['n'] / total:.1%}" if total else "-"
        cells = (row["n"], share, row["harmful"], row["benign"], row["not_labelled"])
        indent = "" if name == whole else "  "
        rows.append((indent + name.replace("_", " "), *map(str, cells)))
    return rows


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a text table: first column left-aligned, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
