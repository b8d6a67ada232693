"""The run itself: evidence is recorded once, then read by every strategy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safebench.compatibility import format_skipped
from safebench.errors import IncompatibleError
from safebench.files import lock_folder, write_lines
from safebench.provenance import redact_secrets
from safebench.results.predictions import prediction_path, write_predictions
from safebench.specs import MetricSpec

from .evaluation import Evaluation
from .evaluation_set import load_evaluation_sets
from .grid import build_grid
from .judging import apply_oracle_tuner, apply_strategy
from .manifest import RunManifest, check_run_folder, default_folder, run_identity
from .metric_input import build_metric_input
from .predictions import prediction_rows
from .recording import EvidenceRecorder
from .rows import result_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.plugins import Plugins
    from safebench.results import Row

    from .config import RunConfig
    from .evaluation_set import EvaluationSet
    from .evidence_set import EvidenceSet
    from .grid import ResolvedClassifier
    from .judging import Predictions

MAX_LISTED_FAILURES = 5


@dataclass(slots=True)
class RunSummary:
    """What a run did: its folder, rows, failed samples, and notes for the user."""

    folder: Path
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    failure_limit_exceeded: bool = False

    def add_note(self, note: str) -> None:
        """Add a note, unless the same one is there from another dataset."""
        if note not in self.notes:
            self.notes.append(note)


class Runner:
    """One run: resolved before anything heavy loads, resumable at every shard.

    `log` is given a line for people whenever a dataset begins.
    """

    def __init__(
        self, config: RunConfig, plugins: Plugins, log: Callable[[str], None]
    ) -> None:
        self.config = config
        self.metrics = plugins.all(MetricSpec)
        self.log = log
        self.grid = build_grid(config, plugins)
        self.evaluation_sets = load_evaluation_sets(config, plugins)
        self.assignments = self._assign()
        labels = [s.dataset.label for s in self.evaluation_sets]
        short_labels = [s.short_label for s in self.evaluation_sets]
        folder = config.out or default_folder(self.grid.classifiers, short_labels)
        self.folder = Path(folder)
        self.identity = run_identity(self.grid.classifiers, labels)
        # here and not in run(): before a model is loaded for a folder it cannot use
        check_run_folder(self.folder, self.identity)

    def run(self) -> RunSummary:
        """Run every cell of the grid; raises KeyboardInterrupt if interrupted."""
        skipped = [f"skipped {line}" for line in format_skipped(self.grid.skipped)]
        summary = RunSummary(self.folder, notes=[*self.grid.notes, *skipped])
        # two runs in one folder would mix their shards
        with lock_folder(self.folder):
            manifest = RunManifest(self.folder, self.identity)
            self._write_config()
            try:
                for classifier, evaluation_sets in self.assignments:
                    manifest.save("running")
                    self._run_classifier(classifier, evaluation_sets, summary, manifest)
            except KeyboardInterrupt:
                manifest.save("interrupted")
                raise
            except BaseException:  # a status of "running" must mean that it runs
                manifest.save("failed")
                raise
            manifest.content["notes"] = summary.notes
            manifest.save("done")
        return summary

    def _assign(self) -> list[tuple[ResolvedClassifier, list[EvaluationSet]]]:
        """Give each classifier the datasets whose task it answers."""
        assignments = [
            (c, [s for s in self.evaluation_sets if s.dataset.task in c.spec.tasks])
            for c in self.grid.classifiers
        ]
        if not any(evaluation_sets for _, evaluation_sets in assignments):
            tasks = sorted({s.dataset.task for s in self.evaluation_sets})
            answers = "\n  ".join(
                f"{c.label} answers {', '.join(sorted(c.spec.tasks))}"
                for c in self.grid.classifiers
            )
            raise IncompatibleError(
                f"no classifier answers the task {', '.join(tasks)}\n  {answers}"
            )
        return [(c, sets) for c, sets in assignments if sets]

    def _run_classifier(
        self,
        classifier: ResolvedClassifier,
        evaluation_sets: Sequence[EvaluationSet],
        summary: RunSummary,
        manifest: RunManifest,
    ) -> None:
        for dataset in (s.dataset for s in self.evaluation_sets):
            if dataset.task not in classifier.spec.tasks:
                summary.notes.append(
                    f"skipped {classifier.label} x {dataset.label}: "
                    f"it does not answer {dataset.task}"
                )
        root = self.folder / "evidence"
        recorder = EvidenceRecorder(classifier, root, self.config.shard_size)
        try:
            # all at once: whether the model has to be loaded depends on every dataset
            recorder.prepare([s.dataset for s in evaluation_sets])
            for evaluation_set in evaluation_sets:
                self._log_dataset(classifier, evaluation_set)
                evidence = recorder.evidence_for(evaluation_set.dataset)
                self._evaluate_all(classifier, evaluation_set, evidence, summary)
        finally:
            recorder.close()
        manifest.content["models"][classifier.label] = {
            "model": classifier.model,
            "evidence_key": evidence.key,
            "facts": evidence.facts,
        }

    def _evaluate_all(
        self,
        classifier: ResolvedClassifier,
        evaluation_set: EvaluationSet,
        evidence: EvidenceSet,
        summary: RunSummary,
    ) -> None:
        """Read a dataset's evidence by each strategy; write all rows at the end."""
        from safebench.results import merge_rows

        rows: list[Row] = []
        try:
            for strategy in classifier.strategies:
                evaluation = Evaluation(
                    classifier=classifier,
                    strategy=strategy,
                    evaluation_set=evaluation_set,
                    evidence=evidence.for_strategy(classifier.spec, strategy),
                )
                try:
                    rows += self._evaluate(apply_oracle_tuner(evaluation), summary)
                except IncompatibleError as error:  # others may read this model
                    if len(classifier.strategies) == 1:
                        raise
                    summary.add_note(
                        f"skipped {classifier.label} x {strategy.label}: {error}"
                    )
        finally:  # what is known is kept, also if the next strategy fails
            merge_rows(self.folder / "results.jsonl", rows)
            summary.rows += rows

    def _evaluate(self, evaluation: Evaluation, summary: RunSummary) -> list[Row]:
        """Judge by one strategy, write the predictions and return the rows."""
        predictions = apply_strategy(evaluation)
        metric_input = build_metric_input(evaluation, predictions)
        path = prediction_path(
            self.folder,
            evaluation.classifier.label,
            evaluation.dataset,
            evaluation.strategy.label,
        )
        lines = prediction_rows(evaluation, predictions)
        write_predictions(path, lines, self.config.predictions)
        for note in evaluation.strategy.notes:
            summary.add_note(note)
        self._report_failures(evaluation, predictions, summary)
        return result_rows(
            self.folder.name, evaluation, predictions, metric_input, self.metrics
        )

    def _report_failures(
        self, evaluation: Evaluation, predictions: Predictions, summary: RunSummary
    ) -> None:
        n_failed, n_samples = int(predictions.failed.sum()), len(evaluation.dataset)
        if not n_failed:
            return
        errors = predictions.judgements.errors
        failures = [
            f"{sample.id}: {error}"
            for sample, error in zip(evaluation.dataset.samples, errors, strict=True)
            if error is not None
        ]
        listed = failures[:MAX_LISTED_FAILURES]
        if n_failed > MAX_LISTED_FAILURES:
            listed.append(f"... and {n_failed - MAX_LISTED_FAILURES} more")
        lines = "\n  ".join(listed)
        summary.failures.append(
            f"{evaluation.label}: {n_failed} of {n_samples} samples failed\n  {lines}"
        )
        if n_failed > self.config.allowed_failures(n_samples):
            summary.failure_limit_exceeded = True

    def _log_dataset(
        self, classifier: ResolvedClassifier, evaluation_set: EvaluationSet
    ) -> None:
        dataset, n_calibration = evaluation_set.dataset, evaluation_set.n_calibration
        counts = ", ".join(f"{n} {what}" for what, n in dataset.counts.items() if n)
        self.log(
            f"{classifier.label} [{classifier.model}] on {dataset.label}: "
            f"{len(dataset)} {'sample' if len(dataset) == 1 else 'samples'}, "
            f"{len(dataset) - n_calibration} test, {n_calibration} calibration"
            + (f" ({counts})" if counts else "")
        )

    def _write_config(self) -> None:
        import yaml

        values = redact_secrets(self.config.to_yaml())
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        write_lines(self.folder / "config.yaml", text.splitlines())
