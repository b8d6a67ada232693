"""Find and read the predictions of a run folder."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError, RunFolderError, nearest, unknown
from safebench.results import FILE_NAME, read_rows
from safebench.results.runs import RUNS

from .predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from safebench.results import Row

    Line = dict[str, Any]
    Head = tuple[str, str, str, str | None, str | None]

PARTS = ("test", "calibration", "all")


def find_run(path: Path) -> Path:
    """Return a run folder, also by its name below ``runs``; it must have predictions.

    Raises RunFolderError with what would work.
    """
    folder = path
    if not path.exists() and not path.is_absolute() and (RUNS / path).is_dir():
        folder = RUNS / path
    if not folder.is_dir():
        there = [p.name for p in RUNS.glob("*/")] if RUNS.is_dir() else []
        hint = nearest(path.name, there) or "; `safebench run` makes one"
        raise RunFolderError(f"no run folder {str(path)!r}{hint}")
    if not (folder / "predictions").is_dir():
        raise RunFolderError(
            f"no predictions in {folder}: run again without `--predictions none`"
        )
    return folder


def read_predictions(
    folder: Path,
    *,
    classifiers: Sequence[str] = (),
    strategies: Sequence[str] = (),
    datasets: Sequence[str] = (),
    part: str = "test",
) -> list[Predictions]:
    """Return the predictions that are named; without names, all of them.

    A dataset is named as tables do (``name:config:split``) or by its name alone.
    Raises UnknownNameError, RunFolderError or DataError.
    """
    files = [
        path
        for path in sorted((folder / "predictions").glob("*/*/*"))
        if path.suffix in (".jsonl", ".parquet")
    ]
    heads = {path: _head(line) for path in files for line in _read(path, most=1)}
    _refuse_unknown(heads.values(), classifiers, strategies, datasets)
    results = _results(folder)
    found = [
        _columns(_read(path), head, results.get(head, []), part)
        for path, head in heads.items()
        if _chosen(head, classifiers, strategies, datasets)
    ]
    kept = [predictions for predictions in found if predictions.n]
    if not kept:
        raise RunFolderError(
            f"{folder} has no predictions with a known label"
            + ("" if part == "all" else f" in the {part} part; try --part all")
        )
    return kept


def _read(path: Path, most: int | None = None) -> list[Line]:
    """Return all predictions of a file, or the first `most`."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        found: list[Line] = pq.read_table(path).slice(0, most).to_pylist()
        return found
    try:
        # files split at "\n" alone: ids and generated text may hold U+2028
        with path.open(encoding="utf-8", newline="\n") as file:
            return [json.loads(text) for text in islice(file, most) if text.strip()]
    except ValueError as error:
        raise DataError(f"{path}: no predictions: {error}") from None


def _head(line: Line) -> Head:
    return (
        line["classifier"],
        line["strategy"],
        line["dataset"],
        line["config"],
        line["split"],
    )


def _dataset(head: Head) -> str:
    return ":".join(filter(None, head[2:]))


def _chosen(
    head: Head,
    classifiers: Sequence[str],
    strategies: Sequence[str],
    datasets: Sequence[str],
) -> bool:
    named = {head[2].casefold(), _dataset(head).casefold()}
    return (
        (not classifiers or head[0].casefold() in _folded(classifiers))
        and (not strategies or head[1].casefold() in _folded(strategies))
        and (not datasets or bool(named & _folded(datasets)))
    )


def _folded(names: Sequence[str]) -> set[str]:
    return {name.casefold() for name in names}


def _refuse_unknown(
    heads: Iterator[Head] | Any,
    classifiers: Sequence[str],
    strategies: Sequence[str],
    datasets: Sequence[str],
) -> None:
    heads = list(heads)
    asked = {"classifier": classifiers, "strategy": strategies, "dataset": datasets}
    known = {
        "classifier": {head[0] for head in heads},
        "strategy": {head[1] for head in heads},
        "dataset": {name for head in heads for name in (head[2], _dataset(head))},
    }
    for kind, names in asked.items():
        for name in names:
            if name.casefold() not in _folded(list(known[kind])):
                raise unknown(f"{kind} in this run", name, known[kind])


def _results(folder: Path) -> dict[Head, list[Row]]:
    """Return the result rows of each combination, if the run got that far."""
    path = folder / FILE_NAME
    found: dict[Head, list[Row]] = {}
    for row in read_rows(path) if path.is_file() else []:
        if row.calibrator is None and row.slice is None and row.category is None:
            head = (row.classifier, row.strategy, row.dataset, row.config, row.split)
            found.setdefault(head, []).append(row)
    return found


def _columns(lines: list[Line], head: Head, rows: list[Row], part: str) -> Predictions:
    kept = [
        line
        for line in lines
        if line["label"] is not None and part in ("all", line["part"])
    ]
    name = _dataset(head)
    return Predictions(
        classifier=head[0],
        model=lines[0]["model"],
        strategy=head[1],
        dataset=name,
        task=lines[0]["task"],
        ids=tuple(line["id"] for line in kept),
        content=tuple(line["content"] for line in kept),
        group=_groups(kept),
        sets=(name,) * len(kept),
        categories=tuple(_categories(line["gold_categories"]) for line in kept),
        errors=tuple(line["error"] for line in kept),
        y=np.array([line["label"] for line in kept], dtype=bool),
        decision=_floats(kept, "decision"),
        score=_floats(kept, "score"),
        uncertainty=_floats(kept, "uncertainty"),
        tokens=np.array([line["tokens_in"] or 0 for line in kept], dtype=np.int64),
        threshold=next((row.threshold for row in rows), None),
        probability=any(
            row.metric == "brier" and row.value is not None for row in rows
        ),
    )


def _groups(lines: list[Line]) -> tuple[str, ...]:
    """Return the stored groups, or none if any line was written without one."""
    found = [line.get("group") for line in lines]
    return tuple(g for g in found if g) if all(found) else ()


def _floats(lines: list[Line], name: str) -> Any:
    """Return a column (n,) float, NaN for null."""
    return np.array([line[name] for line in lines], dtype=object).astype(float)


def _categories(codes: list[str] | None) -> frozenset[str] | None:
    return None if codes is None else frozenset(codes)
