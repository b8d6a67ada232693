"""Calibrated predictions, from raw ones.

They are made of what is stored, so that ``run --calibrate`` and ``calibrate`` give the
same bytes.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.errors import DataError
from safebench.results.prediction_reading import CombinationKey, combination_key
from safebench.results.stored_columns import CALIBRATOR

from .fit import (
    CALIBRATION,
    PROBE,
    UNLABELLED,
    FitSamples,
    fit,
    fit_samples,
    held_out_ids,
)
from .fitted import FitData, FittedCalibrator, transform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.results.prediction_reading import PredictionLine
    from safebench.typing import Floats

    from .base import Calibrator
    from .calibration_request import CalibrationRequest


THRESHOLD = 0.5  # of a probability that means what it says: the likelier class
RAW_CATEGORIES = "categories are not calibrated (per_category=true does it)"


class FitSource(NamedTuple):
    """Raw predictions that a calibrator is fitted on, with what they are of.

    `probe` are the scores of prompts without content, None where they are not known.
    """

    lines: Sequence[PredictionLine]
    split_hash: str | None
    data_hash: str | None
    probe: Floats | None = None


class Calibrated(NamedTuple):
    """A fitted calibrator, and the predictions that it makes of raw ones."""

    fitted: FittedCalibrator
    lines: list[PredictionLine]


def lines_checksum(lines: Sequence[PredictionLine]) -> str:
    """Return a checksum of what calibration reads of predictions, whatever their form.

    The same for JSON lines and for Parquet.
    """
    names = ("id", "part", "score", "lower", "upper", "label", "group")
    digest = hashlib.sha256()
    for line in lines:
        cells = [line.get(name) for name in (*names, "categories", "category_truth")]
        digest.update(json.dumps(cells).encode() + b"\n")
    return digest.hexdigest()[:16]


def calibrate_lines(
    request: CalibrationRequest, lines: Sequence[PredictionLine], source: FitSource
) -> Calibrated:
    """Fit a calibrator to the source, and apply it to predictions of both parts.

    Raises DataError, in one line, where it cannot be fitted.
    """
    if all(line["score"] is None for line in lines):
        raise DataError(
            "no sample has a score: the strategy gives none, or the evidence was cut "
            "short at one threshold"
        )
    first, key = lines[0], combination_key(lines[0])
    probability = bool(source.lines[0].get("probability"))
    if probability != bool(first.get("probability")):
        raise DataError("scores of one of both datasets are no probabilities")
    samples = _samples(request, source)
    held_out = held_out_ids(source.lines)
    score_map = fit(
        request.spec, request.options, samples, held_out, probability=probability
    )
    category_maps, notes = _category_maps(request, lines, source, held_out)
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
        predictions=lines_checksum(lines),
        fit=FitData(
            dataset=dataset_name(combination_key(source.lines[0])),
            part=samples.part,
            n=len(samples.scores),
            groups=samples.n_groups,
            n_pos=int(samples.y.sum()) if labelled else None,
            split_hash=source.split_hash,
            data_hash=source.data_hash,
            predictions=lines_checksum(source.lines),
        ),
        state=_as_json(score_map.state),
        category_states={c: _as_json(m.state) for c, m in category_maps.items()},
        notes=tuple(filter(None, (score_map.note, *notes))),
    )
    return Calibrated(fitted, _mapped(request, lines, score_map, category_maps))


def dataset_name(key: CombinationKey) -> str:
    """Return what tables call the dataset: ``name:config:split``."""
    return ":".join(filter(None, (key.dataset, key.config, key.split)))


def _samples(request: CalibrationRequest, source: FitSource) -> FitSamples:
    if request.spec.fitted_on == "labels":
        return fit_samples(source.lines, CALIBRATION)
    if request.spec.fitted_on == "scores":
        return fit_samples(source.lines, UNLABELLED)
    if source.probe is None:
        raise DataError(
            f"{request.spec.name} needs the guard's answers to prompts without "
            f"content: `safebench run ... --calibrate {request.spec.name}` records them"
        )
    known = source.probe[~np.isnan(source.probe)]  # some guards answer no empty text
    if not len(known):
        raise DataError("the guard answers no prompt without content")
    ids = [f"{PROBE}/{row}" for row in range(len(known))]
    return FitSamples(
        part=PROBE, ids=ids, scores=known, y=np.array([], dtype=bool), groups=ids
    )


def _category_maps(
    request: CalibrationRequest,
    lines: Sequence[PredictionLine],
    source: FitSource,
    held_out: frozenset[str],
) -> tuple[dict[str, Calibrator], list[str]]:
    """Return a map for each category that has labels enough, and why others do not."""
    codes = next((tuple(c) for line in lines if (c := line.get("categories"))), ())
    if not codes:
        return {}, []
    if not request.per_category:
        return {}, [RAW_CATEGORIES]
    part = CALIBRATION if request.spec.fitted_on == "labels" else UNLABELLED
    probability = bool(lines[0].get("probability"))
    maps: dict[str, Calibrator] = {}
    reasons: dict[str, list[str]] = {}
    for code in codes:
        samples = fit_samples(source.lines, part, code)
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
    lines: Sequence[PredictionLine],
    score_map: Calibrator,
    category_maps: Mapping[str, Calibrator],
) -> list[PredictionLine]:
    """Return the predictions with probabilities in the place of scores."""
    spec = request.spec

    def values(name: str, code: str | None = None) -> list[float | None]:
        cells = [line.get(name) for line in lines]
        if code is not None:
            cells = [None if cell is None else cell.get(code) for cell in cells]
        column = np.array(cells, dtype=object).astype(float)
        mapped = transform(
            spec, score_map if code is None else category_maps[code], column
        )
        return [None if np.isnan(p) else float(p) for p in mapped]

    columns = {name: values(name) for name in ("score", "lower", "upper")}
    by_category = {
        name: {code: values(name, code) for code in category_maps}
        for name in ("categories", "category_lower", "category_upper")
        if any(line.get(name) for line in lines)
    }
    if not spec.monotone:
        columns |= {name: [None] * len(lines) for name in ("lower", "upper")}
        for name in by_category.keys() & {"category_lower", "category_upper"}:
            by_category[name] = {code: [None] * len(lines) for code in category_maps}
    return [
        _mapped_line(
            request.label,
            line,
            {name: column[row] for name, column in columns.items()},
            {
                name: {code: column[row] for code, column in cells.items()}
                for name, cells in by_category.items()
            },
        )
        for row, line in enumerate(lines)
    ]


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
