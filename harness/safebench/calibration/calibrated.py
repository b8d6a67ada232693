"""Calibrated predictions and their result rows, from raw ones and theirs.

Both are made of what is stored, so that ``run --calibrate`` and ``calibrate`` give the
same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.errors import DataError, OptionError, SafebenchError
from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals
from safebench.metrics.paired import compare_outcomes
from safebench.metrics.paired_difference import SwapPlan
from safebench.options import build_options, convert
from safebench.results.outcomes import to_outcome
from safebench.results.prediction_reading import (
    CALIBRATOR,
    CombinationKey,
    combination_key,
    to_columns,
)
from safebench.results.rows import LATENCY_METRICS, interval_fields, joined_notes
from safebench.specs import CalibratorSpec
from safebench.statistics import default_n_resamples, shared_weights

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
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from safebench.metrics import Outcome
    from safebench.plugins import Plugins
    from safebench.results import Row
    from safebench.results.prediction_reading import PredictionLine
    from safebench.results.predictions import StoredPredictions
    from safebench.specs import MetricSpec
    from safebench.statistics import Interval
    from safebench.typing import Floats

    from .base import Calibrator

THRESHOLD = 0.5  # of a probability that means what it says: the likelier class
LOSSES = ("brier", "nll")
CATEGORY_NEEDS = frozenset({"categories", "category_scores", "category_bounds"})
PER_CATEGORY = "per_category"
RAW_CATEGORIES = "categories are not calibrated (per_category=true does it)"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRequest:
    """A calibrator that was asked for: its label in tables, its spec and options."""

    label: str
    spec: CalibratorSpec
    producer: str
    options: Mapping[str, Any]
    per_category: bool = False

    @property
    def transductive(self) -> bool:
        """Whether what a sample gets depends on the other samples that are judged."""
        return self.spec.fitted_on == "scores"


def request_calibrator(
    name: str, label: str, options: Mapping[str, Any], plugins: Plugins
) -> CalibrationRequest:
    """Look a calibrator up and check its options.

    Raises UnknownNameError with the nearest name, or OptionError.
    """
    spec = plugins.get(CalibratorSpec, name)
    if "+" in label or "/" in label:
        raise OptionError(f"calibrator label {label!r}: neither + nor / can be in it")
    given = {key: value for key, value in options.items() if key != PER_CATEGORY}
    where = f"calibrator {spec.name!r}, {PER_CATEGORY}"
    per_category: bool = convert(options.get(PER_CATEGORY, False), bool, where)
    if per_category and spec.fitted_on == "probe":
        raise OptionError(f"{where}: the probe tells one score, none by category")
    build_options(spec, given)
    owner = plugins.owner(spec)
    return CalibrationRequest(
        label=label,
        spec=spec,
        producer=f"{owner.distribution} {owner.version}",
        options=given,
        per_category=per_category,
    )


def request_calibrators(
    asked: Iterable[tuple[str, str, Mapping[str, Any]]], plugins: Plugins
) -> list[CalibrationRequest]:
    """Return calibrators by name, label and options; labels must differ."""
    requests = [request_calibrator(*named, plugins) for named in asked]
    for label, times in Counter(r.label for r in requests).items():
        if times > 1:
            raise OptionError(
                f"{times} calibrators are labelled {label!r}: say LABEL={label} to "
                "tell them apart"
            )
    return requests


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LossChange:
    """A loss on the test part before and after, and the difference, after - before.

    `difference` has the paired interval; None where the raw score is no probability,
    whose loss means nothing.
    """

    metric: str
    raw: float | None
    calibrated: float | None
    difference: Interval | None

    @property
    def verdict(self) -> str:
        """Say whether the loss fell, and whether that is significant."""
        if self.calibrated is None:
            return "undefined"
        if self.raw is None or self.difference is None:
            return "no probability before"
        change = self.calibrated - self.raw
        if not change:
            return "unchanged"
        word = "better" if change < 0 else "worse"
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return f"{word}, not tested"
        return word if low > 0 or high < 0 else f"{word} (n.s.)"

    def note(self) -> str:
        """Return the change for a result row."""
        if self.raw is None or self.calibrated is None or self.difference is None:
            return "the raw score is no probability"
        text = f"{self.raw:.4f} raw, {self.calibrated - self.raw:+.4f}"
        if self.difference.low is not None and self.difference.high is not None:
            text += f" [{self.difference.low:+.4f} {self.difference.high:+.4f}]"
        return f"{text}: {self.verdict}"


def loss_changes(
    raw: StoredPredictions, calibrated: StoredPredictions, specs: Sequence[MetricSpec]
) -> list[LossChange]:
    """Return what became of Brier score and NLL on the test part, with paired tests."""
    losses = [spec for spec in specs if spec.name in LOSSES]
    before, after = to_outcome(raw), to_outcome(calibrated)
    values = {spec.name: value.value for spec, value in compute(after, losses)}
    if not raw.probability or not raw.n:
        return [
            LossChange(metric=n, raw=None, calibrated=v, difference=None)
            for n, v in values.items()
        ]
    n_resamples = default_n_resamples(len(set(raw.groups)))
    weights = shared_weights(raw.y, raw.groups, n_resamples=n_resamples, seed=0)
    plan = SwapPlan(n_resamples, sides=False)
    raw_values = {spec.name: value.value for spec, value in compute(before, losses)}
    changes = []
    for spec in losses:
        pair = compare_outcomes(spec, before, after, weights, plan)
        changes.append(
            LossChange(
                metric=spec.name,
                raw=raw_values.get(spec.name),
                calibrated=values.get(spec.name),
                difference=None if pair is None else pair.difference,
            )
        )
    return changes


def calibrated_rows(
    raw_rows: Sequence[Row],
    raw_lines: Sequence[PredictionLine],
    calibrated: Calibrated,
    metrics: Sequence[MetricSpec],
    on_error: Callable[[SafebenchError], None] | None = None,
) -> tuple[list[Row], list[LossChange]]:
    """Return the result rows of calibrated predictions, in the order of the raw ones.

    What they share (model, cost, evidence) is what the raw rows say.
    """
    fitted, lines = calibrated
    raw = to_columns(raw_lines, raw_rows, "test")
    stored = to_columns(lines, (), "test")
    outcome = _with_bounds(to_outcome(stored), stored, lines, fitted)
    by_name = {row.metric: row for row in raw_rows}
    kept = {
        spec.name
        for spec in metrics
        if spec.needs & CATEGORY_NEEDS and not fitted.category_states
    }
    specs = [s for s in metrics if s.name in by_name and s.name not in kept]
    values = compute(outcome, specs, on_error)
    known = [spec for spec, value in values if value.value is not None]
    intervals = sampling_intervals(outcome, known, on_error)
    changes = loss_changes(raw, stored, specs)
    about = {change.metric: change.note() for change in changes}
    about |= _tie_notes(raw, stored)
    common = shared_notes(raw_rows, "raw score")
    shared: dict[str, Any] = {
        "calibrator": fitted.label,
        "threshold": THRESHOLD,
        "threshold_from": "fixed",
    }
    rows: dict[str, Row] = {}
    for row in raw_rows:  # a calibrator takes no time that could be measured
        if row.metric in LATENCY_METRICS:
            rows[row.metric] = replace(row, **shared)
    for name in kept & by_name.keys():
        row = by_name[name]
        note = joined_notes(row.note, RAW_CATEGORIES if row.value is not None else "")
        rows[name] = replace(row, **shared, note=note)
    n_failed = int(outcome.failed.sum())
    # whoever reads any number must know that it does not rest on held-out labels
    elsewhere = fitted.fit.part != CALIBRATION or fitted.fit.dataset != fitted.dataset
    for spec, value in values:
        interval = intervals.get(spec.name)
        of_categories = spec.needs & CATEGORY_NEEDS
        rows[spec.name] = replace(
            by_name[spec.name],
            **shared,
            **interval_fields(value.value, interval),
            value=value.value,
            bound_low=value.bound_low,
            bound_high=value.bound_high,
            n_failed=n_failed,
            n_scored=(
                outcome.n - n_failed if value.n_scored is None else value.n_scored
            ),
            note=joined_notes(
                value.note,
                interval.note if interval and value.value is not None else "",
                about.get(spec.name, "") if value.value is not None else "",
                fit_note(fitted) if elsewhere or "probability" in spec.needs else "",
                *(n for n in fitted.notes if of_categories or n != RAW_CATEGORIES),
                *common,
            ),
        )
    return [rows[row.metric] for row in raw_rows if row.metric in rows], changes


def fit_note(fitted: FittedCalibrator) -> str:
    """Say what a calibrator rests on."""
    data = fitted.fit
    other = f" of {data.dataset}" if data.dataset != fitted.dataset else ""
    if data.part == CALIBRATION:
        return (
            f"{fitted.name} fitted on {data.n} labels ({data.n_pos} unsafe) of the "
            f"calibration part{other}"
        )
    if data.part == PROBE:
        return f"{fitted.name} fitted on {data.n} prompts without content{other}"
    return (
        f"{fitted.name} is transductive: fitted on the scores of all {data.n} samples"
        f"{other}, without labels"
    )


def _with_bounds(
    outcome: Outcome,
    stored: StoredPredictions,
    lines: Sequence[PredictionLine],
    fitted: FittedCalibrator,
) -> Outcome:
    """Add the bounds, which a paired comparison does not need and rows do."""
    added: dict[str, Any] = {}
    if not np.isnan(stored.lower).all():
        added |= {"lower": stored.lower, "upper": stored.upper}
    if fitted.category_states and stored.cells is not None:
        kept = [li for li in lines if li["label"] is not None and li["part"] == "test"]
        for name in ("category_lower", "category_upper"):
            cells = [
                [(line.get(name) or {}).get(code) for code in stored.cells.labels]
                for line in kept
            ]
            column = np.array(cells, dtype=object).astype(float)
            if not np.isnan(column).all():
                added[name] = column
    return replace(outcome, **added)


def _tie_notes(raw: StoredPredictions, stored: StoredPredictions) -> dict[str, str]:
    """Say where samples that were told apart are not any more."""
    before, after = (
        len(np.unique(side.score[~np.isnan(side.score)])) for side in (raw, stored)
    )
    if after >= before:
        return {}
    note = f"ties by calibration: {after} distinct scores of {before}"
    return dict.fromkeys(("auroc", "auprc", "pauroc", "tpr_at_fpr"), note)


def shared_notes(rows: Sequence[Row], of: str) -> list[str]:
    """Return what the notes of all rows say, each with what it is true `of`.

    They speak of evidence, of judgements or of the strategy's own decisions, and rows
    do not tell which: those that are decided in another way must not say it as theirs.
    """
    first, *others = (row.note.split("; ") for row in rows)
    return [
        f"{of}: {part}"
        for part in first
        if part and all(part in parts for parts in others)
    ]
