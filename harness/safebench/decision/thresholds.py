"""Thresholds: which score to block from, chosen on samples that are held out.

A decision is ``score >= threshold``, and a threshold is one of the scores that it was
chosen on, so that ties are decided as they were counted. A failed sample is a wrong
decision at any threshold: a failed positive is missed, a failed negative flagged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import DataError
from safebench.statistics.resampling_weights import group_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

MAX_FPR, MIN_RECALL, REVIEW_BUDGET = "max_fpr", "min_recall", "review_budget"
COST, GIVEN = "cost", "given"
# As in intervals: from fewer groups of a class nothing is said of it.
MIN_GROUPS = 5
FEW = 20  # samples of a class: with fewer the choice carries a note
# Products of a budget and a count, such as 0.29 * 100, may miss a whole number.
_TOLERANCE = 1e-9
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a threshold is chosen: the rule's name, its budget, and what errors cost.

    `value` is the largest FPR, the smallest recall, the largest share of flagged
    samples, or the threshold itself of rule `GIVEN`. `cost_fp` and `cost_fn` are what
    one false positive and one false negative cost, in any one unit.
    """

    name: str
    value: float | None = None
    cost_fp: float | None = None
    cost_fn: float | None = None

    @property
    def option(self) -> str:
        """The rule as it is typed."""
        if self.name == COST:
            return f"--cost-fp {self.cost_fp:g} --cost-fn {self.cost_fn:g}"
        name = "threshold" if self.name == GIVEN else self.name.replace("_", "-")
        return f"--{name} {self.value:g}"

    @property
    def has_costs(self) -> bool:
        """Tell whether errors have a cost."""
        return self.cost_fp is not None and self.cost_fn is not None


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSamples:
    """n labelled samples: truth `y` (n,) bool, `score` (n,), NaN where failed.

    `groups` (n,) name what belongs together.
    """

    y: Array
    score: Array
    groups: Sequence[str]

    @property
    def n(self) -> int:
        """Number of samples, failed ones included."""
        return len(self.y)

    @property
    def n_pos(self) -> int:
        """Number of positives."""
        return int(self.y.sum())

    @property
    def n_neg(self) -> int:
        """Number of negatives."""
        return self.n - self.n_pos

    @property
    def n_failed(self) -> int:
        """Number of samples without a score."""
        return int(np.isnan(self.score).sum())

    def n_groups(self, among: Array) -> int:
        """Return how many groups have a sample `among` some, (n,) bool."""
        return len(np.unique(group_codes(self.groups)[among])) if among.any() else 0

    def flagged(self, threshold: float) -> Array:
        """Return the decisions, (n,) bool, with each failed sample wrong."""
        return np.where(np.isnan(self.score), ~self.y, self.score >= threshold)


@dataclass(frozen=True, slots=True, eq=False)
class CutPoints:
    """Every distinct score, descending (m,), and what is flagged from it on.

    `positives` and `negatives` (m,) count the flagged samples of each class, failed
    negatives among them.
    """

    scores: Array
    positives: Array
    negatives: Array

    @classmethod
    def of(cls, samples: ScoredSamples) -> CutPoints:
        """Count at every score of some samples."""
        known = ~np.isnan(samples.score)
        score, y = samples.score[known], samples.y[known]
        cuts = np.unique(score)[::-1]
        counts = []
        for members in (y, ~y):
            ascending = np.sort(score[members])
            below = np.searchsorted(ascending, cuts, side="left")
            counts.append(len(ascending) - below)
        failed_negatives = int((~known & ~samples.y).sum())
        return cls(cuts, counts[0], counts[1] + failed_negatives)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdChoice:
    """A threshold, and the decisions that it makes on what it was chosen on."""

    threshold: float
    flagged_pos: int
    flagged_neg: int
    n_pos: int
    n_neg: int
    n_tied: int
    notes: tuple[str, ...] = ()

    @property
    def fpr(self) -> float | None:
        """Share of negatives that are flagged; None without negatives."""
        return self.flagged_neg / self.n_neg if self.n_neg else None

    @property
    def recall(self) -> float | None:
        """Share of positives that are flagged; None without positives."""
        return self.flagged_pos / self.n_pos if self.n_pos else None

    @property
    def flagged(self) -> float:
        """Share of all samples that are flagged."""
        return (self.flagged_pos + self.flagged_neg) / (self.n_pos + self.n_neg)

    def to_json(self) -> dict[str, float | None]:
        """Return what was decided on the calibration part."""
        return {
            "n": self.n_pos + self.n_neg,
            "n_pos": self.n_pos,
            "n_neg": self.n_neg,
            "fpr": self.fpr,
            "recall": self.recall,
            "flagged": self.flagged,
            "n_tied": self.n_tied,
        }


