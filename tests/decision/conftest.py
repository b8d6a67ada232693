"""Run folders with a calibration and a test part, and the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[..., Path]:
    """Return a function that stores predictions of both parts: DATASET, columns."""

    def _write(
        dataset: str,
        y: Any,
        score: Any,
        part: Any,
        of: str = "guard/plain",
        columns: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Path:
        classifier, strategy = of.split("/")
        path = folder / "runs" / "one" / "predictions" / classifier / f"{dataset}.test"
        path.mkdir(parents=True, exist_ok=True)
        lines = []
        for row, (truth, value) in enumerate(zip(y, score, strict=True)):
            known = value is not None and not np.isnan(value)
            line = {
                "id": f"{dataset}/test/{row}",
                "content": f"{dataset}-{row}",
                "group": f"{dataset}-{row}",
                "classifier": classifier,
                "model": "org/guard",
                "strategy": strategy,
                "dataset": dataset,
                "config": None,
                "split": "test",
                "part": part[row] if not isinstance(part, str) else part,
                "task": "prompt_harm",
                "score": float(value) if known else None,
                "decision": bool(value >= 0.5) if known else None,
                "error": None if known else "it broke",
                "label": bool(truth),
                "threshold": 0.5,
                "probability": True,
            }
            line |= {name: column[row] for name, column in (columns or {}).items()}
            lines.append(json.dumps(line | fields))
        file = path / f"{strategy}.jsonl"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    return _write


@pytest.fixture(scope="session")
def installed() -> Plugins:
    """Return the plugins that are installed: nothing here changes them."""
    return Plugins()


@pytest.fixture
def safebench(installed: Plugins) -> Callable[..., Result]:
    """Return ``safebench`` as a function of its arguments."""

    def run(*args: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(cli, args, obj=installed, input=stdin)

    return run


def halves(n: int) -> list[str]:
    """Return the parts of n samples, in turn."""
    return [("calibration", "test")[row % 2] for row in range(n)]


@pytest.fixture
def two_sets(write: Callable[..., Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Store two sets of 240 samples; return truth and score of each."""
    rng = np.random.default_rng(2)
    known = {}
    for dataset, shift in (("easy", 2.0), ("hard", 1.0)):
        y = rng.random(240) < 0.4
        score = np.round(rng.normal(size=240) + shift * y - (dataset == "easy"), 2)
        known[dataset] = (y, score)
        write(dataset, y, score, halves(240))
    return known
