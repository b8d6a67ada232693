"""How far P(unsafe) differs between sampled reasonings of a guard.

Of a verdict that depends on what was reasoned before, the uncertainty has two parts:
that of the verdict given a reasoning, and that of the reasoning. This is the second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from safebench.evidence import VerdictTree
from safebench.strategies import Judgements

from .marginal import MarginalAnyOptions, binary_entropy, marginal_any

if TYPE_CHECKING:
    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Floats

_ONE_READING = (
    "n/a: a spread needs the verdicts after several reasonings; reasoning=8 of a "
    "guard that reasons records eight"
)
_LEAST = 2  # values that can differ


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningSpreadOptions(MarginalAnyOptions):
    """`spread` is the standard deviation (``sd``) or the ``mutual_information``.

    Score and categories are those of `marginal_any`, and so are the other options.
    """

    spread: Literal["sd", "mutual_information"] = "sd"


class Spread(NamedTuple):
    """A spread with bounds, (B,) each."""

    value: Floats
    lower: Floats
    upper: Floats


def reasoning_spread(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Uncertainty is the spread of P(a positive level) over K sampled reasonings.

    ``sd``: the standard deviation with K - 1 in the denominator. ``mutual_information``
    between verdict and reasoning, in nats: H(mean p) - mean H(p), with the binary
    entropy H (Depeweg et al. 2018, arXiv 1710.07283; for ensembles Malinin and Gales
    2021, arXiv 2002.07650). Bounds contain its value for every p within the bounds of
    the trees. Score and categories are the means over the reasonings.
    """
    options = context.options or ReasoningSpreadOptions()
    context = replace(context, options=options)
    tree = evidence[VerdictTree]
    if tree.question_rule != "mean" or len(tree.questions) < _LEAST:
        missing = np.full(len(tree), np.nan)
        return Judgements(
            size=len(tree),
            score=missing,
            uncertainty=missing,
            errors=[_ONE_READING] * len(tree),
        )
    judged = marginal_any(evidence.unfolded, context)
    assert judged.score is not None
    assert judged.lower is not None
    assert judged.upper is not None
    measure = standard_deviation if options.spread == "sd" else mutual_information
    shape = len(tree), len(tree.questions)
    score, lower, upper = (
        column.reshape(shape) for column in (judged.score, judged.lower, judged.upper)
    )
    spread = measure(score, lower, upper)

    def mean(column: Floats | None) -> Floats | None:
        if column is None:
            return None
        means: Floats = column.reshape(*shape, *column.shape[1:]).mean(axis=1)
        return means

    return Judgements(
        size=len(tree),
        score=mean(judged.score),
        lower=mean(judged.lower),
        upper=mean(judged.upper),
        labels=judged.labels,
        categories=mean(judged.categories),
        category_lower=mean(judged.category_lower),
        category_upper=mean(judged.category_upper),
        uncertainty=spread.value,
        uncertainty_lower=spread.lower,
        uncertainty_upper=spread.upper,
        errors=[
            next(filter(None, judged.errors[start : start + shape[1]]), None)
            for start in range(0, judged.size, shape[1])
        ],
        category_note=judged.category_note,
    )


def standard_deviation(p: Floats, lower: Floats, upper: Floats) -> Spread:
    """Return the standard deviation of p (B, K) over K, with bounds.

    A standard deviation is the length of the centred p over sqrt(K - 1), and centring
    lengthens nothing: it is no further from that of the middles than the length of the
    half widths (triangle inequality).
    """
    value, middle = (x.std(axis=1, ddof=1) for x in (p, (lower + upper) / 2))
    half_widths = (upper - lower) / 2
    reach = np.sqrt((half_widths**2).sum(axis=1) / (p.shape[1] - 1))
    return Spread(value, np.maximum(middle - reach, 0.0), middle + reach)


def mutual_information(p: Floats, lower: Floats, upper: Floats) -> Spread:
    """Return H(mean p) - mean H(p) of p (B, K) over K, in nats, with bounds."""
    value = binary_entropy(p.mean(axis=1)) - binary_entropy(p).mean(axis=1)
    least, most = _entropy_range(lower.mean(axis=1), upper.mean(axis=1))
    own_least, own_most = _entropy_range(lower, upper)
    return Spread(
        np.maximum(value, 0.0),
        np.maximum(least - own_most.mean(axis=1), 0.0),
        np.maximum(most - own_least.mean(axis=1), 0.0),
    )


def _entropy_range(lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """Return the least and the largest binary entropy of a p within bounds."""
    ends = binary_entropy(lower), binary_entropy(upper)
    return np.minimum(*ends), binary_entropy(np.clip(0.5, lower, upper))