def finite(threshold: float | None) -> float | None:
    """Return a threshold for JSON, which has no infinity: null blocks nothing."""
    return None if threshold is None or math.isinf(threshold) else threshold


def choose(
    rule: Rule, samples: ScoredSamples, prevalence: float | None = None
) -> ThresholdChoice:
    """Return the threshold that a rule chooses on some samples.

    - `MAX_FPR`: the lowest score of a negative at which the share of flagged negatives
      is within the budget. Of n negatives that is the k-th highest, k being the whole
      part of budget * n, or a higher one where several are equal: a new negative is
      flagged with a probability of k / (n + 1). A lower threshold that lies between two
      negatives would flag no other one of these, and more of the next. Where the budget
      allows not one false positive: the lowest score above all negatives.
    - `MIN_RECALL`: the highest score at which the share of flagged positives is within
      the budget.
    - `REVIEW_BUDGET`: the lowest score at which the share of flagged samples is.
    - `COST`: the score with the smallest mean cost; of several, the highest.

    With `prevalence`, shares of all samples and costs are those at which so many
    samples are positive. Raises DataError where no threshold does, or too few samples
    are there to say it.
    """
    if rule.name == GIVEN:
        assert rule.value is not None
        return choice_at(rule.value, samples)
    check_size(rule, samples, prevalence)
    cuts = CutPoints.of(samples)
    if not len(cuts.scores):
        raise DataError("no sample of the calibration part has a score")
    threshold = _BY_RULE[rule.name](rule, samples, cuts, prevalence)
    return choice_at(threshold, samples)


def check_size(rule: Rule, samples: ScoredSamples, prevalence: float | None) -> None:
    """Raise DataError for fewer samples than a rule needs, with both counts.

    A share is within a budget of 1 in 20 only where it can be 1 in 20.
    """
    both = rule.name == COST or prevalence is not None
    for name, members in (("positives", samples.y), ("negatives", ~samples.y)):
        needed = 1
        if rule.name == MAX_FPR and name == "negatives":
            needed = _needed(rule.value)
        elif rule.name == MIN_RECALL and name == "positives":
            needed = _needed(1 - (rule.value or 0.0))
        elif not both:
            continue
        n, groups = int(members.sum()), samples.n_groups(members)
        if n < needed or groups < MIN_GROUPS:
            raise DataError(
                _too_few(rule, f"{n:,} {name}", n, groups, max(needed, MIN_GROUPS))
            )
    if rule.name == REVIEW_BUDGET and samples.n < _needed(rule.value):
        raise DataError(
            _too_few(
                rule,
                f"{samples.n:,} samples",
                samples.n,
                samples.n,
                _needed(rule.value),
            )
        )


def _needed(budget: float | None) -> int:
    return math.ceil(1 / (budget or 1.0) - _TOLERANCE)


def _too_few(rule: Rule, have: str, n: int, groups: int, needed: int) -> str:
    in_groups = "" if groups == n else f" in {groups:,} groups"
    return (
        f"{have}{in_groups} in the calibration part, {rule.option} takes {needed:,}: "
        "evaluate more samples, or allow a larger budget"
    )


def within(count: Array, share: float, n: float) -> Array:
    """Tell whether counts are at most a share of n, but for rounding."""
    inside: Array = np.asarray(count) <= share * n + _TOLERANCE * max(n, 1.0)
    return inside


def _by_fpr(
    rule: Rule, samples: ScoredSamples, cuts: CutPoints, _: float | None
) -> float:
    assert rule.value is not None
    inside = within(cuts.negatives, rule.value, samples.n_neg)
    _require(inside, rule, samples)
    failed = int((np.isnan(samples.score) & ~samples.y).sum())
    most = int(cuts.negatives[inside].max())
    if most == failed:  # above every negative that has a score: more is recalled for 0
        return float(cuts.scores[inside].min())
    return float(cuts.scores[inside & (cuts.negatives == most)].max())


def _by_recall(
    rule: Rule, samples: ScoredSamples, cuts: CutPoints, _: float | None
) -> float:
    assert rule.value is not None
    missed = samples.n_pos - cuts.positives
    inside = within(missed, 1 - rule.value, samples.n_pos)
    _require(inside, rule, samples)
    return float(cuts.scores[inside].max())


