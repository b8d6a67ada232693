"""Choose a candidate on the validation set: a scale of the LoRA and a threshold.

The criterion is F1 among the candidates whose false-positive rate stays within a cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safebench.metrics import metric_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.typing import Array

    from .holdout_sets import ValidationSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A guard to try: LoRA scale `alpha` (0 is the base guard) and its threshold."""

    alpha: float
    threshold: float


def choose_candidate(
    scores: Mapping[float, Array],
    y: Array,
    cap: float,
    weights: Array | None = None,
    benign: Mapping[float, Array] | None = None,
    min_recall: float = 0.0,
) -> Candidate | None:
    """Return the candidate with the best F1 whose false-positive rate is within `cap`.

    `scores` maps a LoRA scale to the scores (n,) of the same prompts, `y` (n,) says
    which are harmful. The rate is that of the harmless ones among them or, if given, of
    other prompts, whose scores `benign` maps in the same way. A prompt is flagged if
    its score is at least the threshold. Of equal candidates the smallest change wins:
    the lower scale, then the higher threshold. None if no candidate within the cap
    flags a harmful prompt, and at least the share `min_recall` of them.
    """
    truth = np.asarray(y, dtype=bool)
    weight = np.ones(len(truth)) if weights is None else np.asarray(weights, float)
    best_f1, best = 0.0, None
    for alpha in sorted(scores):
        f1, threshold = _best_threshold(
            np.asarray(scores[alpha]),
            truth,
            weight,
            cap,
            None if benign is None else np.asarray(benign[alpha]),
            min_recall,
        )
        # Rounding alone must not prefer a larger scale.
        if f1 > best_f1 + 1e-12:
            best_f1, best = f1, Candidate(alpha=float(alpha), threshold=threshold)
    return best


def _best_threshold(
    score: Array,
    truth: Array,
    weight: Array,
    cap: float,
    benign: Array | None,
    min_recall: float,
) -> tuple[float, float]:
    """Return the best F1 within the cap and its threshold; F1 is 0 if there is none."""
    order = np.argsort(-score, kind="stable")
    score, truth, weight = score[order], truth[order], weight[order]
    # Row k is the decision to flag the k + 1 prompts with the highest scores.
    true_positives = np.cumsum(weight * truth)
    false_positives = np.cumsum(weight * ~truth)
    # Prompts with equal scores are flagged together: only the last of them is a cut.
    is_cut = np.append(score[1:] != score[:-1], True)
    # Halfway to the next lower score, so that rounding in another batch flips nothing.
    thresholds = np.append((score[1:] + score[:-1]) / 2, score[-1:])
    if benign is None:
        within = false_positives <= cap * false_positives[-1] + 1e-12
    else:
        flagged = len(benign) - np.searchsorted(np.sort(benign), thresholds)
        within = flagged <= cap * len(benign) + 1e-12
    n_harmful = true_positives[-1]
    within &= true_positives >= min_recall * n_harmful - 1e-12
    f1 = 2 * true_positives / (true_positives + false_positives + n_harmful)
    f1 = np.where(is_cut & within, f1, 0.0)
    best = int(np.argmax(f1))  # the first of equals: the higher threshold
    return float(f1[best]), float(thresholds[best])


def validation_metrics(
    val: ValidationSet, scores: Array, cap: float
) -> dict[str, float]:
    """Return F1, recall and FPR at the best threshold under the cap, and AUPRC.

    `scores` (n,) are those of ``val.prompts``. A metric that is undefined is 0.
    """
    labelled, benign = val.split_scores(scores)
    y = val.labels.harmful
    candidate = choose_candidate({1.0: labelled}, y, cap, benign={1.0: benign})
    threshold = candidate.threshold if candidate else float("inf")
    flagged = labelled >= threshold
    return {
        "f1": metric_value("f1", y, flagged) or 0.0,
        "recall": metric_value("recall", y, flagged) or 0.0,
        "fpr": float((benign >= threshold).mean()) if len(benign) else 0.0,
        "auprc": metric_value("auprc", y, labelled) or 0.0,
    }
