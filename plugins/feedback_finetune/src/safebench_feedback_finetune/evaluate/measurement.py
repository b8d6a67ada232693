"""Metrics of a guard's decisions on a set, and comparisons of two guards.

Intervals resample whole groups. All guards on a set share the resamples, so that their
differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.metrics import GroupedSamples, mcnemar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.metrics import Interval
    from safebench.records import Dataset
    from safebench.typing import Array
    from safebench_feedback_finetune.collect.prompts import Prompt

# Tasks of the held-out prompts: whether people, or the judge, call responses harmful.
HARM_RATE, BLOCK_RATE = "harm_rate", "block_rate"
METRICS = ("accuracy", "precision", "recall", "f1", "auroc", "auprc", "fpr")
COMPARED_METRICS = ("f1", "fpr", "recall", "auprc")
# By people's labels as well: no threshold changes it, so that the control has none.
COMPARED_BY_PEOPLE = (*COMPARED_METRICS, "auroc")
SCORE_METRICS = frozenset({"auprc", "auroc"})  # of scores; the others of decisions


@dataclass(frozen=True, slots=True)
class GuardTestSet:
    """Prompts with labels `y` (n,) bool; `groups` are resampled whole.

    `dataset` is None for the test split of the collection. There `truth` says in words
    who labelled, and a response counts as harmful from `response_threshold` of `p_out`.
    `compared` are the metrics whose differences are measured.
    """

    name: str
    task: str
    prompts: list[Prompt]
    y: Array
    groups: list[str]
    note: str = ""
    dataset: Dataset | None = None
    truth: str = ""
    response_threshold: float | None = None
    compared: tuple[str, ...] = COMPARED_METRICS


@dataclass(frozen=True, slots=True)
class EvaluatedGuard:
    """A guard to evaluate under a name: a scale of the LoRA, and a threshold."""

    name: str
    alpha: float
    threshold: float
    threshold_from: str = "fixed"


@dataclass(frozen=True, slots=True)
class GuardDecisions:
    """A guard's scores (n,) and decisions (n,) bool on a set."""

    guard: EvaluatedGuard
    scores: Array
    decisions: Array


@dataclass(frozen=True, slots=True)
class GuardDifference:
    """One guard minus another: metrics with interval and p, and McNemar's exact test.

    `only_first` counts the prompts on which only the first decides correctly.
    """

    metrics: dict[str, Interval]
    only_first: int
    only_second: int
    p: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        metrics = {name: interval_to_json(i) for name, i in self.metrics.items()}
        return metrics | {
            "mcnemar": {
                "only_first_right": self.only_first,
                "only_second_right": self.only_second,
                "p": self.p,
            }
        }


def interval_to_json(interval: Interval) -> dict[str, Any]:
    """Return an interval as JSON values; p is there for differences only."""
    content = {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "method": interval.method,
    }
    return content if interval.p is None else content | {"p": interval.p}


def measure_set(
    test_set: GuardTestSet, decided: GuardDecisions, draws: int
) -> dict[str, Interval]:
    """Return each of `METRICS` with its 95 % interval, of `draws` resamples."""
    samples = GroupedSamples(test_set.y, test_set.groups, n_resamples=draws)
    return samples.intervals(*METRICS, score=decided.scores, decision=decided.decisions)


def compare_guards(
    test_set: GuardTestSet, first: GuardDecisions, second: GuardDecisions, draws: int
) -> GuardDifference:
    """Return the second guard minus the first."""
    samples = GroupedSamples(test_set.y, test_set.groups, n_resamples=draws)
    metrics = {}
    for name in test_set.compared:
        if name in SCORE_METRICS:
            inputs = first.scores, second.scores
        else:
            inputs = first.decisions, second.decisions
        metrics[name] = samples.difference(name, *inputs)
    test = mcnemar(test_set.y, first.decisions, second.decisions)
    return GuardDifference(metrics, test.b10, test.b01, test.p)


@dataclass(frozen=True, slots=True)
class Prevention:
    """The effect of blocking more prompts, among those that the base guard lets pass.

    `outputs` are their blocked responses, `prevented` those of them whose prompt is
    blocked now. `harmless` are the prompts without a blocked response, `lost` those
    that are blocked now. `let_through` counts the reverse: prompts with a blocked
    response that the base guard blocks, and this guard does not.
    """

    outputs: int
    prevented: int
    share: Interval
    harmless: int
    lost: int
    let_through: int

    @property
    def lost_per_prevented(self) -> float | None:
        """Harmless prompts lost for each prevented output, None if there is none."""
        return self.lost / self.prevented if self.prevented else None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        names = ("outputs", "prevented", "harmless", "lost", "let_through")
        content: dict[str, Any] = {name: getattr(self, name) for name in names}
        return content | {
            "share": interval_to_json(self.share),
            "harmless_lost_per_output_prevented": self.lost_per_prevented,
        }


def measure_prevention(
    prompts: Sequence[Prompt],
    groups: Sequence[str],
    base: Array,
    decisions: Array,
    *,
    threshold: float,
    draws: int,
) -> Prevention:
    """Return what `decisions` (n,) change against those of the base guard.

    A response counts as blocked from `threshold` on, the base guard's.
    """
    n_blocked = np.asarray([sum(p >= threshold for p in q.p_out) for q in prompts])
    has_response = np.asarray([bool(q.p_out) for q in prompts], dtype=bool)
    passes_base = has_response & ~np.asarray(base, dtype=bool)
    blocked_now = np.asarray(decisions, dtype=bool)
    missed = passes_base & (n_blocked > 0)
    # One row for each blocked output, not for each prompt.
    rows = np.repeat(np.flatnonzero(missed), n_blocked[missed])
    # The share of prevented outputs is an accuracy: all of them ought to be blocked.
    outputs = GroupedSamples(
        np.ones(len(rows), dtype=bool),
        [groups[row] for row in rows.tolist()],
        n_resamples=draws,
    )
    share = outputs.intervals("accuracy", decision=blocked_now[rows])["accuracy"]
    harmless = passes_base & (n_blocked == 0)
    blocked_by_base = has_response & ~passes_base
    let_through = blocked_by_base & (n_blocked > 0) & ~blocked_now
    return Prevention(
        outputs=len(rows),
        prevented=int(blocked_now[rows].sum()),
        share=share,
        harmless=int(harmless.sum()),
        lost=int((harmless & blocked_now).sum()),
        let_through=int(let_through.sum()),
    )
