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
from safebench.verdict_tree import MarginalProbabilities, TreeBounds

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
    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Array, Floats

PointEstimator = Literal["lower", "mid", "upper", "renorm", "mc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalAnyOptions(PositiveOptions):
    """Which estimate between the bounds is taken, and what counts as positive.

    `point`: the lower bound, the middle, the upper bound (nearest where an endpoint
    gives the greedy path alone), the resolved mass renormalised, or the lower bound
    plus a Monte Carlo estimate of the rest (trees recorded with ``mc_samples``).
    `positive` names the positive levels (default: the grammar's).
    """

    point: PointEstimator = "lower"


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


EVEN = 0.5  # the threshold of a probability, where the user names no other


@dataclass(frozen=True, slots=True)
class MarginalScores:
    """Score and categories of B samples as marginal probabilities, with bounds.

    `score` (B,) and `categories` (B, labels) are NaN where a sample has no judgement:
    the strategies that make judgements of them differ in their uncertainty alone.
    """

    bounds: TreeBounds
    marginals: MarginalProbabilities
    failed: Array
    score: Floats
    categories: Floats

    def judge(
        self,
        context: Context,
        uncertainty: Floats,
        uncertainty_lower: Floats | None = None,
        uncertainty_upper: Floats | None = None,
    ) -> Judgements:
        """Return the judgements, with an uncertainty (B,) and perhaps its bounds."""
        level, label = self.marginals.level, self.marginals.labels
        numbers = self.bounds.automaton.grammar.categories(context.task)
        columns = LabelColumns([*numbers], context.policy)

        def arrange(values: Floats) -> Floats | None:
            of_task = values[:, [*numbers.values()]]
            return columns.arrange(nan_where(of_task, self.failed))

        return Judgements(
            size=len(self.failed),
            score=self.score,
            lower=nan_where(level.lower, self.failed),
            upper=nan_where(level.upper, self.failed),
            labels=columns.names,
            categories=columns.arrange(self.categories),
            category_lower=arrange(label.lower),
            category_upper=arrange(label_upper(self.bounds, label.upper)),
            errors=first_reason((self.failed, INVALID)),
            uncertainty=uncertainty,
            uncertainty_lower=uncertainty_lower,
            uncertainty_upper=uncertainty_upper,
            category_note=unread_labels_note(self.bounds),
            note=self._unsettled_note(),
        )

    def _unsettled_note(self) -> str:
        """Count the samples whose verdict hangs on tokens that were not listed."""
        tree, level = self.bounds.tree, self.marginals.level
        if tree.of_logits:
            return ""
        unsettled = ~self.failed & (level.lower < EVEN) & (level.upper >= EVEN)
        if not unsettled.any():
            return ""
        k = tree.meta.get("listed", {}).get("top_logprobs")
        return (
            f"{int(unsettled.sum())} of {len(unsettled)} verdicts are not settled by "
            f"the {k} tokens listed: their bounds lie on both sides of {EVEN}"
        )


def marginal_scores(
    evidence: EvidenceBundle,
    context: Context,
    options: MarginalAnyOptions | MarginalFixedOptions,
    position: int | None = None,
) -> MarginalScores:
    """Read P(a positive level), and of every label P(in the verdict, or at a position).

    A guard that more likely than not writes no verdict at all has no score.
    """
    bounds = evidence[VerdictTree].cached(TreeBounds)
    grammar = bounds.automaton.grammar
    marginals = MarginalProbabilities(
        bounds,
        grammar.positive_mask(context.task, options.positive),
        answers=grammar.answers(context.task, options.positive),
        position=position,
        point=options.point,
    )
    own = [*grammar.categories(context.task).values()]
    if position is not None and any(number >= len(grammar.labels) for number in own):
        raise OptionError(
            f"the labels for {context.task} are written after others, and have no "
            "recorded position\n  marginal_any reads them"
        )
    # The probability of a level says little where a guard hardly ever writes one.
    failed = mostly_invalid(bounds, options)
    return MarginalScores(
        bounds,
        marginals,
        failed,
        score=nan_where(marginals.level.value, failed),
        categories=nan_where(marginals.labels.value[:, own], failed),
    )


def marginal_any(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score P(a positive level is read); category l: P(label l is in the verdict).

    Both with bounds, exact up to what the tree left out. Uncertainty is the binary
    entropy of the score, in nats. A guard that more likely than not writes no verdict
    at all has no score: error ``invalid``.
    """
    options = context.options or MarginalAnyOptions()
    scores = marginal_scores(evidence, context, options)
    return scores.judge(context, uncertainty=binary_entropy(scores.score))


def marginal_fixed(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score P(a positive level is read); category l: P(label number k is l).

    Both with bounds, exact up to what the tree left out. Uncertainty is the entropy
    (nats) of label number k, none included.
    """
    options = context.options or MarginalFixedOptions()
    scores = marginal_scores(evidence, context, options, position=options.k)
    return scores.judge(context, uncertainty=entropy(append_none(scores.categories)))


def binary_entropy(p: Floats) -> Floats:
    """Return the entropy (nats) of a yes with probability p; 0 at 0 and 1."""
    return entropy(np.stack([p, 1.0 - p], axis=-1))
