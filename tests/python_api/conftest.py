"""A run folder that was written by an earlier version, unpacked once."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safebench import load_run

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from safebench import LoadedRun

    Write = Callable[..., LoadedRun[pd.DataFrame]]

GOLDEN = Path(__file__).parents[1] / "golden" / "format2" / "extended.tar.xz"


@pytest.fixture(scope="session")
def golden_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the runs ``prompts`` and ``answers``; nobody changes it."""
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(folder, filter="data")
    return folder / "runs"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that stores predictions of one METHOD, and returns the run.

    Each of them has the fields that it is given, over those of a usual one.
    """
    monkeypatch.chdir(tmp_path)

    def _write(
        method: str, *lines: dict[str, Any], dataset: str = "set"
    ) -> LoadedRun[pd.DataFrame]:
        folder = tmp_path / "runs" / "made"
        path = folder / "predictions" / "guard" / f"{dataset}.test" / f"{method}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        (folder / "results.jsonl").touch()
        strategy, _, calibrator = method.partition("+")
        usual = {
            "classifier": "guard",
            "model": "m",
            "strategy": strategy,
            "dataset": dataset,
            "config": None,
            "split": "test",
            "part": "test",
            "task": "prompt_harm",
            "score": None,
            "decision": None,
            "label": True,
            **({"calibrator": calibrator} if calibrator else {}),
        }
        texts = [
            json.dumps({"id": str(row), "content": f"c{row}"} | usual | line)
            for row, line in enumerate(lines)
        ]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return load_run("made")

    return _write
