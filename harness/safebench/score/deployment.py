"""Scoring at an operating point: the guard it was chosen for, and what becomes of it.

The guard is rebuilt from what the point says of it, and recognised by its identity:
another one, another strategy and other options are refused before anything is judged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.calibration.fitted import FittedCalibrator, transform
from safebench.decision.operating_point import read_point
from safebench.errors import IncompatibleError, ModelError, OptionError
from safebench.pipeline.config import (
    ComponentRef,
    RunConfig,
    component_ref_from_yaml,
)
from safebench.pipeline.grid import build_grid, keep_engines
from safebench.pipeline.resolved import Grid
from safebench.specs import CalibratorSpec

from .result import class_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safebench.decision.operating_point import OperatingPoint
    from safebench.pipeline.judging import Predictions
    from safebench.pipeline.resolved import ResolvedClassifier
    from safebench.plugins import Plugins
    from safebench.typing import Floats

    from .result import ScoreResult


@dataclass(frozen=True, slots=True)
class Deployment:
    """An operating point, and the one classifier and strategy that it decides for.

    `note` is for every answer: what differs from where the point was chosen, without
    being another guard.
    """

    point: OperatingPoint
    classifier: ResolvedClassifier
    plugins: Plugins
    note: str = ""

    def check_task(self, task: str) -> None:
        """Raise IncompatibleError for a conversation of another task."""
        if task != self.point.task:
            raise IncompatibleError(
                f"{self.point.where} was chosen for {self.point.task}, this "
                f"conversation is judged for {task}"
            )

    def decide(
        self, result: ScoreResult, predictions: Predictions, facts: Mapping[str, Any]
    ) -> ScoreResult:
        """Return a result with its action, verdict and score at the operating point.

        `facts` are those of the loaded model. A failed judgement has no action.
        """
        undecided = self.undecided(result)
        if result.error is not None:
            return undecided
        judgements = predictions.judgements
        if predictions.supported_threshold is not None or judgements.score is None:
            reason = "its evidence supports no score: the operating point needs one"
            return replace(undecided, verdict=None, harmful=None, error=reason)
        columns = (judgements.score, judgements.lower, judgements.upper)
        # Bounds, too: a calibrator keeps the order of scores.
        score, lower, upper = (
            None if column is None else self._calibrated(float(column[0]))
            for column in columns
        )
        assert score is not None
        point = self.point
        harmful = score >= point.threshold
        notes = [*result.notes, self.note, self._note_on_facts(facts)]
        if (
            lower is not None
            and upper is not None
            and (point.action(lower) != point.action(upper))
        ):
            notes.append(
                f"the score's bounds, {lower:.4g} to {upper:.4g}, lie on both sides of "
                "a threshold"
            )
        return replace(
            undecided,
            action=point.action(score),
            harmful=harmful,
            verdict=class_name(result.task, harmful=harmful),
            # All digits: rounded, a score at the threshold could lie below it.
            score=score,
            lower=lower,
            upper=upper,
            threshold=point.threshold,
            notes=tuple(dict.fromkeys(filter(None, notes))),
        )

    def _calibrated(self, score: float) -> float:
        """Return a score on the scale of the threshold."""
        return float(self.calibrated(np.array([score]))[0])

    def calibrated(self, scores: Floats) -> Floats:
        """Return scores (n,) on the scale of the threshold; NaN stays NaN."""
        known = ~np.isnan(scores)
        if self.point.calibrator is None or not known.any():
            return scores
        fitted = FittedCalibrator.from_json(self.point.calibrator, self.point.where)
        spec = self.plugins.get(CalibratorSpec, fitted.name)
        calibrator = fitted.calibrator(self.plugins)
        result = np.full(len(scores), np.nan)
        result[known] = transform(spec, calibrator, scores[known])
        return result

    def undecided(self, result: ScoreResult) -> ScoreResult:
        """Return a result that names the operating point, without an action."""
        return replace(result, operating_point=self.describe())

    def describe(self) -> dict[str, Any]:
        """Return what answers say of the operating point."""
        point = self.point
        return {
            "file": point.where,
            "checksum": point.checksum,
            "of": point.label,
            "threshold": point.threshold,
            "review": point.review,
        }

    def _note_on_facts(self, facts: Mapping[str, Any]) -> str:
        there = self.point.recorded
        differing = [
            f"{name} {there[name]}, not {facts[name]}"
            for name in ("device", "dtype")
            if there.get(name) and facts.get(name) and there[name] != str(facts[name])
        ]
        if not differing:
            return ""
        return (
            f"the operating point was chosen on {', '.join(differing)}: scores may "
            "differ in their last digits"
        )


def deploy(
    path: str | Path, plugins: Plugins, given: RunConfig | None = None
) -> Deployment:
    """Read an operating point and resolve its guard, without loading the model.

    `given` is what the user asks for over it, such as where the model lies here. Raises
    DataError for a file that was changed, IncompatibleError for another guard, strategy
    or options.
    """
    point = read_point(path)
    config = point_config(point, given or RunConfig())
    try:
        (classifier,) = build_grid(config, plugins).classifiers
    except ModelError as error:
        raise ModelError(
            f"{error.message}; --model or --set KEY=VALUE says where the guard of "
            f"{point.where} is here"
        ) from None
    stored = {"classifiers": {classifier.label: point.classifier}}
    (classifier,) = keep_engines(Grid((classifier,), ()), stored).classifiers
    note = point.check_identity(
        classifier.identity, str(classifier.request.get("producer", ""))
    )
    chosen = [
        strategy
        for strategy in classifier.strategies
        if strategy.label == point.strategy["label"]
    ]
    if not chosen or chosen[0].spec.name != point.strategy["name"]:
        raise IncompatibleError(
            f"{point.where} decides on {point.strategy['name']}, which does not read "
            f"{classifier.label} here"
        )
    params = {k: v for k, v in chosen[0].params.items() if k != "threshold"}
    if params != point.strategy["params"]:
        raise IncompatibleError(
            f"{point.where} was chosen for other options of {chosen[0].label}: "
            f"{point.strategy['params'] or 'none'} there, {params or 'none'} here"
        )
    return Deployment(
        point, replace(classifier, strategies=(chosen[0],)), plugins, note
    )


def point_config(point: OperatingPoint, given: RunConfig) -> RunConfig:
    """Return the configuration of a point's guard, with what is given over it."""
    where = point.where
    stored = point.configuration
    refs = [component_ref_from_yaml(where, ref) for ref in stored["classifiers"]]
    own = next(
        (ref for ref in refs if ref.label == point.classifier["label"]),
        ComponentRef(point.classifier["name"], point.classifier["label"]),
    )
    strategies = _strategies(point)
    _check_given(point, given)
    if given.classifiers:
        (ref,) = given.classifiers
        own = ComponentRef(own.name, own.label, {**own.options, **ref.options})
    labels = {own.label, *(ref.label for ref in strategies)}
    options = {
        key: value
        for key, value in (stored.get("set") or {}).items()
        if "." not in key or key.partition(".")[0] in labels
    }
    return RunConfig(
        classifiers=(own,),
        strategies=strategies,
        models=stored.get("models") or {},
        set=options | given.set,
        model=given.model or stored.get("model"),
        dtype=stored.get("dtype"),
        adapter=stored.get("adapter"),
    )


