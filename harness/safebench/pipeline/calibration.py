"""Calibrated scores of a run: fitted as each combination is judged, or set aside.

Predictions that an earlier run calibrated stay as long as they rest on the same raw
ones; with another limit or another calibration part they do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from safebench.calibration.calibrated import FitSource, calibrate_lines, dataset_name
from safebench.calibration.calibrated_rows import calibrated_rows
from safebench.calibration.calibration_request import request_calibrators
from safebench.calibration.fitted import CALIBRATORS_FOLDER
from safebench.calibration.raw_columns import RawColumns, lines_checksum
from safebench.calibration.run_folder import set_aside_stale, stage
from safebench.errors import ComponentError, DataError, OptionError, PluginError
from safebench.results.prediction_reading import CombinationKey, combination_key

from .probes import content_free_sets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from safebench.errors import SafebenchError
    from safebench.plugins import Plugins
    from safebench.records import Dataset
    from safebench.results import Row
    from safebench.results.line_columns import LineColumns
    from safebench.results.prediction_writing import StagedPredictions
    from safebench.specs import MetricSpec
    from safebench.typing import Floats

    from .config import RunConfig
    from .resolved import ResolvedClassifier


class Summary(Protocol):
    """What a run did, for the user: notes, and errors of parts that failed."""

    def add_note(self, note: str) -> None:
        """Add a note."""

    def add_error(self, error: SafebenchError) -> None:
        """Add an error; the rest goes on."""


class Calibration:
    """The calibrators that a run asks for, and the predictions it has written so far.

    Raises UnknownNameError or OptionError for a calibrator that there is not.
    """

    def __init__(self, config: RunConfig, plugins: Plugins) -> None:
        self.requests = request_calibrators(
            [(ref.name, ref.label, ref.options) for ref in config.calibrate], plugins
        )
        self._form = config.predictions
        self._current: dict[CombinationKey, str | None] = {}

    def probes(self, tasks: Iterable[str]) -> dict[str, Dataset]:
        """Return prompts without content by task, if a calibrator is fitted on them."""
        asked = any(request.spec.fitted_on == "probe" for request in self.requests)
        return content_free_sets(tasks) if asked else {}

    def check_labels(self, classifiers: Sequence[ResolvedClassifier]) -> None:
        """Raise OptionError where a strategy is called as a calibrated one would be."""
        for classifier in classifiers:
            labels = {strategy.label for strategy in classifier.strategies}
            for strategy in sorted(labels):
                for request in self.requests:
                    if (taken := f"{strategy}+{request.label}") in labels:
                        raise OptionError(
                            f"a strategy is labelled {taken!r}, as {request.label} of "
                            f"{strategy!r} would be: choose another label"
                        )

    def forget(self, classifier: str, strategy: str, dataset: Dataset) -> None:
        """Note that a combination has no predictions any more."""
        key = CombinationKey(
            classifier, strategy, dataset.name, dataset.config, dataset.split
        )
        self._current[key] = None

    def calibrate(
        self,
        folder: Path,
        columns: LineColumns,
        raw_rows: Sequence[Row],
        metrics: Sequence[MetricSpec],
        staged: StagedPredictions,
        summary: Summary,
        probe: Floats | None = None,
    ) -> list[Row]:
        """Fit every calibrator to one combination, and return the rows.

        `probe` are the scores of prompts without content, where they were asked for. A
        calibrator that cannot be fitted is noted, and the others go on.
        """
        if not len(columns) or not raw_rows:
            return []
        key = combination_key(next(iter(columns)))
        if not self.requests and not (folder / CALIBRATORS_FOLDER).is_dir():
            self._current[key] = None  # nothing is fitted to what there was before
            return []
        if not self.requests:
            self._current[key] = lines_checksum(columns)
            return []
        by_category = any(request.per_category for request in self.requests)
        raw = RawColumns.read(columns, raw_rows, cells=by_category)
        self._current[key] = raw.checksum
        rows: list[Row] = []
        for request in self.requests:
            row = raw_rows[0]
            source = FitSource(raw, row.split_hash, row.data_hash, probe)
            try:
                calibrated = calibrate_lines(request, raw, source)
                new_rows, changes = calibrated_rows(
                    raw_rows, raw.stored, calibrated, metrics, summary.add_error
                )
                stage(folder, staged, key, calibrated, self._form)
            except (PluginError, ComponentError) as error:  # the others go on
                summary.add_error(error)
                continue
            except DataError as error:
                summary.add_note(
                    f"{key.classifier}/{key.strategy}+{request.label} on "
                    f"{dataset_name(key)}: not fitted: {error.message}"
                )
                continue
            rows += new_rows
            for change in changes:
                if change.verdict.startswith("worse"):
                    summary.add_note(
                        f"{key.classifier}/{key.strategy}+{request.label} on "
                        f"{dataset_name(key)}: {change.metric} {change.note()}"
                    )
        return rows

    def set_aside_stale(
        self, folder: Path, say: Callable[[str], None]
    ) -> Callable[[Row], bool]:
        """Put away what was calibrated on other predictions; return what drops rows."""
        stale = set_aside_stale(folder, self._current)
        by_dataset: dict[str, list[str]] = {}
        for fitted, _ in stale:
            name = f"{fitted.classifier}/{fitted.strategy}+{fitted.label}"
            by_dataset.setdefault(fitted.dataset, []).append(name)
        for dataset, names in by_dataset.items():
            say(
                f"{', '.join(names)} on {dataset}: fitted or applied to other "
                "predictions than this run's: set aside, without rows; `safebench "
                "calibrate` makes them again"
            )

        def is_stale(row: Row) -> bool:
            return any(is_about(row) for _, is_about in stale)

        return is_stale
