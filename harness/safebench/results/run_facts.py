"""What a run says of itself: how it was made, and its best line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from safebench.sanitize import printable

from .run_files import MANIFEST_FILE, parse_manifest
from .stored_texts import TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .rows import Row

HEADLINE_METRICS = ("auroc", "f1")  # the first that the lines of a run have


def run_facts(folder: Path) -> dict[str, list[str]]:
    """Return how a run was made, as its manifest says: lines by what they are about.

    What is missing, or is not as a run writes it, is left out.
    """
    try:
        manifest = parse_manifest(folder / MANIFEST_FILE)
    except (OSError, ValueError):
        return {}
    commands, notes = manifest.get("commands"), manifest.get("notes")
    facts = {
        "commands": [
            shlex.join(map(str, words))
            for words in (commands if isinstance(commands, list) else ())
            if isinstance(words, list)
        ],
        "models": [
            f"{label}: {model.get('model')}; {_listed(model.get('facts'))}"
            for label, model in _items(manifest.get("models"))
            if isinstance(model, dict)
        ],
        "data": [
            f"{label}: {_listed(data)}" for label, data in _items(manifest.get("data"))
        ],
        "texts in the folder": [
            f"{label}: {_listed(entry)}" for label, entry in _items(manifest.get(TEXTS))
        ],
        "versions": [_listed(manifest.get("versions"))],
        "notes": list(map(str, notes)) if isinstance(notes, list) else [],
    }
    shown = {name: list(filter(None, lines)) for name, lines in facts.items()}
    return {name: lines for name, lines in shown.items() if lines}


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _listed(value: Any) -> str:
    return ", ".join(f"{name} {fact}" for name, fact in _items(value))


def headline(rows: Iterable[Row]) -> str:
    """Return the samples of a run's sets, and its best line by the headline metric.

    By the mean over all sets of the run; a line that lacks one of them is left out, as
    is one that saw the test labels.
    """
    rows = [row for row in rows if row.category is None and row.slice is None]
    sizes: dict[tuple[Any, ...], int] = {}
    for row in rows:
        sizes[_set_of(row)] = max(row.n, sizes.get(_set_of(row), 0))
    n = f"n = {sum(sizes.values()):,}"
    for metric in HEADLINE_METRICS:
        lines: dict[str, dict[tuple[Any, ...], float]] = {}
        for row in rows:
            if (
                row.metric == metric
                and row.value is not None
                and not row.saw_test_labels
            ):
                method = "+".join(filter(None, (row.strategy, row.calibrator)))
                values = lines.setdefault(f"{row.classifier}/{method}", {})
                values[_set_of(row)] = row.value
        means = {
            name: sum(values.values()) / len(values)
            for name, values in lines.items()
            if len(values) == len(sizes)
        }
        if means:
            best = max(means, key=means.__getitem__)
            over = f", mean of {len(sizes)} sets" if len(sizes) > 1 else ""
            shown = printable(best)[:100]
            return f"{n}; best {metric} {means[best]:.3f}{over}: {shown}"
    return n


def _set_of(row: Row) -> tuple[Any, ...]:
    return (row.dataset, row.config, row.split, row.task)
