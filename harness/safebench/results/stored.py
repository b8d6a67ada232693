"""Stored predictions, as columns: what a comparison of two rows starts from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError, RunFolderError

if TYPE_CHECKING:
    from pathlib import Path

    Array = np.ndarray[Any, np.dtype[Any]]

FOLDER = "predictions"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of predictions: its run folder, and the labels that its path spells."""

    run: Path
    classifier: str
    dataset: str
    strategy: str
    path: Path

    @property
    def label(self) -> str:
        """What tells it apart within its run: ``classifier/strategy``."""
        return f"{self.classifier}/{self.strategy}"

    @property
    def full(self) -> str:
        """The same with the run folder before it."""
        return f"{self.run}/{self.label}"


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The n samples of the test part with a known label.

    `y` (n,) bool; `score`, `decision` (n,) float, NaN where there is none; `groups` (n)
    what belongs together, equal conversations where the file does not say.
    """

    dataset: str
    task: str
    model: str
    ids: list[str]
    groups: list[str]
    y: Array
    score: Array
    decision: Array


def stored_predictions(run: Path) -> list[Stored]:
    """Return the files of a run folder; raises RunFolderError if there are none."""
    found = [
        Stored(run, path.parts[-3], path.parts[-2], path.stem, path)
        for path in sorted((run / FOLDER).glob("*/*/*"))
        if path.suffix in (".jsonl", ".parquet")
    ]
    if not found:
        raise RunFolderError(
            f"no predictions in {str(run)!r}: run again without `--predictions none`"
        )
    return found


def read_columns(stored: Stored) -> Columns:
    """Read a file; raises DataError for what holds no predictions."""
    lines = _lines(stored.path)
    try:
        return _columns(lines)
    except KeyError as error:
        raise DataError(f"{stored.path}: no predictions: lacks {error}") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"{stored.path}: no predictions: {error}") from None


def _columns(lines: list[dict[str, Any]]) -> Columns:
    if not lines:
        raise ValueError("the file is empty")
    first = lines[0]
    kept = [
        line for line in lines if line["part"] == "test" and line["label"] is not None
    ]
    named = (first["dataset"], first["config"], first["split"])
    return Columns(
        dataset=":".join(filter(None, named)),
        task=first["task"],
        model=first["model"],
        ids=[line["id"] for line in kept],
        groups=[line.get("group") or line["content"] for line in kept],
        y=np.array([line["label"] for line in kept], dtype=bool),
        score=_floats(kept, "score"),
        decision=_floats(kept, "decision"),
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    # by "\n" alone: ids and generated text may hold U+2028
    texts = path.read_text(encoding="utf-8").split("\n")
    try:
        return [json.loads(text) for text in texts if text]
    except ValueError as error:
        raise DataError(f"{path}: no predictions: {error}") from None


def _floats(lines: list[dict[str, Any]], name: str) -> Array:
    """Return a column (n,) float, NaN for null."""
    return np.array([line[name] for line in lines], dtype=object).astype(float)
