"""The run itself: evidence is recorded once, then read by every strategy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.checksums import bytes_checksum
from safebench.compatibility import format_skipped
from safebench.datasets.loader import IRREGULARITIES
from safebench.errors import PluginError
from safebench.files import check_file_name, lock_folder, write_lines
from safebench.redaction import redact_secrets
from safebench.results.prediction_writing import move_misplaced, prediction_path
from safebench.results.rows import RESULTS_FILE, set_aside_damaged_rows
from safebench.results.run_files import (
    CONFIG_FILE,
    EVIDENCE_FOLDER,
    PREDICTIONS_FOLDER,
    replacing_files,
    set_aside_changed,
)
from safebench.results.stored_texts import TEXTS_FOLDER, store_texts
from safebench.specs import MetricSpec

from .assignment import assign, sets_of, unfit_reason
from .calibration import Calibration
from .evaluation_set import EvaluationSet, label_as_stored, load_evaluation_sets
from .evaluator import Evaluator
from .executor import choose_executor
from .grid import build_grid, keep_engines, settle_grid
from .latency import measure_latency
from .manifest import (
    DataFingerprint,
    RunManifest,
    check_run_folder,
    clear_if_other,
    default_folder,
    run_identity,
    stored_identity,
    stored_tasks,
)
from .probes import CONTENT_FREE
from .recording import EvidenceRecorder
from .recording_code import OTHER_CODE, OTHER_FILES, recording_code
from .resolved import FailedPart
from .run_summary import PART_ERRORS, RunSummary
from .settling import stored_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.plugins import Plugins
    from safebench.records import Dataset

    from .config import RunConfig
    from .evidence_set import EvidenceSet
    from .resolved import ResolvedClassifier


class Runner:
    """One run: resolved before anything heavy loads, resumable at every shard.

    `log` is given a line for people whenever a dataset begins. With `refresh` stored
    evidence of the run's samples is recorded again, with `retry_failed` that of samples
    whose recording failed. `command` is what the manifest says asked for the run; None:
    the words of this process's command line.
    """

    def __init__(
        self,
        config: RunConfig,
        plugins: Plugins,
        log: Callable[[str], None],
        *,
        refresh: bool = False,
        retry_failed: bool = False,
        show_progress: bool = True,
        command: Sequence[str] | None = None,
    ) -> None:
        self.config = config
        self.show_progress = show_progress
        self.command = command
        self.plugins = plugins
        self.refresh = refresh
        self.retry_failed = retry_failed
        self.metrics = plugins.unambiguous(MetricSpec)
        self.calibration = Calibration(config, plugins)
        self.log = log
        self.executor = choose_executor(config, plugins)
        self.grid = build_grid(config, plugins, go_on=True, settle=False)
        sets = load_evaluation_sets(config, plugins, self._folder_for)
        self.folder = self._folder_for([*dict.fromkeys(s.folder_label for s in sets)])
        check_file_name(self.folder)
        stored = [] if refresh else stored_evidence(self.folder / EVIDENCE_FOLDER)
        self.grid = settle_grid(self.grid, config, plugins, stored, go_on=True)
        self.grid = keep_engines(self.grid, stored_identity(self.folder))
        self.evaluation_sets = label_as_stored(sets, stored_tasks(self.folder))
        self.assignments = assign(self.grid.classifiers, self.evaluation_sets)
        self.calibration.check_labels(self.grid.classifiers)
        labels = [s.dataset.label for s in self.evaluation_sets]
        self._check_file_names()
        self.identity = run_identity(self.grid.classifiers, labels)
        # all rows, since a limit chooses other samples each time
        self.sources = [s.source for s in self.evaluation_sets]
        # here and not in run(): before a model is loaded for a folder it cannot use
        check_run_folder(self.folder, self.identity, self.sources)
        self.evaluator = Evaluator(self.folder, config, self.metrics, self.calibration)

    def run(self) -> RunSummary:
        """Run every cell of the grid; raises KeyboardInterrupt if interrupted."""
        skipped = [f"skipped {line}" for line in format_skipped(self.grid.skipped)]
        data_notes = [note for part in self.evaluation_sets for note in part.notes]
        notes = [*data_notes, *self.grid.notes, *skipped]
        summary = RunSummary(self.folder, notes=notes)
        # two runs in one folder would mix their shards
        with lock_folder(self.folder, (EVIDENCE_FOLDER, PREDICTIONS_FOLDER)):
            # again: another run may have ended here since
            check_run_folder(self.folder, self.identity, self.sources)
            clear_if_other(self.folder, self.identity)
            manifest = RunManifest(
                self.folder, self.identity, self.sources, self.command
            )
            manifest.content["executor"] = self.executor.describe()
            for used in (u for s in self.evaluation_sets for u in s.packs):
                manifest.add_pack(used.pack, used.missing)
            try:
                manifest.save("running")  # checksums of files have their place there
                self._mend(manifest)
                self._write_config()
                self._keep_columns()
                self._keep_texts(manifest, summary)
                for classifier, evaluation_sets in self.assignments:
                    manifest.save("running")
                    self._run_classifier(classifier, evaluation_sets, summary, manifest)
                for part in self.grid.failed:
                    for evaluation_set in sets_of(
                        part.classifier, self.evaluation_sets
                    ):
                        self.evaluator.fail(part, evaluation_set, summary)
                self._refuse_if_nothing_ran(summary)
            except KeyboardInterrupt:
                manifest.save("interrupted")
                raise
            except BaseException:  # a status of "running" must mean that it runs
                manifest.save("failed")
                raise
            finally:
                self.executor.close()
            errors = [error.message for error in summary.errors]
            manifest.content["notes"] = [*summary.notes, *errors]
            manifest.save("done")
        return summary

    def _folder_for(self, datasets: Sequence[str]) -> Path:
        """Return the run folder, for the labels of the datasets."""
        folder = self.config.out or default_folder(self.grid.classifiers, datasets)
        return Path(folder).expanduser()

    def _keep_columns(self) -> None:
        """Store what was read of large files, for a repeat."""
        for evaluation_set in self.evaluation_sets:
            if evaluation_set.to_keep is not None:
                source = evaluation_set.source
                digest = DataFingerprint.of(source).sha256
                evaluation_set.to_keep.write(self.folder, source, digest)

    def _keep_texts(self, manifest: RunManifest, summary: RunSummary) -> None:
        """Store the texts of all samples, if that was asked for; say what it means."""
        if not self.config.keep_text:
            return
        licences: dict[str, list[str]] = {}
        for dataset in (s.dataset for s in self.evaluation_sets):
            entry = store_texts(self.folder, dataset)
            manifest.add_texts(dataset.label, entry)
            licences.setdefault(entry["licence"], []).append(dataset.label)
        listed = "; ".join(
            f"{', '.join(labels)}: licence {licence}"
            for licence, labels in licences.items()
        )
        summary.add_note(
            f"texts are stored in {self.folder / TEXTS_FOLDER} ({listed}): whoever "
            "gets the folder gets them"
        )

    def _check_file_names(self) -> None:
        """Refuse names that no file can have now, and not after the recording."""
        # a parquet file's name is the longer one
        paths = [
            prediction_path(self.folder, c.label, s.dataset, strategy.label)
            for c, sets in self.assignments
            for s in sets
            for strategy in c.strategies
        ]
        for path in paths:
            check_file_name(path.with_suffix(".parquet"))

    def _mend(self, manifest: RunManifest) -> None:
        """Put in order what an early version, or damage, has left; say what."""
        changed = set_aside_changed(self.folder)
        damaged_rows = set_aside_damaged_rows(self.folder / RESULTS_FILE)
        added = f"{', '.join(manifest.added)} joins the run in {self.folder}"
        notices = (
            *(manifest.notice, *changed, damaged_rows),
            added if manifest.added else "",
        )
        for notice in filter(None, notices):
            self.log(notice)
        move_misplaced(self.folder)

    def _recording_code(self, classifier: ResolvedClassifier) -> dict[str, Any] | None:
        """Return the code that records today, with the files of its model."""
        owner = self.plugins.owner(classifier.spec)
        code = recording_code(classifier.spec, owner)
        if code is None or not classifier.noted_files:
            return code
        return code | {"model_files": classifier.noted_files}

    def _run_classifier(
        self,
        classifier: ResolvedClassifier,
        evaluation_sets: Sequence[EvaluationSet],
        summary: RunSummary,
        manifest: RunManifest,
    ) -> None:
        for dataset in (s.dataset for s in self.evaluation_sets):
            if reason := unfit_reason(classifier, dataset):
                summary.notes.append(
                    f"skipped {classifier.label} x {dataset.label}: {reason}"
                )
        recorder = EvidenceRecorder(
            classifier,
            self.folder / EVIDENCE_FOLDER,
            self.config.shard_size,
            code=self._recording_code(classifier),
            refresh=self.refresh,
            retry_failed=self.retry_failed,
            log=self.log,
            show_progress=self.show_progress,
            executor=self.executor,
        )
        evidence = None
        try:
            # all at once: whether the model has to be loaded depends on every dataset
            probes = self.calibration.probes(s.dataset.task for s in evaluation_sets)
            recorder.prepare(
                [s.dataset for s in evaluation_sets],
                {CONTENT_FREE: list(probes.values())},
            )
            for evaluation_set in evaluation_sets:
                self._log_dataset(classifier, evaluation_set)
                self._measure_latency(recorder, evaluation_set, summary)
                try:
                    evidence = recorder.evidence_for(evaluation_set.dataset)
                    probe = self._probe(recorder, probes, evaluation_set, summary)
                except PART_ERRORS as error:  # what is recorded so far is kept
                    part = FailedPart(classifier, classifier.strategies, error)
                    self.evaluator.fail(
                        part, evaluation_set, summary, recorder.manifest
                    )
                    continue
                for note in _evidence_notes(evidence):
                    summary.add_note(f"{classifier.label}: {note}")
                self.evaluator.evaluate_all(
                    classifier, evaluation_set, evidence, summary, probe
                )
        except PART_ERRORS as error:  # of loading the model: other models go on
            part = FailedPart(classifier, classifier.strategies, error)
            for evaluation_set in evaluation_sets:
                self.evaluator.fail(part, evaluation_set, summary, recorder.manifest)
        finally:
            try:
                recorder.close()
            except PluginError as error:
                summary.add_error(error)
        if evidence is not None:
            manifest.add_model(classifier, evidence)

    def _measure_latency(
        self,
        recorder: EvidenceRecorder,
        evaluation_set: EvaluationSet,
        summary: RunSummary,
    ) -> None:
        """Measure single samples if asked to; what is recorded does not depend on it.

        Before the dataset is recorded, since a service may keep what it has answered.
        """
        if self.config.latency is None:
            return
        try:
            measure_latency(
                recorder, evaluation_set, self.config.latency, self.config.seed
            )
        except PART_ERRORS as error:
            summary.add_error(error)

    @staticmethod
    def _probe(
        recorder: EvidenceRecorder,
        probes: Mapping[str, Dataset],
        evaluation_set: EvaluationSet,
        summary: RunSummary,
    ) -> tuple[EvaluationSet, EvidenceSet] | None:
        """Return the prompts without content for a dataset's task, with evidence."""
        probe = probes.get(evaluation_set.dataset.task)
        if probe is None:
            return None
        try:
            return EvaluationSet(probe), recorder.evidence_for(probe, CONTENT_FREE)
        except PART_ERRORS as error:  # what is said of the dataset stays true
            summary.add_error(error)
            return None

    def _refuse_if_nothing_ran(self, summary: RunSummary) -> None:
        """Raise the first error where no part of the run has come to an end."""
        if summary.errors and not any(row.n_scored for row in summary.rows):
            first, *others = summary.errors
            for error in others:
                self.log(f"error: {error.message}")
            raise first

    def _log_dataset(
        self, classifier: ResolvedClassifier, evaluation_set: EvaluationSet
    ) -> None:
        dataset, n_calibration = evaluation_set.dataset, evaluation_set.n_calibration
        counts = ", ".join(
            f"{n} {IRREGULARITIES[k]}" for k, n in dataset.counts.items()
        )
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
        path = self.folder / CONFIG_FILE
        with replacing_files({path: bytes_checksum(text.encode("utf-8"))}):
            write_lines(path, text.splitlines())


def _evidence_notes(evidence: EvidenceSet) -> list[str]:
    """Return the notes of evidence for the end of a run, with what would mend it."""
    notes = [
        f"evidence {note}; --refresh records again"
        if note.startswith((OTHER_CODE, OTHER_FILES))
        else note
        for note in evidence.notes
    ]
    if evidence.n_workers > 1:  # no note of rows, whose numbers are the same
        notes.append(
            f"recorded by {evidence.n_workers} workers side by side: seconds are all "
            "of theirs, samples_per_second and peak_memory_mib those of one of them"
        )
    return notes
