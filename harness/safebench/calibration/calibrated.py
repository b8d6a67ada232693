"""Calibrated predictions, from raw ones.

They are made of what is stored, so that ``run --calibrate`` and ``calibrate`` give the
same bytes.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.errors import DataError
from safebench.results.prediction_reading import CombinationKey, combination_key
from safebench.results.stored_columns import AT_ONCE, CALIBRATOR

from .fit import PROBE, UNLABELLED, FitSamples, fit, fit_samples
from .fitted import FitData, FittedCalibrator, transform
from .raw_columns import BOUNDED_CELLS, CALIBRATION, SCORES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from safebench.results.prediction_reading import PredictionLine
    from safebench.results.predictions import StoredCells, StoredPredictions
    from safebench.typing import Array, Floats

    from .base import Calibrator
    from .calibration_request import CalibrationRequest
    from .raw_columns import RawColumns


THRESHOLD = 0.5  # of a probability that means what it says: the likelier class
RAW_CATEGORIES = "categories are not calibrated (per_category=true does it)"


class FitSource(NamedTuple):
    """Raw predictions that a calibrator is fitted on, with what they are of.

    `probe` are the scores of prompts without content, None where they are not known.
    """

    raw: RawColumns
    split_hash: str | None
    data_hash: str | None
    probe: Floats | None = None


class Calibrated(NamedTuple):
    """A fitted calibrator, and what it makes of raw predictions."""

    fitted: FittedCalibrator
    lines: CalibratedLines


def calibrate_lines(
    request: CalibrationRequest, raw: RawColumns, source: FitSource
) -> Calibrated:
    """Fit a calibrator to the source, and apply it to predictions of both parts.

    Raises DataError, in one line, where it cannot be fitted.
    """
    if np.isnan(raw.scores["score"]).all():
        raise DataError(
            "no sample has a score: the strategy gives none, or the evidence was cut "
            "short at one threshold"
        )
    first, key = raw.first, combination_key(raw.first)
    probability = bool(source.raw.first.get("probability"))
    if probability != bool(first.get("probability")):
        raise DataError("scores of one of both datasets are no probabilities")
    samples = _samples(request, source)
    held_out = source.raw.held_out()
    score_map = fit(
        request.spec, request.options, samples, held_out, probability=probability
    )
    category_maps, notes = _category_maps(request, raw, source, held_out)
    labelled = samples.part == CALIBRATION
    fitted = FittedCalibrator(
        label=request.label,
        name=request.spec.name,
        producer=request.producer,
        options=dict(request.options),
        classifier=key.classifier,
        model=first["model"],
        strategy=key.strategy,
        dataset=dataset_name(key),
        task=first["task"],
        probability=probability,
        transductive=request.transductive,
        predictions=raw.checksum,
        fit=FitData(
            dataset=dataset_name(combination_key(source.raw.first)),
            part=samples.part,
            n=len(samples.scores),
            groups=samples.n_groups,
            n_pos=int(samples.y.sum()) if labelled else None,
            split_hash=source.split_hash,
            data_hash=source.data_hash,
            predictions=source.raw.checksum,
        ),
        state=_as_json(score_map.state),
        category_states={c: _as_json(m.state) for c, m in category_maps.items()},
        notes=tuple(filter(None, (score_map.note, *notes))),
    )
    return Calibrated(fitted, _mapped(request, raw, score_map, category_maps))


def dataset_name(key: CombinationKey) -> str:
    """Return what tables call the dataset: ``name:config:split``."""
    return ":".join(filter(None, (key.dataset, key.config, key.split)))


def _samples(request: CalibrationRequest, source: FitSource) -> FitSamples:
    if request.spec.fitted_on == "labels":
        return fit_samples(source.raw, CALIBRATION)
    if request.spec.fitted_on == "scores":
        return fit_samples(source.raw, UNLABELLED)
    if source.probe is None:
        raise DataError(
            f"{request.spec.name} needs the guard's answers to prompts without "
            f"content: `safebench run ... --calibrate {request.spec.name}` records them"
        )
    known = source.probe[~np.isnan(source.probe)]  # some guards answer no empty text
    if not len(known):
        raise DataError("the guard answers no prompt without content")
    rows = np.arange(len(known))
    return FitSamples(
        part=PROBE, rows=rows, scores=known, y=np.array([], dtype=bool), groups=rows
    )


def _category_maps(
    request: CalibrationRequest,
    raw: RawColumns,
    source: FitSource,
    held_out: Array,
) -> tuple[dict[str, Calibrator], list[str]]:
    """Return a map for each category that has labels enough, and why others do not."""
    if not raw.codes:
        return {}, []
    if not request.per_category:
        return {}, [RAW_CATEGORIES]
    part = CALIBRATION if request.spec.fitted_on == "labels" else UNLABELLED
    probability = bool(raw.first.get("probability"))
    maps: dict[str, Calibrator] = {}
    reasons: dict[str, list[str]] = {}
    for code in raw.codes:
        samples = fit_samples(source.raw, part, code)
        try:
            maps[code] = fit(
                request.spec,
                request.options,
                samples,
                held_out,
                probability=probability,
            )
        except DataError as error:
            reasons.setdefault(error.message.partition(":")[0], []).append(code)
    notes = [
        f"{', '.join(left)} as they came ({reason})" for reason, left in reasons.items()
    ]
    return maps, notes


def _as_json(state: Any) -> dict[str, Any]:
    """Return a state as it reads back: numpy's numbers are numbers."""

    def plain(value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else str(value)

    read: dict[str, Any] = json.loads(json.dumps(state, default=plain))
    return read


def _mapped(
    request: CalibrationRequest,
    raw: RawColumns,
    score_map: Calibrator,
    category_maps: Mapping[str, Calibrator],
) -> CalibratedLines:
    """Return the predictions with probabilities in the place of scores."""
    spec = request.spec
    columns = {name: transform(spec, score_map, raw.scores[name]) for name in SCORES}
    cells = {
        name: {
            code: transform(spec, of_code, raw.cells.column(name, code))
            for code, of_code in category_maps.items()
        }
        for name in BOUNDED_CELLS
        if category_maps and raw.cells.has(name)
    }
    if not spec.monotone:
        nothing = np.broadcast_to(np.array(np.nan), len(raw))
        columns |= dict.fromkeys(("lower", "upper"), nothing)
        for name in cells.keys() & {"category_lower", "category_upper"}:
            cells[name] = dict.fromkeys(category_maps, nothing)
    return CalibratedLines(request.label, raw, columns, cells)


class CalibratedLines:
    """Calibrated predictions, which are made of the raw ones as they are gone through.

    `columns` (n,) float are those of `SCORES`, `cells` those of `BOUNDED_CELLS` by
    name and code, of the codes that are mapped; NaN for null.
    """

    def __init__(
        self,
        label: str,
        raw: RawColumns,
        columns: Mapping[str, Floats],
        cells: Mapping[str, Mapping[str, Floats]],
    ) -> None:
        self._label = label
        self._raw = raw
        self.columns = columns
        self.cells = cells

    def __len__(self) -> int:
        return len(self._raw)

    def __iter__(self) -> Iterator[PredictionLine]:
        lines = iter(self._raw.lines)
        for first in range(0, len(self), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            columns = {name: _nullable(of[part]) for name, of in self.columns.items()}
            cells = {
                name: {code: _nullable(of[part]) for code, of in by_code.items()}
                for name, by_code in self.cells.items()
            }
            for row, line in enumerate(islice(lines, AT_ONCE)):
                yield _mapped_line(
                    self._label,
                    line,
                    {name: column[row] for name, column in columns.items()},
                    {
                        name: {code: column[row] for code, column in by_code.items()}
                        for name, by_code in cells.items()
                    },
                )

    def stored(self) -> StoredPredictions:
        """Return what metrics read of the test part."""
        rows, before = self._raw.test_rows, self._raw.stored
        score, lower, upper = (self.columns[name][rows] for name in SCORES)
        unknown = np.isnan(score)
        return replace(
            before,
            score=score,
            lower=lower,
            upper=upper,
            uncertainty=np.broadcast_to(np.array(np.nan), len(rows)),
            decision=np.where(unknown, np.nan, score >= THRESHOLD),
            threshold=THRESHOLD,
            probability=True,
            calibrator=self._label,
            cells=None if before.cells is None else self._cells(before.cells),
        )

    def _cells(self, before: StoredCells) -> StoredCells:
        score, named = before.score.copy(), before.named.copy()
        for code, mapped in self.cells.get("categories", {}).items():
            if code in before.labels:
                column = before.labels.index(code)
                score[:, column] = mapped[self._raw.test_rows]
                decided = score[:, column] >= THRESHOLD
                undecided = np.isnan(named[:, column])
                named[:, column] = np.where(undecided, np.nan, decided)
        return replace(before, score=score, named=named)

    def bounds_of_cells(self, name: str) -> Array:
        """Return ``category_lower`` or ``category_upper`` of the test part, (n, L)."""
        rows, cells = self._raw.test_rows, self._raw.stored.cells
        assert cells is not None
        mapped = self.cells.get(name, {})
        columns = [
            mapped[code] if code in mapped else self._raw.cells.column(name, code)
            for code in cells.labels
        ]
        return np.stack([column[rows] for column in columns], axis=1)


def _nullable(column: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in column.tolist()]


def _mapped_line(
    label: str,
    line: PredictionLine,
    columns: Mapping[str, float | None],
    by_category: Mapping[str, Mapping[str, float | None]],
) -> PredictionLine:
    """Return one prediction; what the strategy says of its own score is left out."""
    score = columns["score"]
    changed: dict[str, Any] = {
        **columns,
        "probability": True,
        # of the raw score: a calibrated one is unsure where it is close to 0.5
        "uncertainty": None,
        "uncertainty_lower": None,
        "uncertainty_upper": None,
        "decision": None if score is None else score >= THRESHOLD,
        "threshold": THRESHOLD,
    }
    for name, cells in by_category.items():
        if line.get(name) is not None:
            changed[name] = {**line[name], **cells}
    cells = by_category.get("categories", {})
    named = line.get("predicted_categories")
    if cells and named is not None:
        changed["predicted_categories"] = [
            code
            for code in line["categories"]
            if (
                (p := cells[code]) is not None and p >= THRESHOLD
                if code in cells
                else code in named
            )
        ]
    calibrated: PredictionLine = {}
    for name, value in line.items():
        calibrated[name] = changed.get(name, value)
        if name == "strategy":
            calibrated[CALIBRATOR] = label
    # early versions stored fewer fields
    new = {n: v for n, v in changed.items() if n not in line and v is not None}
    return calibrated | new
