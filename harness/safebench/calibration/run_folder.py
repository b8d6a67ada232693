"""Calibrators of a run folder: fitted to what it stores, written beside it, set aside.

Nothing but the folder is read: neither a model nor a dataset.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from safebench.errors import (
    DataError,
    PluginError,
    UnknownNameError,
    did_you_mean,
)
from safebench.files import make_folder, set_aside, write_json
from safebench.results.prediction_reading import (
    FORMS,
    CombinationKey,
    PredictionFile,
    StoredLines,
    prediction_files,
    read_combination_key,
    read_prediction_file,
    read_prediction_lines,
)
from safebench.results.prediction_writing import StagedPredictions, path_of
from safebench.results.rows import RESULTS_FILE, merge_rows, read_rows
from safebench.results.run_files import PREDICTIONS_FOLDER, replacing_files

from .calibrated import Calibrated, FitSource, calibrate_lines, dataset_name
from .calibrated_rows import calibrated_rows
from .fitted import CALIBRATORS_FOLDER, FittedCalibrator, calibrator_path
from .raw_columns import RawColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from safebench.errors import SafebenchError
    from safebench.results import Row
    from safebench.results.prediction_reading import PredictionLine
    from safebench.specs import MetricSpec

    from .calibration_request import CalibrationRequest
    from .loss_change import LossChange


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult:
    """What became of one calibrator on one combination.

    `refused` says in one line why it was not fitted; then the rest is empty.
    """

    classifier: str
    strategy: str
    calibrator: str
    dataset: str
    task: str
    fitted: FittedCalibrator | None = None
    changes: tuple[LossChange, ...] = ()
    refused: str = ""


class Selection(NamedTuple):
    """Which combinations of a run are calibrated; empty names stand for all.

    `of` are CLASSIFIER/STRATEGY, or one of both; `datasets` and `fit_on` are named as
    tables do, or by the name of the set alone.
    """

    of: Sequence[str] = ()
    datasets: Sequence[str] = ()
    fit_on: str | None = None


class _Combination(NamedTuple):
    key: CombinationKey
    file: PredictionFile

    @property
    def dataset_names(self) -> set[str]:
        return {self.key.dataset.casefold(), dataset_name(self.key).casefold()}

    @property
    def names(self) -> set[str]:
        names = (self.file.label, self.key.strategy, self.key.classifier)
        return {name.casefold() for name in names}


def calibrate_run(
    folder: Path,
    requests: Sequence[CalibrationRequest],
    metrics: Sequence[MetricSpec],
    selection: Selection,
    on_error: Callable[[SafebenchError], None] | None = None,
) -> list[CalibrationResult]:
    """Fit calibrators to a run's calibration parts, and write what they give.

    Predictions, result rows and calibrators of equal labels are replaced. The caller
    holds the folder's lock. Raises UnknownNameError for a name that is not in the run.
    """
    everything = [
        _Combination(read_combination_key(file.path), file)
        for file in prediction_files(folder)
        if file.calibrator is None
    ]
    chosen = _chosen(everything, selection)
    by_category = any(request.per_category for request in requests)
    rows = _raw_rows(folder)
    run = _RawRun(folder, everything, rows, selection.fit_on, by_category)
    results: list[CalibrationResult] = []
    for combination in chosen:
        raw = run.read(combination)
        results += (
            _calibrate(run, combination, raw, request, metrics, on_error)
            for request in requests
        )
    return results


@dataclass(slots=True)
class _RawRun:
    """The raw predictions of a run folder, and the rows about them.

    `last` are those that were fitted on last: of one set for many combinations.
    """

    folder: Path
    combinations: Sequence[_Combination]
    rows: Mapping[CombinationKey, Sequence[Row]]
    fit_on: str | None
    by_category: bool
    last: tuple[CombinationKey, RawColumns] | None = None

    def rows_of(self, key: CombinationKey) -> Sequence[Row]:
        rows = self.rows.get(key, ())
        if not rows:
            raise DataError(
                "the run has no results of it yet: the same `safebench run` again "
                "finishes it"
            )
        return rows

    def read(self, combination: _Combination) -> RawColumns:
        """Return raw predictions; early versions did not store what scores claim."""
        path, rows = combination.file.path, self.rows.get(combination.key, ())
        lines = StoredLines(path)
        if "probability" not in _first_line(path):
            claim = read_prediction_file(path, rows, "all").probability
            lines = StoredLines(path, {"probability": claim})
        return RawColumns.read(lines, rows, cells=self.by_category)

    def source(self, combination: _Combination, raw: RawColumns) -> FitSource:
        """Return what a calibrator is fitted on: the same set, or the one to fit on."""
        key = combination.key
        if self.fit_on is not None:
            other = self._other(combination, raw.first["task"], self.fit_on)
            key, raw = other.key, self._read_again(other)
        row = self.rows_of(key)[0]
        return FitSource(raw, row.split_hash, row.data_hash)

    def _read_again(self, combination: _Combination) -> RawColumns:
        if self.last is None or self.last[0] != combination.key:
            self.last = combination.key, self.read(combination)
        return self.last[1]

    def _other(self, combination: _Combination, task: str, name: str) -> _Combination:
        """Return the same strategy on another set, for its task."""
        fitting = [
            other
            for other in self.combinations
            if name.casefold() in other.dataset_names
            and other.key[:2] == combination.key[:2]
            and _first_line(other.file.path)["task"] == task
        ]
        if not fitting:
            raise DataError(
                f"{combination.file.label} was not run on {name} for the task {task}"
            )
        if len(fitting) > 1:
            names = ", ".join(dataset_name(other.key) for other in fitting)
            raise DataError(f"--fit-on {name}: which one of {names}?")
        return fitting[0]


def _first_line(path: Path) -> PredictionLine:
    return read_prediction_lines(path, most=1)[0]  # of a file whose key was read


def _calibrate(
    run: _RawRun,
    combination: _Combination,
    raw: RawColumns,
    request: CalibrationRequest,
    metrics: Sequence[MetricSpec],
    on_error: Callable[[SafebenchError], None] | None,
) -> CalibrationResult:
    """Fit and apply one calibrator, and write what it gives."""
    key = combination.key
    label = "@".join(filter(None, (request.label, run.fit_on)))
    result = CalibrationResult(
        classifier=key.classifier,
        strategy=key.strategy,
        calibrator=label,
        dataset=dataset_name(key),
        task=raw.first["task"],
    )
    staged = StagedPredictions()
    form = next(n for n, s in FORMS.items() if s == combination.file.path.suffix)
    try:
        rows, source = run.rows_of(key), run.source(combination, raw)
        calibrated = calibrate_lines(replace(request, label=label), raw, source)
        new_rows, changes = calibrated_rows(
            rows, raw.stored, calibrated, metrics, on_error
        )
        stage(run.folder, staged, key, calibrated, form)
    except (DataError, PluginError) as error:
        if isinstance(error, PluginError) and on_error is not None:
            on_error(error)  # no fault of the data's: the exit code says so
        return replace(result, refused=error.message)
    with staged.replacing():
        merge_rows(run.folder / RESULTS_FILE, new_rows)
    return replace(result, fitted=calibrated.fitted, changes=tuple(changes))


def stage(
    folder: Path,
    staged: StagedPredictions,
    key: CombinationKey,
    calibrated: Calibrated,
    form: str,
) -> None:
    """Store a calibrator, and stage its predictions.

    Raises DataError where the place belongs to a strategy whose own label has a plus.
    """
    calibrated_key = key._replace(calibrator=calibrated.fitted.label)
    path = path_of(folder, calibrated_key)
    for suffix in FORMS.values():
        taken = path.with_suffix(suffix)
        if taken.is_file() and read_combination_key(taken) != calibrated_key:
            raise DataError(
                f"{taken} holds predictions of a strategy of that label: give the "
                "calibrator another one, LABEL=NAME"
            )
    state_path = calibrator_path(folder, calibrated_key)
    make_folder(state_path.parent)
    write_json(state_path, calibrated.fitted.to_json())
    staged.add(path, calibrated.lines, form)


def _raw_rows(folder: Path) -> dict[CombinationKey, list[Row]]:
    """Return the rows about raw scores of whole test parts, by combination."""
    path = folder / RESULTS_FILE
    by_key: dict[CombinationKey, list[Row]] = {}
    for row in read_rows(path) if path.is_file() else []:
        if row.is_of_whole_test_part and row.calibrator is None:
            names = (row.classifier, row.strategy, row.dataset, row.config, row.split)
            by_key.setdefault(CombinationKey(*names), []).append(row)
    return by_key


def _chosen(
    everything: Sequence[_Combination], selection: Selection
) -> list[_Combination]:
    """Return the combinations that are named; raises UnknownNameError for others."""
    labels = list(dict.fromkeys(c.file.label for c in everything))
    datasets = list(dict.fromkeys(dataset_name(c.key) for c in everything))
    for name in selection.of:
        if not any(name.casefold() in c.names for c in everything):
            hint = did_you_mean(name, labels)
            raise UnknownNameError(
                f"--of {name}: no predictions of it{hint}\n  there is: "
                + ", ".join(labels)
            )
    asked = [*selection.datasets, *filter(None, [selection.fit_on])]
    for name in asked:
        if not any(name.casefold() in c.dataset_names for c in everything):
            hint = did_you_mean(name, datasets)
            raise UnknownNameError(
                f"no dataset {name!r} in this run{hint}\n  there is: "
                + ", ".join(datasets)
            )
    chosen = [
        c
        for c in everything
        if (not selection.of or {n.casefold() for n in selection.of} & c.names)
        and (
            not selection.datasets
            or {n.casefold() for n in selection.datasets} & c.dataset_names
        )
        # what is fitted on a set and applied to it needs no --fit-on
        and (
            selection.fit_on is None
            or selection.fit_on.casefold() not in c.dataset_names
        )
    ]
    if not chosen:
        raise UnknownNameError(
            "nothing to calibrate: the run has no combination of these names, beside "
            "the set to fit on"
        )
    return chosen


def set_aside_stale(
    folder: Path, current: Mapping[CombinationKey, str | None]
) -> list[tuple[FittedCalibrator, Callable[[Row], bool]]]:
    """Put calibrated predictions away that rest on others than the `current` ones.

    `current` has the checksum of the predictions of each combination that a run is
    writing, None where there are none any more. Returns each of them, and what tells
    its rows. Only for the one writer of the folder.
    """
    by_names = {(k[:2], dataset_name(k)): value for k, value in current.items()}
    stale = []
    for path in sorted((folder / CALIBRATORS_FOLDER).glob("*/*/*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            fitted = FittedCalibrator.from_json(content, str(path))
        except (ValueError, DataError):
            continue  # whoever reads it is told
        combination = (fitted.classifier, fitted.strategy)
        bases = (
            ((combination, fitted.dataset), fitted.predictions),
            ((combination, fitted.fit.dataset), fitted.fit.predictions),
        )
        if all(by_names.get(name, checksum) == checksum for name, checksum in bases):
            continue
        _put_away(folder, path)
        stale.append((fitted, _rows_of(fitted)))
    return stale


def _put_away(folder: Path, path: Path) -> None:
    """Set a calibrator aside, and its predictions before it."""
    place = folder / PREDICTIONS_FOLDER / path.relative_to(folder / CALIBRATORS_FOLDER)
    for suffix in FORMS.values():
        predictions = place.with_name(place.name.removesuffix(".json") + suffix)
        if predictions.is_file():
            with replacing_files({predictions: None}):
                set_aside(predictions)
    set_aside(path)


def _rows_of(fitted: FittedCalibrator) -> Callable[[Row], bool]:
    def is_about(row: Row) -> bool:
        dataset = ":".join(filter(None, (row.dataset, row.config, row.split)))
        about = (row.classifier, row.strategy, row.calibrator, dataset)
        names = (fitted.classifier, fitted.strategy, fitted.label, fitted.dataset)
        return about == names

    return is_about
