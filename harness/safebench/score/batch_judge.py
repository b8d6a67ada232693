"""`BatchJudge`: one classifier with one strategy, for plugins that need judgements.

It judges many samples at a time, by the code of a run, and writes nothing to disk.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.calibration.fitted import FittedCalibrator, transform
from safebench.compatibility import missing_requirements
from safebench.errors import DataError, IncompatibleError, OptionError
from safebench.evidence.base import EvidenceBundle
from safebench.evidence.scope import sample_to_record
from safebench.executors.isolated_classifier import load_classifier
from safebench.executors.worker import ignore_progress, record_kinds
from safebench.pipeline.config import RunConfig, parse_component_ref
from safebench.pipeline.evaluation_set import EvaluationSet
from safebench.pipeline.evidence_set import Evaluation, EvidenceSet
from safebench.pipeline.grid import build_grid
from safebench.pipeline.judging import apply_strategy
from safebench.pipeline.recording import kind_groups
from safebench.records import Dataset, GroundTruth, Label
from safebench.specs import CalibratorSpec, StrategySpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.classifiers import Classifier, Trace
    from safebench.evidence import Evidence
    from safebench.pipeline.resolved import ResolvedClassifier, ResolvedStrategy
    from safebench.plugins import Plugins
    from safebench.records import Sample
    from safebench.typing import Floats

_IDENTITY_DIGITS = 16  # hex


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchScores:
    """Scores (n,) of samples, NaN where `errors` (n) says why there is none.

    `probability` says whether they are probabilities, `note` what a reader of them has
    to know.
    """

    scores: Floats
    errors: list[str | None]
    probability: bool
    note: str


class BatchJudge:
    """A classifier and a strategy that give samples a score; the model loads on use.

    `classifier` and `strategy` are references as on the command line,
    ``[LABEL=]NAME[,key=value...]``; without a strategy it is the classifier's own.
    `calibrator` is a file that ``safebench calibrate`` stored for this classifier and
    strategy: scores are then its probabilities. Raises a `SafebenchError`, in one line
    with the nearest name, before anything heavy is imported.
    """

    def __init__(
        self,
        classifier: str,
        strategy: str,
        plugins: Plugins,
        *,
        task: str,
        calibrator: str = "",
    ) -> None:
        self.task = task
        self._plugins = plugins
        self.chosen, self.strategy = _resolve(classifier, strategy, plugins)
        if task not in self.chosen.tasks:
            answered = ", ".join(sorted(self.chosen.tasks))
            raise IncompatibleError(
                f"{self.chosen.label} does not answer {task}: it answers {answered}"
            )
        self._calibrator = _read_calibrator(calibrator, self) if calibrator else None
        self._model: Classifier | None = None

    @property
    def label(self) -> str:
        """Model, strategy and calibrator, for people."""
        parts = [self.chosen.model, self.strategy.label]
        if self._calibrator is not None:
            parts.append(self._calibrator.label)
        name = self.chosen.label
        return f"{name} ({', '.join(parts)})"

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes two judges, as JSON values; no secret is in it.

        Hashes of weights where the classifier states them, the options of both, and the
        constants of the calibrator.
        """
        identity: dict[str, Any] = {
            "classifier": self.chosen.request,
            "strategy": self.strategy.spec.name,
            "params": self.strategy.params,
        }
        if self._calibrator is not None:
            calibrator = self._calibrator
            identity["calibrator"] = {
                "name": calibrator.name,
                "options": calibrator.options,
                "state": calibrator.state,
            }
        plain: dict[str, Any] = json.loads(json.dumps(identity, default=str))
        return plain

    @property
    def fingerprint(self) -> str:
        """A hash of `identity`: hex digits."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_IDENTITY_DIGITS]

    @property
    def emits_probability(self) -> bool:
        """Whether scores can be probabilities; `BatchScores` says whether they are."""
        if self._calibrator is not None:
            return True
        return "probability" in self.strategy.spec.emits

    @property
    def is_calibrated(self) -> bool:
        """Whether a stored calibrator makes its probabilities."""
        return self._calibrator is not None

    def probability_strategies(self) -> list[str]:
        """Return the other strategies that read it and can give a probability."""
        spec = self.chosen.spec
        return sorted(
            strategy.name
            for strategy in self._plugins.all(StrategySpec)
            if "probability" in strategy.emits
            and strategy.name != self.strategy.spec.name
            and not missing_requirements(spec, strategy)
            and not strategy.needs_categories
        )

    @property
    def model_folder(self) -> Path | None:
        """The folder of the option `model`, None where it names none."""
        name = getattr(self.chosen.options, "model", None)
        if not name or not isinstance(name, str | Path):
            return None
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None

    def load(self) -> None:
        """Load the model, if it is not there yet."""
        if self._model is None:
            self._model = load_classifier(self.chosen)

    def judge(self, samples: Sequence[Sample]) -> BatchScores:
        """Return a score of each sample, in order.

        Raises `PluginError` for code of a plugin that fails; a sample that alone cannot
        be judged has an error.
        """
        self.load()
        assert self._model is not None
        if not samples:
            return BatchScores(scores=np.zeros(0), errors=[], probability=True, note="")
        evaluation = self._record(samples, self._model)
        predictions = apply_strategy(evaluation)
        judgements = predictions.judgements
        scores = judgements.score
        if scores is None:
            raise IncompatibleError(f"{self.strategy.label} gives no score")
        failed = predictions.failed
        scores = np.where(failed, np.nan, np.asarray(scores, dtype=float))
        probability = judgements.probability and self.emits_probability
        if self._calibrator is not None:
            scores, probability = self._calibrated(scores), True
        return BatchScores(
            scores=scores,
            errors=list(judgements.errors),
            probability=probability,
            note=judgements.note,
        )

    def close(self) -> None:
        """Free the model."""
        if self._model is not None:
            self._model.close()
            self._model = None

    def _record(self, samples: Sequence[Sample], model: Classifier) -> Evaluation:
        """Return the evidence of samples, as a run would record it."""
        chosen = self.chosen
        shown = [
            sample_to_record(sample, chosen.evidence_scope, chosen.tasks)
            for sample in samples
        ]
        evidence: dict[type[Evidence], Evidence] = {}
        traces: Sequence[Trace] = ()
        for kinds in kind_groups(chosen).values():
            recording = record_kinds(chosen.label, model, shown, kinds, ignore_progress)
            evidence |= recording.evidence
            # the first pass is the default one: what the others lack is an error there
            traces = traces or recording.traces
        return Evaluation(
            classifier=chosen,
            strategy=self.strategy,
            evaluation_set=EvaluationSet(_unlabelled(samples, self.task)),
            evidence=EvidenceSet("", {}, EvidenceBundle(evidence), traces),
        )

    def _calibrated(self, scores: Floats) -> Floats:
        fitted = self._calibrator
        assert fitted is not None
        spec = self._plugins.get(CalibratorSpec, fitted.name)
        return transform(spec, fitted.calibrator(self._plugins), scores)


def _resolve(
    classifier: str, strategy: str, plugins: Plugins
) -> tuple[ResolvedClassifier, ResolvedStrategy]:
    """Return a classifier with the one strategy that reads it."""
    strategies = (parse_component_ref(strategy),) if strategy else ()
    config = RunConfig(
        classifiers=(parse_component_ref(classifier),), strategies=strategies
    )
    grid = build_grid(config, plugins)
    (chosen,) = grid.classifiers
    if len(chosen.strategies) != 1:
        reason = str(grid.skipped[0]) if grid.skipped else f"{strategy}: name one"
        raise OptionError(reason)
    (read_by,) = chosen.strategies
    if "score" not in read_by.spec.emits:
        raise IncompatibleError(
            f"strategy {read_by.label} says how sure a verdict is, and gives no score"
        )
    return replace(chosen, strategies=(read_by,)), read_by


def _read_calibrator(path: str, judge: BatchJudge) -> FittedCalibrator:
    """Read a stored calibrator; raises DataError if it is of another judge."""
    file = Path(path).expanduser()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise DataError(f"{path} holds no calibrator: {problem}") from None
    fitted = FittedCalibrator.from_json(content, path)
    there = (fitted.model, fitted.task)
    here = (judge.chosen.model, judge.task)
    names = {judge.strategy.label, judge.strategy.spec.name}
    if there != here or fitted.strategy not in names:
        raise DataError(
            f"{path} was fitted to {fitted.strategy} of {fitted.model} "
            f"({fitted.task}), not to {judge.strategy.label} of {judge.chosen.model} "
            f"({judge.task})"
        )
    if fitted.transductive:
        raise DataError(
            f"{path}: {fitted.name} maps a score by the others that are judged with "
            "it; a judge needs a map of each score alone, such as platt"
        )
    return fitted


def _unlabelled(samples: Sequence[Sample], task: str) -> Dataset:
    """Return the samples as a dataset without labels."""
    return Dataset(
        name="batch",
        config=None,
        split="",
        task=task,
        policy=None,
        revision="",
        samples=list(samples),
        ground_truth=[GroundTruth(label=Label(value=None)) for _ in samples],
    )
