"""The leaderboard as JSON, unrounded, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .table import Line, Table, View

NAMES = ("dataset", "task", "classifier", "model", "strategy", "calibrator", "run")
NUMBERS = (
    "value",
    "ci_low",
    "ci_high",
    "ci_method",
    "bound_low",
    "bound_high",
    "n_scored",
    "note",
)


def render(table: Table, view: View) -> str:
    """Return a list of objects; `metrics` maps a name to its value and its n."""
    records = [_record(line, table.metrics) for line in table.lines]
    return json.dumps(records, indent=2, ensure_ascii=not view.unicode)


def _record(line: Line, metrics: tuple[str, ...]) -> dict[str, Any]:
    return {
        **{name: getattr(line, name) for name in NAMES},
        "n": None if line.source and not line.n else line.n,
        "n_pos": line.n_pos,
        "n_failed": line.n_failed,
        **({"source": line.source} if line.source else {}),
        "metrics": {
            metric: {name: getattr(cell, name) for name in NUMBERS}
            for metric, cell in zip(metrics, line.cells, strict=True)
        },
    }
