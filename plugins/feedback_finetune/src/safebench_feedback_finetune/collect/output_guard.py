"""The output guard: who judges responses, if not the guard that is taught.

Any classifier of safebench that answers ``response_harm`` can be one. Its probability
is the soft label that the guard learns, so a score that only ranks is refused, or
calibrated on rows whose responses people labelled.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench import BatchJudge
from safebench.calibration import Platt
from safebench.datasets import load_dataset, resolve_dataset
from safebench.errors import DataError, ModelError, OptionError
from safebench.records import Sample, Turn

from .collection_input import training_split

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench import Plugins
    from safebench.records import Dataset
    from safebench.typing import Floats
    from safebench_feedback_finetune.options import CollectOptions

    Pair = tuple[str, str]  # prompt and response
    Say = Callable[[str], None]

TASK = "response_harm"
# Fewer of either class leave the slope of Platt scaling to chance.
MIN_CALIBRATION_ROWS = 20
_PROBE = ("How do I bake bread?", "Mix flour and water, and wait.")
_BATCH = 256


@dataclass(frozen=True, slots=True)
class LabelledResponses:
    """Rows of a dataset whose responses people labelled: pairs, labels (True: harm)."""

    dataset: Dataset
    pairs: list[Pair]
    harmful: list[bool]

    def to_manifest(self) -> dict[str, Any]:
        """Return the facts that a manifest keeps of the set."""
        return {
            "name": self.dataset.label,
            "rows": len(self.pairs),
            "harmful": sum(self.harmful),
            "data_hash": self.dataset.data_hash,
        }


class OutputGuard:
    """A judge of responses: probabilities of harm, by any classifier of safebench.

    `facts` are what the manifest says of it beside its identity. Raises SafebenchError,
    in one line, for names and options that do not exist, before a model is loaded.
    """

    def __init__(self, options: CollectOptions, plugins: Plugins, say: Say) -> None:
        self._say = say
        self.judge = BatchJudge(
            options.output_guard,
            options.judge_strategy,
            plugins,
            task=TASK,
            calibrator=options.judge_calibrator,
        )
        self.calibration_sets = [
            read_labelled_responses(term, options, plugins, say)
            for term in options.judge_calibrate
        ]
        if not (self.judge.emits_probability or self.calibration_sets):
            raise OptionError(_no_probability(self.judge))
        self._platt: Platt | None = None

    @property
    def label(self) -> str:
        """The judge's name for people."""
        return self.judge.label

    @property
    def record_label(self) -> str:
        """The judge's name in records, with its hash."""
        return f"{self.judge.chosen.model}@{self.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """A hash of the judge with what it is calibrated on."""
        text = f"{self.judge.fingerprint} {self._calibrated_on()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def identity(self) -> dict[str, Any]:
        """Return what a resumed collection must have in common with the first one."""
        identity = {"fingerprint": self.fingerprint, **self.judge.identity}
        if self.calibration_sets:
            identity["calibrated_on"] = self._calibrated_on()
        return identity

    def _calibrated_on(self) -> list[list[str]]:
        return [
            [rows.dataset.label, rows.dataset.data_hash]
            for rows in self.calibration_sets
        ]

    def load(self, stored: Mapping[str, Any] | None) -> dict[str, Any]:
        """Load the model, check that it gives probabilities, and return the facts.

        `stored` are the facts of an earlier start: a map to probabilities is not fitted
        again. Raises OptionError for a score that only ranks.
        """
        self.judge.load()
        probe = self.judge.judge(_samples([_PROBE]))
        is_probability = probe.probability
        if not (is_probability or self.calibration_sets):
            raise OptionError(_no_probability(self.judge, probe.note))
        facts: dict[str, Any] = {
            "label": self.label,
            "probability": "as its strategy gives it",
        }
        if self.judge.is_calibrated:
            facts["probability"] = "by a stored calibrator"
        if self.calibration_sets:
            self._platt = self._fitted_map(stored, probability=is_probability)
            facts["probability"] = "by Platt scaling on people's labels of responses"
            facts["platt"] = self._platt.state
            facts["calibrated_on"] = [r.to_manifest() for r in self.calibration_sets]
        self._say(f"judge: {self.label}; probability: {facts['probability']}")
        return facts

    def _fitted_map(
        self, stored: Mapping[str, Any] | None, *, probability: bool
    ) -> Platt:
        """Return Platt scaling of the judge's scores, as stored or fitted now."""
        platt = Platt()
        platt.probability = probability
        if stored and stored.get("platt"):
            platt.state = dict(stored["platt"])
            return platt
        pairs = [pair for rows in self.calibration_sets for pair in rows.pairs]
        y = np.asarray([y for rows in self.calibration_sets for y in rows.harmful])
        scores, _ = self._raw_scores(pairs)
        known = ~np.isnan(scores)
        _check_classes(y[known])
        try:
            platt.fit(scores[known], y[known])
        except DataError as error:
            raise DataError(f"--judge-calibrate: {error.message}") from None
        return platt

    def scores(self, pairs: Sequence[Pair]) -> tuple[Floats, list[str | None]]:
        """Return p(unsafe) of responses (n,), and why one has none (NaN).

        Raises ModelError if it judges none of them and no harmless text either: an
        endpoint that is down is no property of the responses.
        """
        scores, errors = self._raw_scores(pairs)
        known = ~np.isnan(scores)
        if pairs and not known.any() and np.isnan(self._raw_scores([_PROBE])[0][0]):
            reason = next((error for error in errors if error), "no score")
            raise ModelError(f"judge {self.label} judges nothing any more: {reason}")
        if self._platt is not None and known.any():
            scores[known] = self._platt.transform(scores[known])
        return scores, errors

    def _raw_scores(self, pairs: Sequence[Pair]) -> tuple[Floats, list[str | None]]:
        scores = np.full(len(pairs), np.nan)
        errors: list[str | None] = []
        for start in range(0, len(pairs), _BATCH):
            batch = self.judge.judge(_samples(pairs[start : start + _BATCH]))
            scores[start : start + len(batch.scores)] = batch.scores
            errors += batch.errors
        return scores, errors


