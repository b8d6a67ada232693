"""Measures of members and of their ensemble, and of how much the members differ."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from safebench.evidence import EvidenceBundle, MemberLogits
from safebench.metrics import GroupedSamples, metric_value
from safebench.strategies import Context
from safebench.training import Measure
from safebench_bert_ensemble.strategies import ensemble
from safebench_bert_ensemble.strategies.formulas import harm_probability

if TYPE_CHECKING:
    from safebench.records import Dataset
    from safebench.typing import Array, Floats

_DECISION_METRICS = ("f1", "accuracy", "precision", "recall", "fpr")
_SCORE_METRICS = ("auroc", "auprc", "brier", "ece")
_EVEN_ODDS = 0.5  # a member decides for harm above it
ENSEMBLE_NAME = "ensemble"


def ensemble_measures(
    evidence: MemberLogits, dataset: Dataset, split: str, seed: int
) -> list[Measure]:
    """Return measures of each member, of both pools, and of how members differ.

    Intervals are those of a bootstrap of groups; all share their resamples, so that
    they may be compared.
    """
    y = np.array([truth.label.value is True for truth in dataset.ground_truth])
    groups = [sample.group or sample.content for sample in dataset.samples]
    samples = GroupedSamples(y, groups, seed=seed)
    polarity = ensemble.task_polarities(evidence, dataset.task)
    logits = ensemble.reduce_windows(evidence, polarity, "worst")
    p = harm_probability(logits, evidence.meta["link"], polarity)  # (B, M)
    names: list[str] = evidence.meta["members"]
    measures: list[Measure] = []
    for member, name in enumerate(names):
        measures += score_measures(name, split, samples, p[:, member])
    if len(names) == 1:
        return measures
    bundle, context = (
        EvidenceBundle({MemberLogits: evidence}),
        Context(task=dataset.task),
    )
    for pool in (ensemble.mean_logits, ensemble.mean_probs):
        score = pool(bundle, context).score
        assert score is not None
        who = f"{ENSEMBLE_NAME} ({pool.__name__})"
        measures += score_measures(who, split, samples, score)
    return measures + diversity_measures(y, p, split)


def score_measures(
    who: str, split: str, samples: GroupedSamples, p: Floats
) -> list[Measure]:
    """Return metrics of probabilities p (n,) and of the decisions p > 0.5."""
    names = (*_DECISION_METRICS, *_SCORE_METRICS)
    intervals = samples.intervals(*names, score=p, decision=p > _EVEN_ODDS)
    return [
        Measure(
            who=who,
            part=split,
            metric=name,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            method=interval.method,
            n=len(p),
            note=interval.note,
        )
        for name, interval in intervals.items()
    ]


def diversity_measures(y: Array, p: Floats, split: str) -> list[Measure]:
    """Return how members p (n, M) differ, as means over pairs and a spread of F1.

    Disagreement and double fault are those of Kuncheva and Whitaker (2003): the shares
    of rows on which a pair decides differently, and on which both are wrong.
    """
    decisions = p > _EVEN_ODDS
    wrong = decisions != y[:, None]
    pairs = list(combinations(range(p.shape[1]), 2))
    disagree = [float((decisions[:, i] != decisions[:, j]).mean()) for i, j in pairs]
    both_wrong = [float((wrong[:, i] & wrong[:, j]).mean()) for i, j in pairs]
    f1 = [metric_value("f1", y, decisions[:, m]) or 0.0 for m in range(p.shape[1])]
    values = {
        "disagreement": (float(np.mean(disagree)), _pair_range(disagree)),
        "double_fault": (float(np.mean(both_wrong)), _pair_range(both_wrong)),
        "f1_spread": (max(f1) - min(f1), f"{min(f1):.3f} to {max(f1):.3f}"),
    }
    return [
        Measure(
            who="members", part=split, metric=name, value=value, n=len(y), note=note
        )
        for name, (value, note) in values.items()
    ]


def _pair_range(values: list[float]) -> str:
    pairs = "1 pair" if len(values) == 1 else f"{len(values)} pairs"
    return f"{pairs}, {min(values):.3f} to {max(values):.3f}"
