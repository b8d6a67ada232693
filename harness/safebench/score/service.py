"""The scoring service: single conversations, scored by models that stay loaded.

It records evidence as `run` does and applies the same strategies, so that a score is
the one that a run would store. Nothing is written to disk.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from safebench.compatibility import format_skipped
from safebench.datasets.rows import DOCUMENT_TASK
from safebench.errors import OptionError, SafebenchError
from safebench.evidence.base import EvidenceBundle
from safebench.evidence.scope import sample_to_record
from safebench.executors.isolated_classifier import load_classifier
from safebench.executors.worker import ignore_progress, record_kinds
from safebench.pipeline.config import ComponentRef, RunConfig
from safebench.pipeline.evaluation_set import EvaluationSet
from safebench.pipeline.evidence_set import Evaluation, EvidenceSet
from safebench.pipeline.grid import build_grid, settle_grid
from safebench.pipeline.judging import NO_SCORE, apply_strategy
from safebench.pipeline.recording import (
    kind_groups,
    meta_notes,
    response_notes,
)
from safebench.records import RESPONSE_TASKS, Dataset, GroundTruth, Label

from .result import build_result, failed_result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.classifiers import Classifier, Trace
    from safebench.evidence import Evidence
    from safebench.pipeline.resolved import ResolvedClassifier, ResolvedStrategy
    from safebench.plugins import Plugins
    from safebench.records import Sample

    from .conversation import Conversation
    from .deployment import Deployment
    from .result import ScoreResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSample:
    """The evidence about one conversation, which any strategy can judge.

    `seconds` is the time of recording, `loading` that of loading the model before.
    """

    chosen: ResolvedClassifier
    sample: Sample
    classifier: Classifier
    evidence: EvidenceBundle
    trace: Trace
    seconds: float
    loading: float

    def judge(
        self, strategy: ResolvedStrategy, deployment: Deployment | None = None
    ) -> ScoreResult:
        """Return the result of one strategy; a failed judgement is a result, too.

        With a deployment, its operating point decides. Raises `PluginError` for a
        strategy whose code fails.
        """
        started = time.perf_counter()
        dataset = _unlabelled_dataset(self.sample)
        evaluation = Evaluation(
            classifier=self.chosen,
            strategy=strategy,
            evaluation_set=EvaluationSet(dataset),
            evidence=EvidenceSet(
                "",
                {},
                self.evidence,
                [self.trace],
                notes=(
                    *meta_notes(batch.meta for _, batch in self.evidence.items()),
                    *response_notes(dataset, self.chosen.evidence_scope),
                    *_sample_notes(self.sample),
                ),
            ),
        )
        # By the way of a run, as a dataset of one: a score shown here is the score that
        # a run would store.
        predictions = apply_strategy(evaluation)
        result = build_result(
            evaluation,
            predictions,
            model=self.classifier.label or self.chosen.model,
            seconds=self.seconds + time.perf_counter() - started,
            loading=self.loading,
        )
        if deployment is not None:
            result = deployment.decide(result, predictions, self.classifier.facts)
        if result.error == NO_SCORE:  # whose fault it is may be either's
            names = f"{strategy.spec.described}, reading {self.chosen.spec.described}"
            return replace(result, error=f"{NO_SCORE} (NaN) from {names}")
        return result

    def failed(self, strategy: ResolvedStrategy, error: str) -> ScoreResult:
        """Return the result of a strategy whose code failed for a reason."""
        return failed_result(self.chosen, strategy, self.sample.task, error, self.trace)

    def judge_all(self) -> list[ScoreResult]:
        """Return the results of all chosen strategies, in order."""
        return [self.judge(strategy) for strategy in self.chosen.strategies]


class ScoringService:
    """Scores single conversations; threads may share it.

    One conversation is recorded at a time, since a model may not be called twice at
    once. Judging needs no lock.
    """

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self._models: dict[str, Classifier] = {}
        self._loaded: list[tuple[ResolvedClassifier, Classifier]] = []
        self._lock = threading.Lock()

    def resolve(self, config: RunConfig) -> ResolvedClassifier:
        """Resolve one classifier and its strategies, without importing either."""
        classifiers = build_grid(config, self.plugins).classifiers
        assert len(classifiers) == 1, (
            f"one classifier at a time, not {len(classifiers)}"
        )
        return classifiers[0]

    def resolve_all(
        self, config: RunConfig, stored: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[list[ResolvedClassifier], list[str]]:
        """Resolve classifiers; also return the pairs with a strategy that were skipped.

        A classifier whose evidence no named strategy reads is left out. `stored` is
        what was recorded before, as in `safebench.pipeline.settling.settle_all`.
        """
        grid = build_grid(config, self.plugins, settle=False)
        grid = settle_grid(grid, config, self.plugins, stored)
        readable = [
            classifier for classifier in grid.classifiers if classifier.strategies
        ]
        return readable, format_skipped(grid.skipped) if config.strategies else []

    def record(
        self, chosen: ResolvedClassifier, conversation: Conversation, task: str = ""
    ) -> RecordedSample:
        """Record evidence about one conversation; the model is loaded if it is not yet.

        Raises `SafebenchError` for a model that cannot be loaded and for a task that
        the classifier does not answer, `PluginError` for a classifier whose code fails.
        """
        # Before the lock: a conversation that cannot be scored waits for no model.
        sample = conversation.to_sample(chosen, task)
        with self._lock:
            started = time.perf_counter()
            model = self._load_once(chosen)
            loaded = time.perf_counter()
            evidence, trace = record_sample(chosen, sample, model)
            return RecordedSample(
                chosen=chosen,
                sample=sample,
                classifier=model,
                evidence=evidence,
                trace=trace,
                seconds=time.perf_counter() - loaded,
                loading=loaded - started,
            )

    def load(self, chosen: ResolvedClassifier) -> None:
        """Load a classifier ahead of its first conversation."""
        with self._lock:
            self._load_once(chosen)

    def is_loaded(self, chosen: ResolvedClassifier) -> bool:
        """Tell whether a classifier's model is there."""
        return self._model_key(chosen) in self._models

    def loaded_model(self, chosen: ResolvedClassifier) -> Classifier | None:
        """Return a model that was loaded with these options, None if there is none.

        Nothing of the model is read to find it, as its identity would need.
        """
        options = repr(chosen.options)
        for known, model in tuple(self._loaded):
            same_spec = known.spec.name == chosen.spec.name
            if same_spec and options == repr(known.options):
                return model
        return None

    def close(self) -> None:
        """Free the models."""
        with self._lock:
            self._loaded.clear()
            for model in self._models.values():
                model.close()
            self._models.clear()

    def _load_once(self, chosen: ResolvedClassifier) -> Classifier:
        key = self._model_key(chosen)
        if key not in self._models:
            self._models[key] = load_classifier(chosen)
            self._loaded.append((chosen, self._models[key]))
        return self._models[key]

    @staticmethod
    def _model_key(chosen: ResolvedClassifier) -> str:
        # The request alone leaves out options that do not change the evidence, such as
        # the device; a model with other ones is another model all the same.
        return json.dumps([chosen.request, repr(chosen.options)], default=str)


