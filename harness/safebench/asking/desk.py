"""Where questions are answered: models are loaded once, when first needed."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.errors import SafebenchError
from safebench.evidence.bundle import Bundle
from safebench.plan import sources, told
from safebench.policies import load_policy
from safebench.records import Dataset, Gold, Label
from safebench.run.grid import build_grid
from safebench.run.judging import judge
from safebench.run.recorder import Evidenced
from safebench.specs import fields_by_kind

from .answer import answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.classifiers import Classifier, Trace
    from safebench.evidence import Evidence
    from safebench.plugins import Plugins
    from safebench.records import Sample
    from safebench.run.config import RunConfig
    from safebench.run.grid import ChosenClassifier, ChosenStrategy

    from .answer import Answer
    from .question import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The evidence about one question, ready to be read by any chosen strategy.

    `seconds` is what recording took, `loading` what the model needed before.
    """

    chosen: ChosenClassifier
    sample: Sample
    model: Classifier
    evidence: Bundle
    trace: Trace
    seconds: float
    loading: float

    def read(self, strategy: ChosenStrategy) -> Answer:
        """Return what one strategy says; a failed judgement is an answer, too."""
        since = time.perf_counter()
        policy = load_policy(self.chosen.policy) if self.chosen.policy else None
        evidenced = Evidenced("", {}, self.evidence, [self.trace])
        judged = judge(strategy, _dataset(self.sample), evidenced, policy)
        return answer(
            self.chosen,
            strategy,
            judged,
            self.evidence,
            self.trace,
            policy,
            task=self.sample.task,
            model=self.model.label or self.chosen.model,
            seconds=self.seconds + time.perf_counter() - since,
            loading=self.loading,
        )

    def answers(self) -> list[Answer]:
        """Return what every chosen strategy says, in order."""
        return [self.read(strategy) for strategy in self.chosen.strategies]


class Desk:
    """Records single conversations as `run` records datasets; threads may share it.

    One question is recorded at a time: a model is not asked twice at once.
    """

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self._models: dict[str, Classifier] = {}
        self._lock = threading.Lock()

    def choose(self, config: RunConfig) -> ChosenClassifier:
        """Resolve one classifier and its strategies; nothing heavy is imported."""
        found = build_grid(config, self.plugins).classifiers
        assert len(found) == 1, f"one classifier at a time, not {len(found)}"
        return found[0]

    def choose_all(self, config: RunConfig) -> tuple[list[ChosenClassifier], list[str]]:
        """Resolve classifiers, and say which strategy that was named cannot read which.

        A classifier that no named strategy reads is left out.
        """
        grid = build_grid(config, self.plugins)
        readable = [chosen for chosen in grid.classifiers if chosen.strategies]
        return readable, told(grid.skipped) if config.strategies else []

    def record(
        self, chosen: ChosenClassifier, question: Question, task: str = ""
    ) -> Recorded:
        """Show one conversation to a classifier, which is loaded if it is not yet.

        Raises `SafebenchError` for a model that cannot be loaded and for a question
        that the classifier does not answer.
        """
        sample = question.sample(chosen.spec, task)
        with self._lock:
            begun = time.perf_counter()
            model = self._loaded(chosen)
            ready = time.perf_counter()
            evidence, trace = record(chosen, sample, model)
            return Recorded(
                chosen=chosen,
                sample=sample,
                model=model,
                evidence=evidence,
                trace=trace,
                seconds=time.perf_counter() - ready,
                loading=ready - begun,
            )

    def load(self, chosen: ChosenClassifier) -> None:
        """Load a classifier before it is asked."""
        with self._lock:
            self._loaded(chosen)

    def close(self) -> None:
        """Free the models."""
        with self._lock:
            for model in self._models.values():
                model.close()
            self._models.clear()

    def _loaded(self, chosen: ChosenClassifier) -> Classifier:
        key = json.dumps([chosen.request, repr(chosen.options)], default=str)
        if key not in self._models:
            self._models[key] = chosen.spec.code()(chosen.options)
        return self._models[key]


def record(
    chosen: ChosenClassifier, sample: Sample, model: Classifier
) -> tuple[Bundle, Trace]:
    """Return evidence about one sample: the default record, and what is asked for."""
    default = frozenset(fields_by_kind(chosen.spec.provides))
    read = {k for s in chosen.strategies for k in sources(chosen.spec, s.spec)}
    extra = [frozenset({kind}) for kind in read - default]
    evidence: dict[type[Evidence], Evidence] = {}
    traces: list[Trace] = []
    for kinds in filter(None, [default, *extra]):
        found = model.record([sample], kinds, _unseen)
        _check(chosen.label, kinds, found.evidence, found.traces)
        evidence |= found.evidence
        traces += found.traces
    return Bundle(evidence), traces[0]


def _unseen(n: int) -> None:
    """Report the progress of a single sample to nobody."""


def _check(
    label: str,
    kinds: frozenset[type[Evidence]],
    found: dict[type[Evidence], Any],
    traces: Sequence[Trace],
) -> None:
    sizes = {len(batch) for batch in found.values()} | {len(traces)}
    if kinds - found.keys() or sizes != {1}:
        raise SafebenchError(
            f"classifier {label!r} broke its contract: 1 sample in, "
            f"{sorted(sizes)} out, of {sorted(k.__name__ for k in found)}"
        )


def _dataset(sample: Sample) -> Dataset:
    """Return the sample as a dataset that nobody has labelled."""
    return Dataset(
        name="question",
        config=None,
        split="",
        task=sample.task,
        policy=None,
        revision="",
        samples=[sample],
        golds=[Gold(label=Label(value=None))],
    )
