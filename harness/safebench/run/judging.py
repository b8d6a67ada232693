"""Read stored evidence by one strategy; a failed sample stays in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import SafebenchError
from safebench.judgements import Context, Judgements

if TYPE_CHECKING:
    from safebench.policies import Policy
    from safebench.records import Dataset

    from .grid import ChosenStrategy
    from .recorder import Evidenced

    Array = np.ndarray[Any, np.dtype[Any]]

COLUMNS = (
    "score",
    "lower",
    "upper",
    "categories",
    "category_lower",
    "category_upper",
    "uncertainty",
    "uncertainty_lower",
    "uncertainty_upper",
    "decision",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Judgements on a dataset, with the decisions at a threshold.

    `only_at`: evidence that was cut short supports decisions at this threshold alone.

    `decision` (B,) and `flagged` (B, L) are float: 1, 0, NaN without a judgement.
    """

    judgements: Judgements
    decision: Array | None
    flagged: Array | None
    threshold: float
    failed: Array
    only_at: float | None = None


def judge(
    strategy: ChosenStrategy,
    dataset: Dataset,
    evidenced: Evidenced,
    policy: Policy | None,
) -> Judged:
    """Return the strategy's judgements on every sample of the dataset."""
    spec = strategy.spec
    good = [i for i, trace in enumerate(evidenced.traces) if trace.error is None]
    context = Context(task=dataset.task, policy=policy, options=strategy.options)
    errors = [trace.error for trace in evidenced.traces]
    if good:
        found = spec.code()(evidenced.only(good), context)
        _check(strategy.label, found, len(good))
        judgements = _spread(found, good, errors)
    else:
        judgements = _nothing(spec.emits, errors)
    failed = np.array([error is not None for error in judgements.errors], dtype=bool)
    decision = judgements.decision
    if decision is None:
        decision = _decide(judgements.score, strategy.threshold, failed)
    if decision is None and strategy.decider is not None:
        decision = judge(strategy.decider, dataset, evidenced, policy).decision
    categories = judgements.categories if judgements.categories_decide else None
    return Judged(
        judgements=judgements,
        decision=decision,
        flagged=_decide(categories, strategy.threshold, failed),
        threshold=strategy.threshold,
        failed=failed,
        only_at=evidenced.bundle.decisions_only_at,
    )


def _nothing(emits: frozenset[str], errors: list[str | None]) -> Judgements:
    """Return the judgements where every sample failed: columns without a number."""
    nothing = np.full(len(errors), np.nan)
    return Judgements(
        size=len(errors),
        score=nothing if "score" in emits else None,
        uncertainty=nothing if "uncertainty" in emits else None,
        errors=errors,
    )


def _check(label: str, found: Any, size: int) -> None:
    if not isinstance(found, Judgements) or found.size != size:
        got = f"{found.size} of {size}" if isinstance(found, Judgements) else "no"
        raise SafebenchError(f"strategy {label!r} returned {got} judgements")


def _spread(found: Judgements, rows: list[int], errors: list[str | None]) -> Judgements:
    """Put the judgements of `rows` back among all samples; NaN for the others."""
    size = len(errors)
    merged = list(errors)
    for row, error in zip(rows, _errors(found), strict=True):
        merged[row] = error
    bad = np.array([merged[row] is not None for row in rows], dtype=bool)
    columns: dict[str, Array] = {}
    for name in COLUMNS:
        column = getattr(found, name)
        if column is not None:
            full = np.full((size, *column.shape[1:]), np.nan)
            full[rows] = np.where(
                bad.reshape(-1, *[1] * (column.ndim - 1)), np.nan, column
            )
            columns[name] = full
    return Judgements(
        size=size,
        labels=found.labels,
        errors=merged,
        probability=found.probability,
        categories_decide=found.categories_decide,
        note=found.note,
        **columns,
    )


def _errors(found: Judgements) -> list[str | None]:
    """Return the errors, a score that is missing without one counted as such."""
    if found.score is None:
        return found.errors
    missing = np.isnan(found.score)
    return [
        error or ("no score" if missing[row] else None)
        for row, error in enumerate(found.errors)
    ]


def _decide(values: Array | None, threshold: float, failed: Array) -> Array | None:
    if values is None:
        return None
    known = ~np.isnan(values)
    known &= ~failed.reshape(-1, *[1] * (values.ndim - 1))
    return np.where(known, values >= threshold, np.nan)
