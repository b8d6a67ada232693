"""Test numbers of members and of the ensemble, and how much the members differ."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.evidence import MemberLogits
from safebench.evidence.bundle import Bundle
from safebench.judgements import Context
from safebench.training.job import Measure

from .strategies import judging
from .strategies.pooling import harm

if TYPE_CHECKING:
    from safebench.records import Dataset
    from safebench.statistics import Draws

    Floats = np.ndarray[Any, np.dtype[np.float64]]

_OF_DECISIONS = ("f1", "accuracy", "precision", "recall", "fpr")
_OF_SCORES = ("auroc", "auprc", "brier", "ece")
ENSEMBLE = "ensemble"


def ensemble_measures(
    batch: MemberLogits, dataset: Dataset, part: str, seed: int
) -> list[Measure]:
    """Return numbers of each member, of both pools, and of disagreement.

    Intervals are those of a bootstrap of groups; all share their draws.
    """
    y, shared = truth_and_draws(dataset, seed)
    context = Context(task=dataset.task)
    polarity = judging.polarities(batch, dataset.task)
    logits = judging.one_window(batch, polarity, "worst")
    p = harm(logits, batch.meta["link"], polarity)  # (B, M)
    names: list[str] = batch.meta["members"]
    found: list[Measure] = []
    for at, name in enumerate(names):
        found += score_measures(name, part, y, p[:, at], shared)
    if len(names) == 1:
        return found
    bundle = Bundle({MemberLogits: batch})
    for pool in (judging.mean_logits, judging.mean_probs):
        score = pool(bundle, context).score
        who = f"{ENSEMBLE} ({pool.__name__})"
        found += score_measures(who, part, y, score, shared)
    return found + difference_measures(y, p, part)


def truth_and_draws(dataset: Dataset, seed: int) -> tuple[Any, Draws]:
    """Return labels (n,) and the draws that all numbers on a dataset share."""
    from safebench.statistics import shared_draws

    y = np.array([gold.label.value is True for gold in dataset.golds])
    groups = [sample.group or sample.content for sample in dataset.samples]
    return y, shared_draws(y, groups, seed=seed)


def score_measures(who: str, part: str, y: Any, p: Any, shared: Draws) -> list[Measure]:
    """Return metrics of probabilities p (n,) and of the decisions p > 0.5."""
    from safebench.statistics import metric_intervals

    names = (*_OF_DECISIONS, *_OF_SCORES)
    found = metric_intervals(names, y, p, p > 0.5, shared)  # noqa: PLR2004
    return [
        Measure(
            who=who,
            part=part,
            metric=name,
            value=one.value,
            low=one.low,
            high=one.high,
            method=one.method,
            n=len(y),
        )
        for name, one in found.items()
    ]


def difference_measures(y: Any, p: Floats, part: str) -> list[Measure]:
    """Return how members p (n, M) differ: disagreement, joint errors, spread of F1."""
    from safebench.statistics import metric_value

    decisions = p > 0.5  # noqa: PLR2004 - a member's own decision
    wrong = decisions != y[:, None]
    pairs = list(combinations(range(p.shape[1]), 2))
    differ = [float((decisions[:, i] != decisions[:, j]).mean()) for i, j in pairs]
    both = [float((wrong[:, i] & wrong[:, j]).mean()) for i, j in pairs]
    f1 = [metric_value("f1", y, decisions[:, m]) or 0.0 for m in range(p.shape[1])]
    values = {
        "disagreement": (float(np.mean(differ)), _span(differ)),
        "double_fault": (float(np.mean(both)), _span(both)),
        "f1_spread": (max(f1) - min(f1), f"{min(f1):.3f} to {max(f1):.3f}"),
    }
    return [
        Measure(who="members", part=part, metric=name, value=value, n=len(y), note=note)
        for name, (value, note) in values.items()
    ]


def _span(values: list[float]) -> str:
    pairs = "1 pair" if len(values) == 1 else f"{len(values)} pairs"
    return f"{pairs}, {min(values):.3f} to {max(values):.3f}"
