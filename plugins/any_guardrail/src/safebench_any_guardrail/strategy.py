"""The strategy `provider_decision`: a provider's verdict, and the score beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.evidence import Scores
from safebench.strategies import Judgements

if TYPE_CHECKING:
    from typing import Any

    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Floats

TWO_VALUED = "two-valued score: this guard gives a verdict and no score"


def provider_decision(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Decide as the provider does; rank by the score that it gives for the task.

    The same columns as the core's `score`: that strategy decides at a threshold on the
    score, which is not where most providers decide.
    """
    scores = evidence[Scores]
    values, labels = scores["values"], list(scores.meta["labels"])  # (B, L)
    tasks: dict[str, str] = scores.meta.get("tasks", {})
    if tasks and context.task not in tasks:
        reason = f"no score is for {context.task}: there is {', '.join(tasks)}"
        missing = np.full(len(scores), np.nan)
        return Judgements(
            size=len(scores), score=missing, errors=[reason] * len(scores)
        )
    label = tasks.get(context.task)
    score = values[:, labels.index(label)] if label else values.max(axis=1)
    codes = list(context.policy.codes) if context.policy else []
    return Judgements(
        size=len(scores),
        score=score,
        decision=scores["flagged"].astype(np.float64),
        labels=codes,
        categories=_category_columns(values, labels, scores.meta, codes),
        probability=scores.meta["scale"] == "probability",
        note=TWO_VALUED if label in scores.meta.get("verdicts", ()) else "",
    )


def _category_columns(
    values: Floats, labels: list[str], meta: dict[str, Any], codes: list[str]
) -> Floats | None:
    """Return the columns of labels that are policy categories, (B, codes)."""
    mapping: dict[str, str] = meta.get("categories", {})
    if not mapping or not codes:
        return None
    columns = np.full((len(values), len(codes)), np.nan)
    for position, label in enumerate(labels):
        if mapping.get(label) in codes:
            columns[:, codes.index(mapping[label])] = values[:, position]
    return columns
