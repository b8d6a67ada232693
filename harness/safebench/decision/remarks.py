"""Remarks on thresholds: what a reader must know beside their numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from safebench.calibration.fitted import read_calibrator

from .thresholds import FEW, GIVEN, MAX_FPR, MIN_RECALL, REVIEW_BUDGET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.results.prediction_reading import PredictionFile
    from safebench.results.predictions import StoredPredictions

    from .measured import MeasuredDecisions
    from .thresholds import Rule, ScoredSamples, ThresholdChoice


def remarks_on_choice(
    choice: ThresholdChoice,
    samples: ScoredSamples,
    calibration: StoredPredictions,
    rule: Rule,
) -> Iterator[str]:
    """Yield what a reader must know of a choice."""
    if rule.name != GIVEN:
        yield from _remarks_on_counts(choice, samples, rule.name)
    scores = samples.score[~np.isnan(samples.score)]
    if choice.threshold > scores.max():
        yield "it lies above every score that it was chosen on: nothing is blocked"
    elif choice.threshold <= scores.min():
        yield "it lies at or below every score that it was chosen on: all is blocked"
    straddling = _n_straddling(calibration, choice.threshold)
    if straddling:
        yield (
            f"{straddling:,} scores that it was chosen on are bounded on both sides of "
            "it: a smaller eps decides them"
        )


def _remarks_on_counts(
    choice: ThresholdChoice, samples: ScoredSamples, rule: str
) -> Iterator[str]:
    rests_on = {"positives": samples.n_pos, "negatives": samples.n_neg}
    if rule == MAX_FPR:
        del rests_on["positives"]
    if rule == MIN_RECALL:
        del rests_on["negatives"]
    for name, n in rests_on.items():
        if n < FEW:
            yield f"chosen on {n} {name}: another draw may choose another one"
    if choice.n_tied > 1:
        yield (
            f"{choice.n_tied:,} of {samples.n:,} scores that it was chosen on equal "
            "the threshold: no threshold divides them"
        )
    if samples.n_failed:
        yield (
            f"{samples.n_failed:,} failed samples of the calibration part count as "
            "wrong at any threshold"
        )


def _n_straddling(predictions: StoredPredictions, threshold: float) -> int:
    with np.errstate(invalid="ignore"):
        inside = (predictions.lower < threshold) & (predictions.upper >= threshold)
    return int(inside.sum())


def remarks_on_measured(own: MeasuredDecisions | None, rule: Rule) -> Iterator[str]:
    """Yield what a reader must know of what was measured on the set itself."""
    if own is None:
        yield "no labelled sample in the test part: nothing is measured"
        return
    if own.n_failed:
        yield f"{own.n_failed:,} of {own.n:,} test samples failed, and count as wrong"
    if own.n_straddling:
        ends = ", ".join(
            f"{name} {low:.3f} to {high:.3f}"
            for name, (low, high) in own.bounds.items()
        )
        yield (
            f"{own.n_straddling:,} test scores are bounded on both sides of the "
            f"threshold: {ends}"
        )
    missed = budget_missed(own, rule)
    if missed:
        yield missed


def budget_missed(measured: MeasuredDecisions, rule: Rule) -> str:
    """Return a remark where the interval excludes a rule's budget, else ""."""
    names = {MAX_FPR: "fpr", MIN_RECALL: "recall", REVIEW_BUDGET: "flagged"}
    name = names.get(rule.name)
    if name is None or rule.value is None:
        return ""
    interval = measured.metrics[name]
    if interval.low is None or interval.high is None:
        return ""
    if rule.name == MIN_RECALL and interval.high < rule.value:
        return f"{measured.dataset}: recall is below {rule.value:g} beyond chance"
    if rule.name != MIN_RECALL and interval.low > rule.value:
        return f"{measured.dataset}: {name} is above {rule.value:g} beyond chance"
    return ""


def remarks_on_calibrator(file: PredictionFile, control: str | None) -> Iterator[str]:
    """Say what scores that were calibrated on the same part do to a promise."""
    if control and file.calibrator:
        yield (
            f"{file.calibrator} was fitted on the samples that the promise rests "
            "on: it holds for calibrators that keep the order of scores"
        )


def calibrator_states(files: Sequence[PredictionFile]) -> set[str]:
    """Return the calibrators of some files, as text; nothing for raw scores."""
    fitted = (read_calibrator(file) for file in files)
    return {
        json.dumps([known.name, known.options, known.state], sort_keys=True)
        for known in fitted
        if known is not None
    }


def remarks_on_transfer(
    calibration: StoredPredictions,
    tested: Sequence[StoredPredictions],
    files: Sequence[PredictionFile],
) -> Iterator[str]:
    """Say which sets it is measured on hold texts that it was chosen on."""
    if len(calibrator_states(files)) > 1:
        yield "other sets are scored by calibrators of their own"
    texts = set(calibration.content)
    for other in tested:
        shared = sum(text in texts for text in other.content)
        if shared:
            yield (
                f"{shared:,} test samples of {other.dataset} have the text of one "
                "that it was chosen on"
            )
