"""Prediction files of a run folder, and how they are read.

The names of what a file is about are read from it: its path spells only some of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.errors import DataError, RunFolderError, unknown_name

from .predictions import StoredCells, StoredPredictions
from .rows import RESULTS_FILE, read_rows
from .run_files import PREDICTIONS_FOLDER, check_unchanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from safebench.typing import Array

    from .rows import Row

    PredictionLine = dict[str, Any]


FORMS = {"jsonl": ".jsonl", "parquet": ".parquet"}  # how they are stored, and as what
# fields of values by category code, which parquet files have as JSON
BY_CATEGORY = ("categories", "category_lower", "category_upper", "category_truth")
COLUMNS = "columns"  # the field of what came along with a sample, as JSON in parquet
_BATCH = 4096  # lines that are objects at one time
CALIBRATOR = "calibrator"  # the field that calibrated predictions alone have


class CombinationKey(NamedTuple):
    """What a file of predictions is about; early versions knew no calibrator."""

    classifier: str
    strategy: str
    dataset: str
    config: str | None
    split: str | None
    calibrator: str | None = None

    @property
    def method(self) -> str:
        """The strategy with its calibrator: ``strategy[+calibrator]``."""
        return "+".join(filter(None, (self.strategy, self.calibrator)))


@dataclass(frozen=True, slots=True)
class PredictionFile:
    """A file of predictions: its run folder, and the labels of what it is about.

    `dataset` is ``name.config.split``, `calibrator` None for scores as they came.
    """

    run: Path
    classifier: str
    dataset: str
    strategy: str
    path: Path
    calibrator: str | None = None

    @property
    def method(self) -> str:
        """The strategy with its calibrator: ``strategy[+calibrator]``."""
        return "+".join(filter(None, (self.strategy, self.calibrator)))

    @property
    def label(self) -> str:
        """What tells it apart in its run: ``classifier/strategy[+calibrator]``."""
        return f"{self.classifier}/{self.method}"

    @property
    def full_label(self) -> str:
        """The same with the run folder before it."""
        return f"{self.run}/{self.label}"


def prediction_files(run: Path) -> list[PredictionFile]:
    """Return the files of a run folder; raises RunFolderError if there are none.

    And if a combination has two: an early version left the one beside the other, and
    nobody knows which of them the results are about.
    """
    files = [_prediction_file(run, path) for path in _prediction_paths(run)]
    if not files:
        raise _no_predictions(run)
    return files


def _no_predictions(run: Path) -> RunFolderError:
    return RunFolderError(
        f"no predictions in {str(run)!r}: run again without `--predictions none`"
    )


def _prediction_paths(run: Path) -> list[Path]:
    folder = run / PREDICTIONS_FOLDER
    if folder.is_dir():
        next(folder.iterdir(), None)  # raises where `glob` would find nothing
    paths = [
        path
        # a calibrated score comes after the raw one: "+" would be before "."
        for path in sorted(
            folder.glob("*/*/*"), key=lambda path: str(path).replace("+", "/")
        )
        if path.suffix in FORMS.values() and not path.name.startswith(".")
    ]
    for path in paths:
        if path.suffix == ".parquet" and path.with_suffix(".jsonl") in paths:
            raise RunFolderError(
                f"{path} lies beside {path.with_suffix('.jsonl').name}, predictions of "
                "the same: delete the older one, or run again"
            )
    return paths


def _prediction_file(run: Path, path: Path) -> PredictionFile:
    try:
        key = read_combination_key(path)
    except DataError:  # whoever reads it is told what is wrong
        return PredictionFile(run, path.parts[-3], path.parts[-2], path.stem, path)
    dataset = ".".join(filter(None, (key.dataset, key.config, key.split)))
    return PredictionFile(
        run, key.classifier, dataset, key.strategy, path, key.calibrator
    )


def read_combination_key(path: Path) -> CombinationKey:
    """Return what a file is about by its first line; raises DataError if it has none.

    All of a file is about one combination.
    """
    for line in read_prediction_lines(path, most=1):
        try:
            key = combination_key(line)
        except KeyError as error:
            raise DataError(f"{path}: no predictions: lacks {error}") from None
        names = (key.classifier, key.strategy, key.dataset)
        optional = (key.config, key.split, key.calibrator)
        if all(isinstance(name, str) for name in names) and all(
            isinstance(name, str | None) for name in optional
        ):
            return key
    raise DataError(f"{path}: no predictions: the file is empty")


def read_predictions(
    folder: Path,
    *,
    classifiers: Sequence[str] = (),
    strategies: Sequence[str] = (),
    datasets: Sequence[str] = (),
    part: str = "test",
) -> list[StoredPredictions]:
    """Return the predictions that are named; without names, all of them.

    A dataset is named as tables do (``name:config:split``) or by its name alone, a
    calibrated score as ``strategy+calibrator``. `part`
    is ``test``, ``calibration`` or ``all``. Raises UnknownNameError, RunFolderError or
    DataError.
    """
    keys = {path: read_combination_key(path) for path in _prediction_paths(folder)}
    if not keys:
        raise _no_predictions(folder)
    _refuse_unknown(keys.values(), classifiers, strategies, datasets)
    results = _result_rows(folder)
    predictions = [
        read_prediction_file(path, results.get(key, ()), part)
        for path, key in keys.items()
        if _is_selected(key, classifiers, strategies, datasets)
    ]
    labelled = [combination for combination in predictions if combination.n]
    if not labelled:
        raise RunFolderError(
            f"{folder} has no predictions with a known label"
            + ("" if part == "all" else f" in the {part} part; try --part all")
        )
    return labelled


def read_prediction_file(
    path: Path, rows: Sequence[Row] = (), part: str = "test"
) -> StoredPredictions:
    """Read a file; `rows` are the results that were computed from it, if known.

    Raises DataError for what holds no predictions.
    """
    check_unchanged(path)
    # one at a time: as objects, the lines of a large file fill the memory
    lines = (
        _iter_parquet(path)
        if path.suffix == ".parquet"
        else iter_prediction_lines(path)
    )
    try:
        return to_columns(lines, rows, part)
    except KeyError as error:
        raise DataError(f"{path}: no predictions: lacks {error}") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: no predictions: {error}") from None


def read_prediction_lines(
    path: Path, most: int | None = None, name: str = ""
) -> list[PredictionLine]:
    """Return the predictions of a file as they were written, or the first `most`.

    Raises DataError for a line that is none, and calls the file `name` there: files
    are copied while they are written, or cut off. And for a file that was changed
    since the run wrote it, if it is read whole.
    """
    if most is None:
        check_unchanged(path)
    if path.suffix == ".parquet":
        return _read_parquet(path, most, name)
    return list(iter_prediction_lines(path, most, name))


def iter_prediction_lines(
    path: Path, most: int | None = None, name: str = ""
) -> Iterator[PredictionLine]:
    """Yield the predictions of a JSON Lines file, as `read_prediction_lines` does."""
    with path.open("rb") as file:  # split at "\n" alone: texts may hold U+2028
        for number, line in enumerate(islice(file, most), 1):
            if line.strip():
                yield parse_prediction_line(line, f"{name or path}:{number}")


def _read_parquet(path: Path, most: int | None, name: str) -> list[PredictionLine]:
    return list(islice(_iter_parquet(path, name, most), most))


def _iter_parquet(
    path: Path, name: str = "", most: int | None = None
) -> Iterator[PredictionLine]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=min(most or _BATCH, _BATCH)):
                yield from _by_category(batch.to_pylist())
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the surroundings: no file, no permission
        place = name or path
        raise DataError(f"{place} holds no predictions: damaged, or cut off") from None


def _by_category(records: list[PredictionLine]) -> list[PredictionLine]:
    """Read again what parquet files have as text."""
    for record in records:
        for name in (*BY_CATEGORY, COLUMNS):
            if isinstance(record.get(name), str):
                record[name] = json.loads(record[name])
    return records


def parse_prediction_line(line: bytes, place: str) -> PredictionLine:
    """Return a prediction; raises DataError that names its `place` if it is none."""
    try:
        prediction = json.loads(line)
    except (ValueError, RecursionError):
        prediction = None
    if not isinstance(prediction, dict) or "id" not in prediction:
        raise DataError(f"{place} is no prediction: damaged, or cut off")
    return prediction


def to_columns(
    lines: Iterable[PredictionLine], rows: Sequence[Row], part: str
) -> StoredPredictions:
    """Return the lines of a file in columns, those of a part with a known label.

    Raises KeyError, TypeError or ValueError for what are no predictions.
    """
    remaining = iter(lines)
    first = next(remaining, None)
    if first is None:
        raise ValueError("the file is empty")
    columns = _LineColumns()
    chunk = [first]
    while chunk:
        columns.add(
            [
                line
                for line in chunk
                if line["label"] is not None and part in ("all", line["part"])
            ]
        )
        chunk = list(islice(remaining, _BATCH))
    dataset = _dataset_name(combination_key(first))
    n = len(columns.lists["ids"])
    named = columns.lists
    return StoredPredictions(
        classifier=first["classifier"],
        model=first["model"],
        strategy=first["strategy"],
        dataset=dataset,
        task=first["task"],
        ids=tuple(named["ids"]),
        content=tuple(named["content"]),
        group=tuple(named["group"]) if all(named["group"]) else (),
        columns=tuple(named["columns"]),
        sample_datasets=(dataset,) * n,
        categories=tuple(named["categories"]),
        errors=tuple(named["errors"]),
        pair=tuple(named["pair"]),
        cells=columns.cells(),
        threshold=_threshold(first, rows),
        probability=columns.claims_probability(rows),
        calibrator=first.get(CALIBRATOR),
        **columns.arrays(),
    )


class _LineColumns:
    """The fields of lines that were read, without the lines."""

    def __init__(self) -> None:
        names = ("ids", "content", "group", "columns", "categories", "errors", "pair")
        self.lists: dict[str, list[Any]] = {name: [] for name in names}
        self._arrays: dict[str, list[Array]] = {}
        # of each line: truth, scores and named categories, where any line has one
        self._cells: list[list[Any]] = [[], [], []]
        self._n_without_cells = 0
        self._claim: bool | None = None
        self._in_unit = True

    def add(self, lines: list[PredictionLine]) -> None:
        """Take some lines."""
        if not lines:
            return
        if self._claim is None and "probability" in lines[0] and not self.lists["ids"]:
            self._claim = bool(lines[0]["probability"])
        fields = {
            "ids": (line["id"] for line in lines),
            "content": (line["content"] for line in lines),
            "group": (line.get("group") for line in lines),
            "columns": (line.get(COLUMNS) for line in lines),
            "categories": (_codes(line.get("gold_categories")) for line in lines),
            "errors": (line.get("error") for line in lines),
            "pair": (_pair(line) for line in lines),
        }
        for name, values in fields.items():
            self.lists[name] += values
        self._in_unit = self._in_unit and all(
            line["score"] is None or 0 <= line["score"] <= 1 for line in lines
        )
        arrays = {
            "y": np.array([line["label"] for line in lines], dtype=bool),
            "decision": _floats([line["decision"] for line in lines]),
            "score": _floats([line["score"] for line in lines]),
            "tokens": np.array([x.get("tokens_in") or 0 for x in lines], np.int64),
        }
        for name in ("uncertainty", "lower", "upper", "severity"):
            arrays[name] = _floats([line.get(name) for line in lines])
        for name, array in arrays.items():
            self._arrays.setdefault(name, []).append(array)
        self._add_cells(lines)

    def _add_cells(self, lines: list[PredictionLine]) -> None:
        names = ("category_truth", "categories", "predicted_categories")
        any_cells = any(line.get(name) for line in lines for name in names)
        if not self._cells[0] and not any_cells:  # most sets have none
            self._n_without_cells += len(lines)
            return
        for column, name in zip(self._cells, names, strict=True):
            column.extend([None] * self._n_without_cells)
            column.extend(line.get(name) for line in lines)
        self._n_without_cells = 0

    def arrays(self) -> dict[str, Any]:
        """Return the columns of numbers."""
        empty = {"y": bool, "tokens": np.int64}
        names = ("y", "decision", "score", "tokens", "uncertainty", "lower", "upper")
        return {
            name: np.concatenate(self._arrays[name])
            if name in self._arrays
            else np.empty(0, dtype=empty.get(name, float))
            for name in (*names, "severity")
        }

    def cells(self) -> StoredCells | None:
        """Return the cells of categories; early versions did not store their truth."""
        truths, scores, named = (
            [*column, *[None] * self._n_without_cells] for column in self._cells
        )
        labels = next((tuple(truth) for truth in truths if truth), ())
        if not labels:
            return None
        return StoredCells(
            labels=labels,
            truth=_by_label(truths, labels),
            score=_by_label(scores, labels),
            named=_by_label(
                [
                    None
                    if codes is None
                    else {label: label in codes for label in labels}
                    for codes in named
                ],
                labels,
            ),
        )

    def claims_probability(self, rows: Sequence[Row]) -> bool:
        """Tell whether scores claim to be P(positive).

        Early versions did not store it, but gave a Brier score to probabilities alone;
        without results any score from 0 to 1 may be one.
        """
        if self._claim is not None:
            return self._claim
        if rows:
            return any(row.metric == "brier" and row.value is not None for row in rows)
        return self._in_unit


def _pair(line: PredictionLine) -> tuple[str, str] | None:
    """Return pair and side; names of pairs are those of one dataset."""
    pair, side = line.get("pair"), line.get("pair_side")
    return None if pair is None or side is None else (pair, side)


def _by_label(records: Sequence[dict[str, Any] | None], labels: Sequence[str]) -> Array:
    """Return the values of each label, (n, L) float, NaN for null."""
    rows = [[(record or {}).get(label) for label in labels] for record in records]
    return _floats(rows).reshape(len(records), len(labels))


def _threshold(line: PredictionLine, rows: Sequence[Row]) -> float | None:
    """Return where decisions turn; early versions stored it with the results alone."""
    if "threshold" in line:
        return None if line["threshold"] is None else float(line["threshold"])
    return next((row.threshold for row in rows), None)


def _floats(values: list[Any]) -> Array:
    """Return a column (n,) float, NaN for null."""
    return np.array(values, dtype=object).astype(float)


def _codes(categories: Iterable[str] | None) -> frozenset[str] | None:
    return None if categories is None else frozenset(categories)


def combination_key(line: PredictionLine) -> CombinationKey:
    """Return what a prediction is of: classifier, strategy, and the dataset's names."""
    return CombinationKey(
        line["classifier"],
        line["strategy"],
        line["dataset"],
        line["config"],
        line["split"],
        line.get(CALIBRATOR),
    )


