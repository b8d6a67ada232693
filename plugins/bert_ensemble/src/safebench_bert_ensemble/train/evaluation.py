"""Measures of members and of their ensemble, and of how much the members differ."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.evidence import EvidenceBundle, MemberLogits
from safebench.metrics import GroupedSamples, metric_value
from safebench.strategies import Context
from safebench.training import Measure
from safebench_bert_ensemble.model.calibration import fit_calibration
from safebench_bert_ensemble.options import PoolOptions
from safebench_bert_ensemble.strategies import ensemble
from safebench_bert_ensemble.strategies.formulas import harm_probability

if TYPE_CHECKING:
    from safebench.records import Dataset
    from safebench.strategies import Judgements
    from safebench.typing import Array, Floats

_DECISION_METRICS = ("f1", "accuracy", "precision", "recall", "fpr")
_SCORE_METRICS = ("auroc", "auprc", "brier", "ece")
_PROBABILITY_METRICS = ("brier", "ece")
POOLS = (ensemble.mean_logits, ensemble.mean_probs)
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
    bundle, context = (
        EvidenceBundle({MemberLogits: evidence}),
        Context(task=dataset.task),
    )
    if len(names) == 1:
        judgements = ensemble.mean_probs(bundle, context)
        return pool_measures(names[0], split, samples, judgements, p[:, 0])
    for member, name in enumerate(names):
        measures += score_measures(name, split, samples, p[:, member])
    for pool in POOLS:
        who = f"{ENSEMBLE_NAME} ({pool.__name__})"
        raw = pooled_probability(evidence, dataset.task, pool)
        measures += pool_measures(who, split, samples, pool(bundle, context), raw)
    return measures + diversity_measures(y, p, split)


def pooled_probability(evidence: MemberLogits, task: str, pool: Any) -> Floats:
    """Return what a pool makes of members' outputs, (B,), before any calibration."""
    context = Context(task=task, options=PoolOptions(calibration="none"))
    score = pool(EvidenceBundle({MemberLogits: evidence}), context).score
    assert score is not None
    p: Floats = score
    return p


def fit_calibrations(
    evidence: MemberLogits, dataset: Dataset, *, weighted: bool
) -> dict[str, Any]:
    """Return the calibration of each pool, and of each member, on validation rows.

    Those of members are for members that classify alone. `weighted`: classes had
    weights in the training.
    """
    y = np.array([truth.label.value is True for truth in dataset.ground_truth])
    pools = {
        pool.__name__: fit_calibration(
            pooled_probability(evidence, dataset.task, pool), y, weighted=weighted
        )
        for pool in POOLS
    }
    polarity = ensemble.task_polarities(evidence, dataset.task)
    logits = ensemble.reduce_windows(evidence, polarity, "worst")
    p = harm_probability(logits, evidence.meta["link"], polarity)  # (B, M)
    names: list[str] = evidence.meta["members"]
    members = {
        name: fit_calibration(p[:, i], y, weighted=weighted)
        for i, name in enumerate(names)
    }
    return {"part": "val", "pools": pools, "members": members}


def pool_measures(
    who: str,
    split: str,
    samples: GroupedSamples,
    judgements: Judgements,
    uncalibrated: Floats,
) -> list[Measure]:
    """Return metrics of a score that may be calibrated, and say so.

    Decisions are those of the members, at an uncalibrated probability of one half.
    """
    assert judgements.score is not None
    note = judgements.note
    if note and split == "val":
        note += ", which are these"
    decision = uncalibrated > _EVEN_ODDS
    return score_measures(who, split, samples, judgements.score, decision, note)


def score_measures(
    who: str,
    split: str,
    samples: GroupedSamples,
    p: Floats,
    decision: Array | None = None,
    calibration: str = "",
) -> list[Measure]:
    """Return metrics of probabilities p (n,) and of decisions; default p > 0.5.

    `calibration` in words is a note of the metrics that it changes.
    """
    names = (*_DECISION_METRICS, *_SCORE_METRICS)
    decided = p > _EVEN_ODDS if decision is None else decision
    intervals = samples.intervals(*names, score=p, decision=decided)
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
            note="; ".join(
                filter(
                    None,
                    (
                        interval.note,
                        calibration if name in _PROBABILITY_METRICS else "",
                    ),
                )
            ),
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