def _by_share(
    rule: Rule, samples: ScoredSamples, cuts: CutPoints, prevalence: float | None
) -> float:
    assert rule.value is not None
    share = weighted_share(cuts.positives, cuts.negatives, samples, prevalence)
    inside = within(share, rule.value, 1.0)
    _require(inside, rule, samples)
    return float(cuts.scores[inside].min())


def _by_cost(
    rule: Rule, samples: ScoredSamples, cuts: CutPoints, prevalence: float | None
) -> float:
    costs = mean_cost(rule, cuts.positives, cuts.negatives, samples, prevalence)
    # One above all scores is a choice, too: nothing is blocked where that is cheapest.
    failed = int((np.isnan(samples.score) & ~samples.y).sum())
    nothing = mean_cost(rule, np.array([0]), np.array([failed]), samples, prevalence)
    if cheapest(np.append(costs, nothing))[-1]:
        return math.inf
    return float(cuts.scores[cheapest(costs)].max())


def cheapest(costs: Array) -> Array:
    """Tell which of some costs (m,) are the smallest, but for rounding.

    In proportion: in which unit costs are given must not change what is chosen.
    """
    smallest: Array = costs <= costs.min() * (1 + _ROUNDING)
    return smallest


_BY_RULE = {
    MAX_FPR: _by_fpr,
    MIN_RECALL: _by_recall,
    REVIEW_BUDGET: _by_share,
    COST: _by_cost,
}


def weighted_share(
    positives: Array,
    negatives: Array,
    samples: ScoredSamples,
    prevalence: float | None,
) -> Array:
    """Return the share of all samples that counts of each class (m,) make up.

    As in the data, or where `prevalence` says how many are positive.
    """
    if prevalence is None:
        return np.asarray((positives + negatives) / samples.n)
    recall, fpr = positives / samples.n_pos, negatives / samples.n_neg
    return np.asarray(prevalence * recall + (1 - prevalence) * fpr)


def mean_cost(
    rule: Rule,
    positives: Array,
    negatives: Array,
    samples: ScoredSamples,
    prevalence: float | None,
) -> Array:
    """Return the mean cost of a sample, (m,), where so many of each class are flagged.

    `positives` and `negatives` (m,) count them.
    """
    assert rule.cost_fp is not None
    assert rule.cost_fn is not None
    share = samples.n_pos / samples.n if prevalence is None else prevalence
    missed = (samples.n_pos - positives) / samples.n_pos
    flagged = negatives / samples.n_neg
    costs = share * rule.cost_fn * missed + (1 - share) * rule.cost_fp * flagged
    return np.asarray(costs)


def _require(inside: Array, rule: Rule, samples: ScoredSamples) -> None:
    """Raise DataError where no threshold keeps a budget, with what is in its way."""
    if inside.any():
        return
    reason = "too many samples share the highest score"
    kind = samples.y if rule.name == MIN_RECALL else ~samples.y
    failed = int((np.isnan(samples.score) & kind).sum())
    if failed:
        name = "positives" if rule.name == MIN_RECALL else "negatives"
        reason = f"{failed:,} {name} failed, which count as wrong at any threshold"
        if rule.name != MIN_RECALL:
            reason += ", or too many samples share the highest score"
    raise DataError(f"no threshold keeps {rule.option}: {reason}")


def choice_at(threshold: float, samples: ScoredSamples) -> ThresholdChoice:
    """Return a threshold with what it decides on the samples it is chosen on."""
    flagged = samples.flagged(threshold)
    tied = int((samples.score == threshold).sum())
    return ThresholdChoice(
        threshold=threshold,
        flagged_pos=int((flagged & samples.y).sum()),
        flagged_neg=int((flagged & ~samples.y).sum()),
        n_pos=samples.n_pos,
        n_neg=samples.n_neg,
        n_tied=tied,
    )


def review_from(
    budget: float,
    threshold: float,
    samples: ScoredSamples,
    prevalence: float | None = None,
) -> float | None:
    """Return from where on scores below a threshold are reviewed.

    It is the lowest score such that the share of samples from it up to the threshold is
    within the budget; None if no score is.
    """
    cuts = CutPoints.of(samples)
    below = cuts.scores < threshold
    if not below.any():
        return None
    blocked = samples.flagged(threshold)
    positives = cuts.positives[below] - int((blocked & samples.y).sum())
    negatives = cuts.negatives[below] - int((blocked & ~samples.y).sum())
    share = weighted_share(positives, negatives, samples, prevalence)
    inside = within(share, budget, 1.0)
    return float(cuts.scores[below][inside].min()) if inside.any() else None
