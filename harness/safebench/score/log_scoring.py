"""Scores of a log: recorded shard by shard, judged, written; evidence is not kept."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.errors import DataError, IncompatibleError, OptionError
from safebench.evidence.base import EvidenceBundle
from safebench.evidence.scope import sample_to_record
from safebench.executors import ClassifierJob, Shard
from safebench.executors.worker import ignore_progress
from safebench.files import lock_folder
from safebench.pipeline.evaluation_set import EvaluationSet
from safebench.pipeline.evidence_set import (
    Evaluation,
    EvidenceSet,
    RecordingCost,
    sum_traces,
)
from safebench.pipeline.executor import choose_executor
from safebench.pipeline.grid import keep_engines
from safebench.pipeline.judging import apply_strategy
from safebench.pipeline.metric_input import drop_unsupported
from safebench.pipeline.predictions import (
    category_field,
    cell_field,
    error_field,
    json_number,
    number_field,
    trace_field,
)
from safebench.pipeline.recording import kind_groups, meta_notes
from safebench.pipeline.resolved import Grid
from safebench.progress import RECORDING_SECONDS_BETWEEN_LINES, ProgressBar
from safebench.records import RESPONSE_TASKS, Dataset, GroundTruth, Label
from safebench.redaction import redact_secrets
from safebench.results.line_columns import Constant, LineColumns, Varying

from .log_file import LogFile
from .log_output import ScoreFolder
from .result import class_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from safebench.evidence import Evidence
    from safebench.executors import Workers
    from safebench.pipeline.config import RunConfig
    from safebench.pipeline.executor import RunExecutor
    from safebench.pipeline.judging import Predictions
    from safebench.pipeline.resolved import ResolvedClassifier
    from safebench.plugins import Plugins
    from safebench.records import Sample
    from safebench.typing import Array

    from .deployment import Deployment
    from .log_file import LogRow, LogSurvey

SHARD_SIZE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest:
    """What is asked: which file, where to, and how it is read and written."""

    file: str
    out: str
    column: str = "prompt"
    task: str = ""
    skip_bad: bool = False
    form: str = "jsonl"
    shard_size: int = SHARD_SIZE


@dataclass(slots=True)
class LogSummary:
    """What came of it: rows scored now and before, rows left out, and failures.

    `verdicts` counts the rows of each verdict, or action of an operating point, that
    were scored now.
    """

    folder: Path
    n: int
    n_before: int
    n_bad: int
    reasons: list[str]
    n_failed: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def count(self, verdicts: Iterable[str | None]) -> None:
        """Count verdicts or actions."""
        for verdict, n in Counter(verdicts).items():
            if verdict is not None:
                self.verdicts[verdict] = self.verdicts.get(verdict, 0) + n


class LogScorer:
    """Scores a log by one strategy of one classifier, or at an operating point.

    Everything that can be refused is refused when it is made, before a model loads.
    """

    def __init__(
        self,
        request: LogRequest,
        classifier: ResolvedClassifier,
        config: RunConfig,
        plugins: Plugins,
        log: Callable[[str], None],
        deployment: Deployment | None = None,
    ) -> None:
        if len(classifier.strategies) != 1:
            labels = ", ".join(strategy.label for strategy in classifier.strategies)
            raise OptionError(f"one strategy scores a log: say -s, one of {labels}")
        self.request, self.classifier, self.log = request, classifier, log
        self.deployment = deployment
        (self.strategy,) = classifier.strategies
        self.executor: RunExecutor = choose_executor(config, plugins)
        self.file = LogFile(request.file, request.column)
        self.folder = Path(request.out).expanduser()

    def run(self) -> LogSummary:
        """Score what is not there yet; raises KeyboardInterrupt if interrupted."""
        ScoreFolder(self.folder, self.request.form)  # refused before it is locked
        with lock_folder(self.folder, (".",)):
            folder = ScoreFolder(self.folder, self.request.form)
            survey = folder.stored_survey(self.file.sha256())
            skip = self.request.skip_bad
            if survey is None or (survey.bad and not skip):
                self.log(f"{self.file.name}: reading")
                survey = self.file.survey(skip=skip)
            task = self._task(survey)
            self._record_as_begun(folder.about.get("identity"))
            folder.begin(self._identity(survey, task), survey)
            size = self.request.shard_size
            n_shards = -(-survey.n // size)
            missing = folder.missing(n_shards)
            n_missing = sum(min(size, survey.n - number * size) for number in missing)
            summary = LogSummary(
                self.folder,
                survey.n,
                survey.n - n_missing,
                len(survey.bad),
                survey.reasons,
            )
            try:
                if missing:
                    self._score(folder, survey, task, missing, summary)
            except BaseException:
                folder.interrupted()
                raise
            folder.finish(n_shards, {"rows": survey.n, "bad_rows": len(survey.bad)})
            return summary

    def _record_as_begun(self, stored: Any) -> None:
        """Go on as an earlier version recorded, where the folder has scores of it."""
        if not isinstance(stored, dict) or self.deployment is not None:
            return
        begun = {"classifiers": {self.classifier.label: stored.get("classifier")}}
        grid = keep_engines(Grid((self.classifier,), ()), begun)
        (self.classifier,) = grid.classifiers
        for note in grid.notes:
            self.log(note)

    def _task(self, survey: LogSurvey) -> str:
        """Return what is judged; raises for a mixture, and for what nobody answers."""
        task = self.request.task or self._usual_task(survey)
        if task not in self.classifier.tasks:
            raise IncompatibleError(
                f"{self.classifier.spec.name} does not answer {task}\n  "
                f"{self.classifier.spec.name} answers "
                f"{', '.join(sorted(self.classifier.tasks))}"
            )
        if task in RESPONSE_TASKS and survey.responses.n_without:
            raise DataError(
                f"{survey.responses.first_without}: no response, which {task} judges"
            )
        if self.deployment is not None:
            self.deployment.check_task(task)
        return task

    def _usual_task(self, survey: LogSurvey) -> str:
        if self.deployment is not None:
            return self.deployment.point.task
        responses = survey.responses
        if responses.n_with and responses.n_without:
            raise DataError(
                f"{self.file.name}: rows with a response ({responses.n_with}, first "
                f"{responses.first_with}) and without ({responses.n_without}, first "
                f"{responses.first_without}): say --task prompt_harm to judge prompts "
                "alone, or split the file"
            )
        return "response_harm" if responses.n_with else "prompt_harm"

    def _identity(self, survey: LogSurvey, task: str) -> dict[str, Any]:
        point = self.deployment.point.checksum if self.deployment else None
        return {
            "file": {"sha256": survey.sha256, "rows": survey.n},
            "classifier": {
                "label": self.classifier.label,
                **self.classifier.request,
            },
            "strategy": {
                "label": self.strategy.label,
                "name": self.strategy.spec.name,
                "params": self.strategy.params,
                "threshold": self.strategy.threshold,
            },
            "operating_point": point,
            "task": task,
            "column": self.request.column,
            "on_error": "skip" if self.request.skip_bad else "stop",
            "format": self.request.form,
            "shard_size": self.request.shard_size,
        }

    def _score(
        self,
        folder: ScoreFolder,
        survey: LogSurvey,
        task: str,
        missing: Sequence[int],
        summary: LogSummary,
    ) -> None:
        classifier = self.classifier
        self.log(f"{classifier.label}: loading {classifier.model}")
        job = ClassifierJob.of(
            classifier.spec,
            classifier.options,
            label=classifier.label,
            model=classifier.model,
            identity=classifier.identity,
            n_at_once=len(missing),
        )
        reason = classifier.capabilities.one_process
        # closed in turn: workers first, then what was started beside them
        with (
            closing(self.executor),
            closing(self.executor.start(job, self.log, reason)) as workers,
        ):
            facts = redact_secrets(dict(workers.facts), in_text=False)
            folder.check_facts(facts)
            if state := folder.read_state():
                workers.restore(state)
            bar = ProgressBar(
                f"{classifier.label} on {self.file.name}",
                survey.n,
                unit="",
                show_rate=True,
                seconds_between_lines=RECORDING_SECONDS_BETWEEN_LINES,
            )
            with ExitStack() as stack:
                stack.push(bar)  # ends it, however the work ends
                bar.start(summary.n_before)
                self._record(
                    _Work(folder, survey, task, missing, summary), workers, bar
                )

    def _record(self, work: _Work, workers: Workers, bar: ProgressBar) -> None:
        """Write each shard as soon as all kinds of its evidence are recorded."""
        groups = list(kind_groups(self.classifier).values())
        pending: dict[int, _Pending] = {}

        def shards() -> Iterator[Shard]:
            scope, tasks = self.classifier.evidence_scope, self.classifier.tasks
            for number, rows in self._shards(work):
                samples = [self._sample(row, work.task) for row in rows]
                shown = [sample_to_record(sample, scope, tasks) for sample in samples]
                pending[number] = _Pending(rows, samples)
                for place, kinds in enumerate(groups):
                    yield Shard(number * len(groups) + place, shown, kinds)

        # of several kinds each sample is recorded several times: counted by shards
        on_progress = bar.move if len(groups) == 1 else ignore_progress
        for done in workers.record(shards(), on_progress):
            number, place = divmod(done.number, len(groups))
            shard = pending[number]
            shard.costs[place] = RecordingCost(groups[place], done.recording.traces)
            shard.evidence |= done.recording.evidence
            if len(shard.costs) == len(groups):
                work.folder.write_state(done.state)
                work.folder.add(number, self._judge(work, pending.pop(number)))
                if len(groups) > 1:
                    bar.move(len(shard.rows))

    def _shards(self, work: _Work) -> Iterator[tuple[int, list[LogRow]]]:
        """Yield number and rows of each shard that is missing."""
        size = self.request.shard_size
        missing = frozenset(work.missing)
        first = work.missing[0]
        rows = self.file.rows(work.survey, first * size)
        for number in range(first, work.missing[-1] + 1):
            chunk = list(islice(rows, size))
            if number in missing:
                yield number, chunk

    def _sample(self, row: LogRow, task: str) -> Sample:
        sample = row.conversation.to_sample(self.classifier, task)
        return replace(sample, id=row.id or self.file.place(row.number))

    def _judge(self, work: _Work, shard: _Pending) -> LineColumns:
        unknown = GroundTruth(label=Label(value=None))
        dataset = Dataset(
            name=self.file.path.name,
            config=None,
            split="all",
            task=work.task,
            policy=None,
            revision="",
            samples=shard.samples,
            ground_truth=[unknown] * len(shard.samples),
        )
        costs = [shard.costs[place] for place in sorted(shard.costs)]
        evidence = EvidenceSet(
            "",
            {},
            EvidenceBundle(shard.evidence),
            sum_traces(costs),
            costs=tuple(costs),
        )
        evaluation = Evaluation(
            classifier=self.classifier,
            strategy=self.strategy,
            evaluation_set=EvaluationSet(dataset),
            evidence=evidence.for_strategy(self.classifier.spec, self.strategy),
        )
        predictions = apply_strategy(evaluation)
        work.summary.n_failed += int(predictions.failed.sum())
        judgements = predictions.judgements
        notes = (judgements.note, judgements.decision_note, judgements.category_note)
        work.summary.notes |= dict.fromkeys(
            filter(None, (*meta_notes(b.meta for b in shard.evidence.values()), *notes))
        )
        return LineColumns(
            {
                **_row_fields(shard.rows, dataset, work.survey),
                **self._score_fields(evaluation, predictions, work.summary),
            },
            len(shard.rows),
        )

    def _score_fields(
        self, evaluation: Evaluation, predictions: Predictions, summary: LogSummary
    ) -> dict[str, Constant | Varying]:
        """Return what the guard says, under the names that predictions have."""
        bounds, traces = predictions.judgements, evaluation.evidence.traces
        predictions = drop_unsupported(predictions)
        judgements = predictions.judgements
        score, lower, upper = judgements.score, bounds.lower, bounds.upper
        decision, threshold = predictions.decision, predictions.threshold
        point: dict[str, Constant | Varying] = {}
        if self.deployment is not None:
            score, lower, upper = map(self._calibrated, (score, lower, upper))
            assert score is not None
            threshold = self.deployment.point.threshold
            decision = np.where(np.isnan(score), np.nan, score >= threshold)
            actions = [
                None if np.isnan(s) else self.deployment.point.action(float(s))
                for s in score
            ]
            summary.count(actions)
            point = {
                "action": Varying(lambda: actions),
                "operating_point": Constant(self.deployment.describe()),
            }
        verdicts = _verdicts(decision, evaluation.dataset.task, len(traces))
        if self.deployment is None:
            summary.count(verdicts)
        return {
            "strategy": Constant(self.strategy.label),
            "classifier": Constant(self.classifier.label),
            "model": Constant(self.classifier.model),
            "task": Constant(evaluation.dataset.task),
            "policy": Constant(self.classifier.policy),
            **point,
            "verdict": Varying(lambda: verdicts),
            "score": number_field(score),
            "lower": number_field(lower),
            "upper": number_field(upper),
            "uncertainty": number_field(judgements.uncertainty),
            "categories": cell_field(predictions, judgements.categories),
            "predicted_categories": category_field(predictions),
            "threshold": Constant(json_number(threshold)),
            "tokens_in": trace_field(traces, "tokens_in"),
            "tokens_dropped": trace_field(traces, "tokens_dropped"),
            "error": error_field(bounds.errors),
            "raw": trace_field(traces, "raw"),
        }

    def _calibrated(self, column: Array | None) -> Array | None:
        assert self.deployment is not None
        return None if column is None else self.deployment.calibrated(column)


class _Work(NamedTuple):
    """What is to be scored: the missing shards of a folder."""

    folder: ScoreFolder
    survey: LogSurvey
    task: str
    missing: Sequence[int]
    summary: LogSummary


@dataclass(slots=True)
class _Pending:
    """A shard in flight: its rows, and what is recorded of them so far."""

    rows: list[LogRow]
    samples: list[Sample]
    costs: dict[int, RecordingCost] = field(default_factory=dict)
    evidence: dict[type[Evidence], Evidence] = field(default_factory=dict)


def _row_fields(
    rows: Sequence[LogRow], dataset: Dataset, survey: LogSurvey
) -> dict[str, Constant | Varying]:
    """Return which row each score is of, and what came along with it."""

    def extra(name: str) -> Varying:
        return Varying(lambda: (row.extras.get(name) for row in rows))

    return {
        "id": Varying(lambda: (row.id for row in rows)),
        "row": Varying(lambda: (row.number for row in rows)),
        "content": Varying(lambda: (sample.content for sample in dataset.samples)),
        **{name: extra(name) for name in survey.extras},
    }


def _verdicts(decision: Array | None, task: str, size: int) -> list[str | None]:
    if decision is None:
        return [None] * size
    names = {flag: class_name(task, harmful=flag) for flag in (True, False)}
    return [None if np.isnan(d) else names[bool(d)] for d in decision.tolist()]
