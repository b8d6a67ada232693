"""The chat template, and the answer that the guard is trained to give."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tiny_guard.sources import CODES

if TYPE_CHECKING:
    from tiny_guard.rows import TrainingRow

BOS = "<|begin_of_text|>"
EOT = "<|eot_id|>"
TOPICS: dict[str, str] = CODES["codes"]
_SOURCE = Path(__file__).with_name("chat_template.jinja")


def chat_template() -> str:
    """Return the template with the categories written out, as it is stored."""
    source = _SOURCE.read_text(encoding="utf-8").rstrip("\n")
    start = source.index("{% for code, topic")
    end = source.index("<END UNSAFE")
    listed = "".join(f"{code} {topic}\n" for code, topic in TOPICS.items())
    return source[:start] + listed + source[end:]


def answer(row: TrainingRow) -> str:
    """Write the full verdict, or as much of it as the row's labels say.

    A harmful row without categories ends before the first number; one whose list
    may be incomplete ends after the last known code: nothing made up is trained.
    """
    if not row.unsafe:
        return f"\n\nsafe{EOT}"
    if not row.categories:
        return "\n\nunsafe\nS"
    codes = ",".join(row.categories)
    return f"\n\nunsafe\n{codes}" + (EOT if row.complete else "")
