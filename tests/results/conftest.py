"""Run folders with predictions, written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Write = Callable[..., Path]


def prediction(row: int, **fields: Any) -> dict[str, Any]:
    """Return one line of predictions."""
    return {
        "id": f"set/test/{row}",
        "content": f"content-{row}",
        "group": f"group-{row}",
        "classifier": "guard",
        "model": "org/guard",
        "strategy": "greedy",
        "dataset": "set",
        "config": None,
        "split": "test",
        "part": "test",
        "task": "prompt_harm",
        "score": 0.5,
        "decision": True,
        "label": True,
    } | fields


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that stores predictions of RUN, CLASSIFIER/METHOD.

    METHOD is STRATEGY or STRATEGY+CALIBRATOR.
    """
    monkeypatch.chdir(tmp_path)

    def _write(
        run: str,
        label: str,
        y: Any,
        score: Any,
        *,
        groups: Any = None,
        dataset: str = "set",
        columns: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Path:
        classifier, method = label.split("/")
        strategy, _, calibrator = method.partition("+")
        if calibrator:
            fields["calibrator"] = calibrator
        path = Path("runs") / run / "predictions" / classifier / f"{dataset}.test"
        path.mkdir(parents=True, exist_ok=True)
        lines = []
        for row, (truth, value) in enumerate(zip(y, score, strict=True)):
            known = not np.isnan(value)
            line = prediction(
                row,
                classifier=classifier,
                strategy=strategy,
                dataset=dataset,
                label=bool(truth),
                score=float(value) if known else None,
                decision=bool(value >= 0.5) if known else None,
                **fields,
            )
            for name, column in (columns or {}).items():
                line[name] = column[row].item()
            if groups is not None:
                line["group"] = f"group-{groups[row]}"
            lines.append(json.dumps(line))
        file = path / f"{method}.jsonl"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    return _write


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth, scores that say little, and scores that say much, (200,) each."""
    rng = np.random.default_rng(0)
    y = rng.random(200) < 0.5
    weak = 1 / (1 + np.exp(-(rng.normal(size=200) + 0.6 * (y - 0.5))))
    strong = 1 / (1 + np.exp(-(rng.normal(size=200) + 4 * (y - 0.5))))
    return y, np.round(weak, 6), np.round(strong, 6)
