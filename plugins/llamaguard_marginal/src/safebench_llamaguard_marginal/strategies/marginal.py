"""Marginal probabilities: summed over every way in which a verdict can be written.

`marginal_any` asks whether a label is anywhere in the verdict, `marginal_fixed` whether
it is label number k. A tree leaves some mass out, so every probability has two bounds;
the option `point` chooses the estimate between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from safebench.errors import OptionError
from safebench.evidence import VerdictTree
from safebench.strategies import Judgements, LabelColumns, first_reason
from safebench.verdict_tree import (
    LabelPositions,
    TreeBounds,
    label_estimate,
    level_estimate,
    position_estimate,
)

from .common import (
    INVALID,
    PositiveOptions,
    append_none,
    entropy,
    label_upper,
    mostly_invalid,
    nan_where,
    unread_labels_note,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Floats
    from safebench.verdict_tree import Bounds

PointEstimator = Literal["lower", "mid", "renorm", "mc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalAnyOptions(PositiveOptions):
    """Which estimate between the bounds is taken, and what counts as positive.

    `point`: the lower bound, the middle, the resolved mass renormalised, or the lower
    bound plus a Monte Carlo estimate of the rest (trees recorded with ``mc_samples``).
    `positive` names the positive levels (default: the grammar's).
    """

    point: PointEstimator = "lower"


def marginal_any(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score P(a positive level is read); category l: P(label l is in the verdict).

    Both with bounds, exact up to what the tree left out. Uncertainty is the binary
    entropy of the score, in nats. A guard that more likely than not writes no verdict
    at all has no score: error ``invalid``.
    """
    options = context.options or MarginalAnyOptions()
    tree = evidence[VerdictTree]
    bounds = tree.cached(TreeBounds)
    grammar = bounds.automaton.grammar
    positive = grammar.positive_mask(context.task, options.positive)
    # The probability of a level says little where a guard hardly ever writes one.
    failed = mostly_invalid(bounds, options)
    level, label = bounds.level_bounds(positive), bounds.label_bounds
    score = nan_where(level_point_estimate(bounds, positive, options.point), failed)
    categories = nan_where(label_point_estimate(bounds, options.point), failed)
    columns = LabelColumns(grammar.label_codes, context.policy)
    return Judgements(
        size=len(tree),
        score=score,
        lower=nan_where(level.lower, failed),
        upper=nan_where(level.upper, failed),
        labels=columns.names,
        categories=columns.arrange(categories),
        category_lower=columns.arrange(nan_where(label.lower, failed)),
        category_upper=columns.arrange(
            nan_where(label_upper(bounds, label.upper), failed)
        ),
        uncertainty=binary_entropy(score),
        errors=first_reason((failed, INVALID)),
        category_note=unread_labels_note(bounds),
    )


def binary_entropy(p: Floats) -> Floats:
    """Return the entropy (nats) of a yes with probability p; 0 at 0 and 1."""
    return entropy(np.stack([p, 1.0 - p], axis=-1))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalFixedOptions(PositiveOptions):
    """`k` is the position in the list of labels, 1 the first.

    `point` and `positive` are those of `marginal_any`; ``mc`` is for k = 1, since a
    sampled verdict is recorded with its first label alone.
    """

    k: int = 1
    point: PointEstimator = "lower"

    def __post_init__(self) -> None:
        PositiveOptions.__post_init__(self)
        if self.k < 1:
            raise ValueError(f"k is {self.k}, not 1 or more")


def marginal_fixed(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score P(a positive level is read); category l: P(label number k is l).

    Both with bounds, exact up to what the tree left out. Uncertainty is the entropy
    (nats) of label number k, none included.
    """
    options = context.options or MarginalFixedOptions()
    bounds = evidence[VerdictTree].cached(TreeBounds)
    grammar = bounds.automaton.grammar
    positive = grammar.positive_mask(context.task, options.positive)
    failed = mostly_invalid(bounds, options)
    positions = LabelPositions(bounds, options.k)
    level, label = bounds.level_bounds(positive), positions.bounds
    categories = nan_where(position_point_estimate(positions, options.point), failed)
    columns = LabelColumns(grammar.label_codes, context.policy)
    return Judgements(
        size=len(failed),
        score=nan_where(level_point_estimate(bounds, positive, options.point), failed),
        lower=nan_where(level.lower, failed),
        upper=nan_where(level.upper, failed),
        labels=columns.names,
        categories=columns.arrange(categories),
        category_lower=columns.arrange(nan_where(label.lower, failed)),
        category_upper=columns.arrange(
            nan_where(label_upper(bounds, label.upper), failed)
        ),
        uncertainty=entropy(append_none(categories)),
        errors=first_reason((failed, INVALID)),
        category_note=unread_labels_note(bounds),
    )


def level_point_estimate(
    bounds: TreeBounds, positive: Sequence[bool], point: PointEstimator
) -> Floats:
    """Return P(a positive level is read), (B,)."""
    if point == "renorm":  # as if the open mass ended like the resolved mass
        return bounds.level_renormalized(positive)
    if point == "mc":  # unbiased: open mass x the share of samples that are positive
        return level_estimate(bounds, positive)
    return _between(bounds.level_bounds(positive), point)


def label_point_estimate(bounds: TreeBounds, point: PointEstimator) -> Floats:
    """Return P(label is in the verdict), (B, labels)."""
    if point == "renorm":
        return bounds.label_renormalized()
    if point == "mc":
        return label_estimate(bounds)
    return _between(bounds.label_bounds, point)


def position_point_estimate(positions: LabelPositions, point: PointEstimator) -> Floats:
    """Return P(label number k is l), (B, labels).

    Raises OptionError for samples of another label than the first.
    """
    if point == "renorm":
        return positions.renormalized()
    if point == "mc" and positions.position > 1:
        raise OptionError(
            "point=mc knows the first label of a draw alone, not "
            f"k={positions.position}\n  choose k=1, or point=mid"
        )
    if point == "mc":
        return position_estimate(positions)
    return _between(positions.bounds, point)


def _between(bounds: Bounds, point: PointEstimator) -> Floats:
    lower, upper = bounds
    estimate: Floats = lower if point == "lower" else (lower + upper) / 2
    return estimate