def _dataset_name(key: CombinationKey) -> str:
    return ":".join(filter(None, (key.dataset, key.config, key.split)))


def _is_selected(
    key: CombinationKey,
    classifiers: Sequence[str],
    strategies: Sequence[str],
    datasets: Sequence[str],
) -> bool:
    dataset_names = {key.dataset.casefold(), _dataset_name(key).casefold()}
    return (
        (not classifiers or key.classifier.casefold() in _casefold_all(classifiers))
        and (not strategies or key.method.casefold() in _casefold_all(strategies))
        and (not datasets or bool(dataset_names & _casefold_all(datasets)))
    )


def _casefold_all(names: Iterable[str]) -> set[str]:
    return {name.casefold() for name in names}


def _refuse_unknown(
    keys: Iterable[CombinationKey],
    classifiers: Sequence[str],
    strategies: Sequence[str],
    datasets: Sequence[str],
) -> None:
    keys = list(keys)
    known = {
        "classifier": {key.classifier for key in keys},
        "strategy": {key.method for key in keys},
        "dataset": {name for key in keys for name in (key.dataset, _dataset_name(key))},
    }
    requested = (classifiers, strategies, datasets)
    for (kind, there), names in zip(known.items(), requested, strict=True):
        for name in names:
            if name.casefold() not in _casefold_all(there):
                raise unknown_name(f"{kind} in this run", name, there)


def _result_rows(folder: Path) -> dict[CombinationKey, list[Row]]:
    """Return the result rows of each combination, if the run got that far."""
    path = folder / RESULTS_FILE
    by_key: dict[CombinationKey, list[Row]] = {}
    for row in read_rows(path) if path.is_file() else []:
        if row.slice is None and row.category is None:
            names = (row.classifier, row.strategy, row.dataset, row.config, row.split)
            key = CombinationKey(*names, row.calibrator)
            by_key.setdefault(key, []).append(row)
    return by_key
