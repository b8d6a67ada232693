"""Prediction files of a run folder, and how they are read.

The names of what a file is about are read from it: its path spells only some of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from safebench.errors import DataError, RunFolderError, unknown_name
from safebench.files import open_parquet

from .rows import RESULTS_FILE, read_rows
from .run_files import PREDICTIONS_FOLDER, check_unchanged
from .stored_columns import AT_ONCE, CALIBRATOR, COLUMNS, to_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .predictions import StoredPredictions
    from .rows import Row

    PredictionLine = dict[str, Any]


FORMS = {"jsonl": ".jsonl", "parquet": ".parquet"}  # how they are stored, and as what
# fields of values by category code, which parquet files have as JSON
BY_CATEGORY = ("categories", "category_lower", "category_upper", "category_truth")


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
    lines = StoredLines(path)
    try:
        return to_columns(lines, rows, part)
    except KeyError as error:
        raise DataError(f"{path}: no predictions: lacks {error}") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: no predictions: {error}") from None


class StoredLines:
    """The lines of a file, one at a time: as objects, many fill the memory.

    They are read anew each time. Raises DataError for a file that was changed since the
    run wrote it, and for a line that is no prediction; `extra` are fields that each
    line gets.
    """

    def __init__(self, path: Path, extra: Mapping[str, Any] | None = None) -> None:
        check_unchanged(path)
        self.path = path
        self._extra = extra

    def __iter__(self) -> Iterator[PredictionLine]:
        is_parquet = self.path.suffix == ".parquet"
        lines = (_iter_parquet if is_parquet else iter_prediction_lines)(self.path)
        if not self._extra:
            return lines
        return ({**line, **self._extra} for line in lines)


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

    try:
        with open_parquet(path) as file:
            for batch in file.iter_batches(batch_size=min(most or AT_ONCE, AT_ONCE)):
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