def record_sample(
    chosen: ResolvedClassifier, sample: Sample, model: Classifier
) -> tuple[EvidenceBundle, Trace]:
    """Return all evidence that the strategies read, and the trace of the first pass."""
    # as a run would hand it over: a guard of several tasks is shown the whole exchange
    shown = sample_to_record(sample, chosen.evidence_scope, chosen.tasks)
    evidence: dict[type[Evidence], Evidence] = {}
    traces: list[Trace] = []
    for kinds in kind_groups(chosen).values():
        recording = record_kinds(chosen.label, model, [shown], kinds, ignore_progress)
        evidence |= recording.evidence
        traces += recording.traces
    # The first pass is the one that was asked for; others add kinds of evidence about
    # the same text.
    return EvidenceBundle(evidence), traces[0]


def _sample_notes(sample: Sample) -> list[str]:
    """Return what a run would note of a dataset with this sample."""
    notes = []
    if sample.task == DOCUMENT_TASK and not sample.documents:
        notes.append(
            "there are no documents: the response is held against the conversation "
            "alone"
        )
    judged = sample.turns[: sample.target % len(sample.turns) + 1]
    n_user = sum(turn.role == "user" for turn in judged)
    if sample.task not in RESPONSE_TASKS and n_user > 1:
        notes.append(f"the last of {n_user} user turns is judged")
    return notes


def _unlabelled_dataset(sample: Sample) -> Dataset:
    """Return the sample as a dataset of one, without a label."""
    return Dataset(
        name="question",
        config=None,
        split="",
        task=sample.task,
        policy=None,
        revision="",
        samples=[sample],
        ground_truth=[GroundTruth(label=Label(value=None))],
    )


# By name, and not whatever is installed: a plugin may send texts to a service.
PREFERRED_CLASSIFIERS = ("llamaguard", "keyword")


def unavailable_reason(plugins: Plugins, ref: ComponentRef) -> str:
    """Return why a classifier cannot run as it is; empty if it can."""
    try:
        build_grid(RunConfig(classifiers=(ref,)), plugins)
    except SafebenchError as error:
        return error.message.partition("\n")[0]
    except Exception as error:  # noqa: BLE001 - one broken plugin hides no other
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return ""


def default_classifier(plugins: Plugins) -> str:
    """Return the classifier to use where none is named.

    It is the embedded guard, where its plugin is installed, and else the keyword list.
    Raises `OptionError` if neither can run.
    """
    for name in PREFERRED_CLASSIFIERS:
        if not unavailable_reason(plugins, ComponentRef(name, name)):
            return name
    raise OptionError("which classifier? say --classifier NAME")
