"""Judging: stored evidence becomes predictions and rows, one dataset at a time."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from safebench.errors import IncompatibleError
from safebench.redaction import redact_text
from safebench.results.prediction_writing import (
    StagedPredictions,
    prediction_path,
    write_predictions,
)
from safebench.results.rows import RESULTS_FILE

from .evidence_set import Evaluation
from .judging import apply_oracle_tuner, apply_strategy
from .judging_in_parts import judge_in_parts, strategies_at_once
from .metric_input import build_metric_input, drop_unsupported
from .predictions import prediction_columns
from .resolved import FailedPart
from .rows import failed_rows, result_rows
from .run_summary import PART_ERRORS, RunSummary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.evidence.manifest import EvidenceManifest
    from safebench.results import Row
    from safebench.specs import MetricSpec
    from safebench.typing import Floats

    from .calibration import Calibration
    from .config import RunConfig
    from .evaluation_set import EvaluationSet
    from .evidence_set import EvidenceSet
    from .judging import Predictions
    from .resolved import ResolvedClassifier


MAX_LISTED_FAILURES = 5


class Evaluator:
    """Reads the evidence of a dataset by each strategy, and writes what comes of it.

    `folder` is that of the run; what goes wrong, and what a user should know, goes into
    the `summary` that each method is given.
    """

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        metrics: Sequence[MetricSpec],
        calibration: Calibration,
    ) -> None:
        self.folder = folder
        self.config = config
        self.metrics = metrics
        self.calibration = calibration

    def evaluate_all(
        self,
        classifier: ResolvedClassifier,
        evaluation_set: EvaluationSet,
        evidence: EvidenceSet,
        summary: RunSummary,
        probe: tuple[EvaluationSet, EvidenceSet] | None,
    ) -> None:
        """Read a dataset's evidence by each strategy; write all rows at the end."""
        from safebench.results import merge_rows

        rows: list[Row] = []
        staged = StagedPredictions()
        at_once = strategies_at_once(len(evaluation_set.dataset))
        evaluations = [
            Evaluation(
                classifier=classifier,
                strategy=strategy,
                evaluation_set=evaluation_set,
                evidence=evidence.for_strategy(classifier.spec, strategy),
            )
            for strategy in classifier.strategies
        ]
        try:
            for number, evaluation in enumerate(evaluations):
                strategy = evaluation.strategy
                if number % at_once == 0:
                    judge_in_parts(evaluations[number : number + at_once])
                try:
                    rows += self._evaluate(
                        apply_oracle_tuner(evaluation), summary, staged, probe
                    )
                except IncompatibleError as error:  # others may read this model
                    if len(classifier.strategies) == 1:
                        raise
                    summary.add_note(
                        f"skipped {classifier.label} x {strategy.label}: {error}"
                    )
                except PART_ERRORS as error:  # the other strategies go on
                    part = FailedPart(classifier, (strategy,), error)
                    self.fail(part, evaluation_set, summary, evidence)
        finally:  # what is known is kept, also if the next strategy fails
            drop = self.calibration.set_aside_stale(self.folder, summary.add_note)
            with staged.replacing():
                merge_rows(self.folder / RESULTS_FILE, rows, drop)
            summary.rows += rows

    def _evaluate(
        self,
        evaluation: Evaluation,
        summary: RunSummary,
        staged: StagedPredictions,
        probe: tuple[EvaluationSet, EvidenceSet] | None,
    ) -> list[Row]:
        """Judge by one strategy, stage the predictions and return the rows."""
        predictions = apply_strategy(evaluation)
        metric_input = build_metric_input(evaluation, predictions)
        path = prediction_path(
            self.folder,
            evaluation.classifier.label,
            evaluation.dataset,
            evaluation.strategy.label,
        )
        rows = result_rows(
            self.folder.name,
            evaluation,
            predictions,
            metric_input,
            self.metrics,
            summary.add_error,
        )
        # after the rows: no predictions without the results that belong to them
        lines = prediction_columns(evaluation, predictions)
        staged.add(path, lines, self.config.predictions)
        rows += self.calibration.calibrate(
            self.folder,
            lines,
            rows,
            self.metrics,
            staged,
            summary,
            None if probe is None else _probe_scores(evaluation, *probe, summary),
        )
        for note in evaluation.strategy.notes:
            summary.add_note(note)
        self._report_failures(evaluation, predictions, summary)
        return rows

    def _report_failures(
        self, evaluation: Evaluation, predictions: Predictions, summary: RunSummary
    ) -> None:
        n_failed, n_samples = int(predictions.failed.sum()), len(evaluation.dataset)
        if not n_failed:
            return
        errors = predictions.judgements.errors
        ids = evaluation.dataset.columns.ids
        failed = (row for row, error in enumerate(errors) if error is not None)
        listed = [
            f"{ids[row]}: {redact_text(errors[row] or '')}"
            for row in islice(failed, MAX_LISTED_FAILURES)
        ]
        if n_failed > MAX_LISTED_FAILURES:
            listed.append(f"... and {n_failed - MAX_LISTED_FAILURES} more")
        lines = "\n  ".join(listed)
        summary.failures.append(
            f"{evaluation.label}: {n_failed} of {n_samples} samples failed\n  {lines}"
        )
        if n_failed > self.config.allowed_failures(n_samples):
            summary.failure_limit_exceeded = True

    def fail(
        self,
        part: FailedPart,
        evaluation_set: EvaluationSet,
        summary: RunSummary,
        evidence: EvidenceManifest | EvidenceSet | None = None,
    ) -> None:
        """Write rows without a value for a part that failed, with the reason.

        Its predictions of an earlier run are removed: they would contradict the rows.
        """
        from safebench.results import merge_rows

        summary.add_error(part.error)
        rows: list[Row] = []
        for strategy in part.strategies:
            rows += failed_rows(
                self.folder.name,
                part.classifier,
                strategy,
                evaluation_set,
                self.metrics,
                reason=part.error.message,
                evidence_key=evidence.key if evidence else None,
            )
            path = prediction_path(
                self.folder,
                part.classifier.label,
                evaluation_set.dataset,
                strategy.label,
            )
            write_predictions(path, (), "none")
            self.calibration.forget(
                part.classifier.label, strategy.label, evaluation_set.dataset
            )
        drop = self.calibration.set_aside_stale(self.folder, summary.add_note)
        merge_rows(self.folder / RESULTS_FILE, rows, drop)
        summary.rows += rows


def _probe_scores(
    evaluation: Evaluation,
    probe: EvaluationSet,
    evidence: EvidenceSet,
    summary: RunSummary,
) -> Floats | None:
    """Return what the strategy says of prompts without content, (n,), NaN: nothing."""
    read = evidence.for_strategy(evaluation.classifier.spec, evaluation.strategy)
    asked = replace(evaluation, evaluation_set=probe, evidence=read)
    try:
        return drop_unsupported(apply_strategy(asked)).judgements.score
    except PART_ERRORS as error:
        summary.add_error(error)
        return None
