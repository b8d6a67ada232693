"""One judgement of a sample from the answers to several questions about it.

A guard that is asked about one criterion at a time answers once for each category of
its policy. Its score is then the largest of theirs, or that of any of them if they were
independent, and each is the score of its category. A guard that reasons several times
answers the same question after each: scores and categories are the means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .base import MATRICES, VECTORS, Judgements
from .columns import LabelColumns

_HALF = 0.5

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.policies import Policy
    from safebench.typing import Floats

    Rule = Literal["max", "any", "mean"]


def first_by_question(
    reasons: Sequence[str | None], questions: Sequence[str]
) -> list[str | None]:
    """Return the first reason about each sample, with the question it is about.

    `reasons` (B x Q) are in the order of `safebench.evidence.Evidence.unfold`.
    """
    width = len(questions)
    return [
        next(
            (
                f"{question}: {reason}"
                for question, reason in zip(
                    questions, reasons[start : start + width], strict=True
                )
                if reason
            ),
            None,
        )
        for start in range(0, len(reasons), width)
    ]


def combine_questions(
    judgements: Judgements,
    questions: Sequence[str],
    policy: Policy | None,
    rule: Rule = "max",
) -> Judgements:
    """Return one judgement of each of B samples from those of B x Q answers.

    The score is the largest (`rule` max), or 1 minus the product of 1 - p (any), with
    bounds by the same rule; categories are the scores by question. Uncertainty is that
    of the answer with the largest score, or without scores the largest. With the rule
    mean, every column is the mean over the answers, bounds included, which is exact for
    a mixture of equal weights; an uncertainty is then the expected one of an answer. A
    sample of which one answer failed has failed.
    """
    if rule == "mean":
        return _mean(judgements, questions)
    size, width = judgements.size // len(questions), len(questions)

    def by_question(values: Floats | None) -> Floats | None:
        return None if values is None else values.reshape(size, width)

    score, lower, upper = map(
        by_question, (judgements.score, judgements.lower, judgements.upper)
    )
    columns = LabelColumns(questions, policy)
    decision = by_question(judgements.decision)
    return Judgements(
        size=size,
        score=_combined(score, rule),
        lower=_combined(lower, rule),
        upper=_combined(upper, rule),
        labels=columns.names if score is not None else (),
        categories=_arranged(columns, score),
        category_lower=_arranged(columns, lower),
        category_upper=_arranged(columns, upper),
        uncertainty=_of_largest(by_question(judgements.uncertainty), score),
        uncertainty_lower=_of_largest(by_question(judgements.uncertainty_lower), score),
        uncertainty_upper=_of_largest(by_question(judgements.uncertainty_upper), score),
        decision=None if decision is None else decision.max(axis=1),
        errors=first_by_question(judgements.errors, questions),
        probability=judgements.probability,
        categories_decide=judgements.categories_decide,
        threshold=judgements.threshold,
        note=judgements.note,
        decision_note=judgements.decision_note,
        category_note=judgements.category_note,
    )


def _mean(judgements: Judgements, questions: Sequence[str]) -> Judgements:
    """Return the mean of every column over the answers to all questions."""
    size, width = judgements.size // len(questions), len(questions)
    means: dict[str, Any] = {}
    for name in (*VECTORS, *MATRICES):
        values = getattr(judgements, name)
        if values is not None:
            means[name] = values.reshape(size, width, *values.shape[1:]).mean(axis=1)
    if "decision" in means:  # by the majority; a tie is positive, as for scores
        means["decision"] = np.where(
            np.isnan(means["decision"]), np.nan, means["decision"] >= _HALF
        )
    return Judgements(
        size=size,
        **means,
        labels=judgements.labels,
        errors=first_by_question(judgements.errors, questions),
        probability=judgements.probability,
        categories_decide=judgements.categories_decide,
        threshold=judgements.threshold,
        note=judgements.note,
        decision_note=judgements.decision_note,
        category_note=judgements.category_note,
    )


def _combined(values: Floats | None, rule: Rule) -> Floats | None:
    """Return one value a sample; NaN where one of its answers has none."""
    if values is None:
        return None
    combined: Floats = (
        values.max(axis=1) if rule == "max" else 1.0 - (1.0 - values).prod(axis=1)
    )
    return combined


def _arranged(columns: LabelColumns, values: Floats | None) -> Floats | None:
    return None if values is None else columns.arrange(values)


def _of_largest(values: Floats | None, score: Floats | None) -> Floats | None:
    """Return the value of the answer with the largest score, or the largest value."""
    if values is None:
        return None
    if score is None:
        largest: Floats = values.max(axis=1)
        return largest
    # An answer without a score counts as the largest: the sample then shows what is
    # missing, and not what another answer has.
    best = np.nan_to_num(score, nan=np.inf).argmax(axis=1)
    chosen: Floats = values[np.arange(len(values)), best]
    return chosen