def _strategies(point: OperatingPoint) -> tuple[ComponentRef, ...]:
    """Return the point's strategy, and others that had a say in what is recorded."""
    named = point.strategy
    stored = [
        component_ref_from_yaml(point.where, ref)
        for ref in point.configuration.get("strategies", ())
    ]
    own = next(
        (ref for ref in stored if ref.label == named["label"]),
        ComponentRef(named["name"], named["label"], dict(named["params"])),
    )
    others = [
        ref
        for ref in stored
        if ref.label != own.label and set(ref.options) - {"threshold"}
    ]
    return (own, *others)


def _check_given(point: OperatingPoint, given: RunConfig) -> None:
    """Raise for a classifier or strategy that is not the point's."""
    if len(given.classifiers) > 1:
        raise OptionError("--operating-point decides for one classifier: say one -c")
    for ref in given.classifiers:
        if ref.name.casefold() != point.classifier["name"].casefold():
            raise IncompatibleError(
                f"{point.where} was chosen for {point.classifier['name']}, not "
                f"{ref.name}"
            )
    for ref in given.strategies:
        known = {point.strategy["name"].casefold(), point.strategy["label"].casefold()}
        if ref.name.casefold() not in known or set(ref.options) - {"threshold"}:
            raise IncompatibleError(
                f"{point.where} was chosen for {point.label}: leave -s out"
            )
        if "threshold" in ref.options:
            raise OptionError(
                f"{point.where} has a threshold: leave out "
                f"threshold={ref.options['threshold']}"
            )
