"""Analysis of a whole run: every combination, ensemble and comparison in one record.

`analyze_run` reads the stored predictions and fills a `RunAnalysis`; tables, JSON,
plots and the HTML report are drawn from that record alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError
from safebench.results.prediction_reading import read_predictions
from safebench.results.predictions import pool_predictions
from safebench.results.review_marks import MARKS
from safebench.results.reviewed_labels import ReviewedLabels

from .agreement import Agreement, decision_agreements
from .calibration import ReliabilityDiagram, reliability_diagram
from .ensemble import EnsembleMembers, read_ensembles
from .hard_examples import HardExample, high_confidence_errors, least_certain
from .sample_metadata import attach_metadata, read_sample_metadata
from .selective import RiskCoverageCurve, risk_coverage_curve
from .slice_gaps import SliceGap, slice_gaps
from .slices import SliceTable, compute_slices, empty_columns
from .uncertainty import (
    ErrorDetection,
    Uncertainty,
    UncertaintyComparison,
    compare_uncertainties,
    decision_uncertainty,
    error_detection,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.results.predictions import StoredPredictions
    from safebench.specs import MetricSpec

    from .request import AnalysisRequest

MAX_ON_SCREEN = 3  # combinations that a screen shows in full


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinationAnalysis:
    """One classifier x strategy x dataset: None where an analysis does not apply.

    `accuracy` is that of the judged samples. `notes` say why something is missing.
    """

    predictions: StoredPredictions
    accuracy: float | None
    uncertainty: Uncertainty | None = None
    error_detection: ErrorDetection | None = None
    risk_coverage: RiskCoverageCurve | None = None
    reliability: ReliabilityDiagram | None = None
    slices: tuple[SliceTable, ...] = ()
    gaps: tuple[SliceGap, ...] = ()
    least_certain: tuple[HardExample, ...] = ()
    high_confidence_errors: tuple[HardExample, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnalysis:
    """All analyses of a run; `detailed` if slices and single samples are in it.

    `fits_screen` tells whether the combinations are few enough to show in full on a
    screen.
    """

    run: str
    part: str
    combinations: tuple[CombinationAnalysis, ...]
    ensembles: tuple[EnsembleMembers, ...]
    agreements: tuple[Agreement, ...]
    uncertainty_comparisons: tuple[UncertaintyComparison, ...]
    detailed: bool
    fits_screen: bool
    metrics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def analyze_run(
    folder: Path,
    request: AnalysisRequest,
    plugins: Plugins,
    metrics: Sequence[MetricSpec],
) -> RunAnalysis:
    """Analyze the stored predictions of a run; no model is loaded.

    Raises SafebenchError if the folder holds no predictions, or none of that name.
    """
    stored = read_predictions(
        folder,
        classifiers=request.classifiers,
        strategies=request.strategies,
        datasets=request.datasets,
        part=request.part,
    )
    label_notes: list[str] = []
    if request.reviewed:
        stored, label_notes = _with_reviewed_labels(folder, stored)
    # slices and examples are computed only where something will show them
    fits_screen = len(stored) <= MAX_ON_SCREEN
    detailed = request.always_detailed or fits_screen
    metadata = read_sample_metadata(folder, plugins, request.data_root)
    predictions, metadata_notes = attach_metadata(stored, metadata)
    agreements, agreement_notes = decision_agreements(predictions)
    combinations = tuple(
        _analyze_combination(combination, request, metrics, detailed=detailed)
        for combination in [*predictions, *_pool_by_rule(predictions)]
    )
    return RunAnalysis(
        run=folder.name,
        part=request.part,
        combinations=combinations,
        uncertainty_comparisons=tuple(
            compare_uncertainties(
                (combination.predictions, combination.uncertainty)
                for combination in combinations
                if combination.uncertainty is not None
            )
        ),
        ensembles=tuple(read_ensembles(folder, predictions, plugins, request)),
        agreements=tuple(agreements),
        detailed=detailed,
        fits_screen=fits_screen,
        metrics=tuple(spec.name for spec in metrics),
        notes=(
            *label_notes,
            *metadata_notes,
            *agreement_notes,
            *_empty_column_notes(predictions),
        ),
    )


def _with_reviewed_labels(
    folder: Path, stored: Sequence[StoredPredictions]
) -> tuple[list[StoredPredictions], list[str]]:
    """Return predictions by the labels as reviewed, and how many of each set were.

    Raises OptionError where no label was.
    """
    labels = ReviewedLabels([folder])
    labels.require_one_of((each.dataset, each.task) for each in stored)
    changed, notes = [], dict[str, None]()
    for predictions in stored:
        applied = labels.apply(predictions)
        after = applied.change(predictions)
        counts = {word: applied.counts.get(word, 0) for word in MARKS}
        n = predictions.n
        listed = ", ".join(f"{k:,} {word}" for word, k in counts.items() if k) or "none"
        notes[
            f"{predictions.dataset}: labels as reviewed, of {n:,} {listed}; "
            "wrong ones are turned round, unclear ones left out, all others count as "
            "right: if errors were reviewed more than the rest, numbers are too good"
        ] = None
        if after.n:
            changed.append(after)
    if not changed:
        raise DataError("reviewers call every label unclear: nothing is left")
    return changed, [*notes]


def _empty_column_notes(all_predictions: Sequence[StoredPredictions]) -> list[str]:
    """Return which columns of which datasets cannot make slices, once each."""
    notes = {
        f"{predictions.dataset}: no slices by {', '.join(names)}, empty in every row"
        for predictions in all_predictions
        if (names := empty_columns(predictions))
    }
    return sorted(notes)


def _pool_by_rule(
    all_predictions: Sequence[StoredPredictions],
) -> list[StoredPredictions]:
    """Return the union of the datasets that one decision rule was applied to.

    The threshold belongs to the rule: one that was chosen for each dataset makes
    decisions that cannot be pooled.
    """
    by_rule: dict[tuple[Any, ...], list[StoredPredictions]] = {}
    for predictions in all_predictions:
        rule = (
            predictions.classifier,
            predictions.method,
            predictions.task,
            predictions.threshold,
        )
        by_rule.setdefault(rule, []).append(predictions)
    return [pool_predictions(parts) for parts in by_rule.values() if len(parts) > 1]


def _analyze_combination(
    predictions: StoredPredictions,
    request: AnalysisRequest,
    metrics: Sequence[MetricSpec],
    *,
    detailed: bool,
) -> CombinationAnalysis:
    uncertainty = decision_uncertainty(predictions)
    analyses: dict[str, Any] = {"notes": tuple(_notes(predictions, uncertainty))}
    judged = predictions.judged
    if uncertainty is not None:
        rows = uncertainty.rows
        groups = predictions.groups.select(rows)
        analyses |= {
            "uncertainty": uncertainty,
            "error_detection": error_detection(
                predictions.wrong[rows],
                uncertainty.values,
                groups,
            ),
            "risk_coverage": risk_coverage_curve(
                predictions.y[rows],
                predictions.decision[rows].astype(bool),
                uncertainty.values,
                groups,
            ),
        }
    if uncertainty is not None and detailed:
        arguments = (predictions, uncertainty, request.n_examples)
        text = request.include_text
        analyses["least_certain"] = least_certain(*arguments, text=text)
        analyses["high_confidence_errors"] = high_confidence_errors(
            *arguments, text=text
        )
    # calibration needs no decision: every sample with a score counts
    scored = ~np.isnan(predictions.score)
    if predictions.probability and scored.any():
        analyses["reliability"] = reliability_diagram(
            predictions.y[scored],
            predictions.score[scored],
            predictions.groups.select(np.flatnonzero(scored)),
        )
    if detailed and judged.any():
        analyses["slices"] = compute_slices(predictions, metrics, request.slice_columns)
    if request.gaps:
        analyses["gaps"] = slice_gaps(predictions, request.slice_columns)
    right = judged & ~predictions.wrong
    accuracy = float(right.sum() / judged.sum()) if judged.any() else None
    return CombinationAnalysis(predictions=predictions, accuracy=accuracy, **analyses)


def _notes(
    predictions: StoredPredictions, uncertainty: Uncertainty | None
) -> list[str]:
    """Return what is missing from the analysis of a combination, and why."""
    notes = []
    n_failed = sum(error is not None for error in predictions.errors)
    if n_failed:
        notes.append(f"{n_failed} of {predictions.n} samples failed and are left out")
    if not predictions.judged.any():
        notes.append("the strategy decides nothing, so nothing can be right or wrong")
    if uncertainty is None:
        notes.append("no uncertainty: the strategy gives none, and no score either")
    elif not uncertainty.from_strategy:
        notes.append(f"uncertainty is the {uncertainty.source}")
    if not predictions.probability:
        notes.append("no calibration: the score is no probability")
    return notes
