"""The core strategy `score`: the score that a classifier gives by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.evidence import Scores

from .base import Judgements

if TYPE_CHECKING:
    from safebench.evidence import EvidenceBundle
    from safebench.typing import Floats

    from .base import Context


def judge(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the value of the task's label; without any, the largest of all labels.

    Labels for other tasks alone answer nothing: every sample fails.
    Labels that `meta["categories"]` maps to policy codes become categories; several
    labels of one code count with their maximum, a code without a label is NaN.
    """
    scores = evidence[Scores]
    values = scores["values"]  # (B, L)
    labels: list[str] = scores.meta["labels"]
    tasks: dict[str, str] = scores.meta.get("tasks", {})
    if tasks and context.task not in tasks:
        # The largest of scores of other tasks would answer another question.
        reason = f"no score is for {context.task}: there is {', '.join(tasks)}"
        return Judgements(
            size=len(scores),
            score=np.full(len(scores), np.nan),
            errors=[reason] * len(scores),
            probability=scores.meta["scale"] == "probability",
        )
    label = tasks.get(context.task)
    score = values[:, labels.index(label)] if label else values.max(axis=1)
    codes = list(context.policy.codes) if context.policy else []
    return Judgements(
        size=len(scores),
        score=score,
        labels=codes,
        categories=_category_columns(values, labels, scores.meta, codes),
        probability=scores.meta["scale"] == "probability",
    )


def _category_columns(
    values: Floats, labels: list[str], meta: dict[str, Any], codes: list[str]
) -> Floats | None:
    """Return the values of labels that are policy categories, (B, codes)."""
    mapping: dict[str, str] = meta.get("categories", {})
    if not mapping or not codes:
        return None
    columns = np.full((len(values), len(codes)), np.nan)  # (B, L)
    for position, label in enumerate(labels):
        if mapping.get(label) in codes:
            column = columns[:, codes.index(mapping[label])]
            np.fmax(column, values[:, position], out=column)
    return columns