def read_labelled_responses(
    term: str, options: CollectOptions, plugins: Plugins, say: Say
) -> LabelledResponses:
    """Read a dataset with people's labels of responses; raises DataError for others."""
    request = training_split(
        term,
        resolve_dataset(
            term,
            plugins,
            data_root=options.data_root,
            on_bad_row=options.on_bad_row,
            label_map=options.label_map,
        ),
    )
    dataset = load_dataset(request, say=say)
    if dataset.task != TASK:
        raise DataError(
            f"{dataset.label} has labels for {dataset.task}: a set with people's "
            "labels of responses is needed"
        )
    pairs, harmful = [], []
    for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True):
        if truth.label.value is None or len(sample.turns) < len(_PROBE):
            continue
        pairs.append((sample.turns[-2].text, sample.turns[-1].text))
        harmful.append(truth.label.value)
    return LabelledResponses(dataset, pairs, harmful)


def _samples(pairs: Sequence[Pair]) -> list[Sample]:
    return [
        Sample(
            id=str(number),
            turns=(Turn("user", prompt), Turn("assistant", response)),
            task=TASK,
        )
        for number, (prompt, response) in enumerate(pairs)
    ]


def _check_classes(y: Any) -> None:
    n_harmful, n_safe = int(y.sum()), int((~y).sum())
    if min(n_harmful, n_safe) < MIN_CALIBRATION_ROWS:
        raise DataError(
            f"--judge-calibrate takes {MIN_CALIBRATION_ROWS} harmful and as many "
            f"harmless responses at least: there are {n_harmful} and {n_safe}"
        )


def _no_probability(judge: BatchJudge, note: str = "") -> str:
    """Say that a score only ranks, and what would work."""
    others = ", ".join(judge.probability_strategies())
    because = f" ({note})" if note else ""
    instead = f"--judge-strategy {others}, or " if others else ""
    return (
        f"the scores of {judge.label} only rank{because}, and a soft label is a "
        f"probability: {instead}--judge-calibrate DATASET fits one to people's labels "
        "of responses"
    )
