"""Tests of a metric of two sets of judgements about the same samples.

A share of samples that no guard chooses (recall, FPR, accuracy) is tested exactly; an
AUROC of enough independent samples by DeLong's test; anything else by swapping what
both say of whole groups.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from safebench.isolation import isolated
from safebench.statistics import Interval, ResamplingWeights
from safebench.statistics.auroc_variance import average_ranks
from safebench.statistics.influence import effective_count
from safebench.statistics.paired_tests import (
    MIN_GROUPS,
    StricterOf,
    StudentDistribution,
    draw_swaps,
    jackknife_error,
    left_out_values,
    sign_flips,
    swap_distribution,
    swapped_differences,
)
from safebench.statistics.power import PairedSpread
from safebench.statistics.resampling_weights import count_groups

from .called_metrics import (
    MAX_CALLS,
    MAX_SAMPLES_IN_CALLS,
    MIN_CALLS,
    called_interval,
    called_values,
)
from .column_intervals import FEW_GROUPS, UNDEFINED, column_intervals
from .compute import check_value, missing_input
from .definition import both_classes
from .intervals import definition_of
from .paired_difference import (
    CHANCE_ALONE,
    PairedTest,
    SwapPlan,
    as_tested,
    as_wide_as_sides,
    with_note,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench.specs import MetricSpec
    from safebench.statistics.paired_tests import NullDistribution, SwapDistribution
    from safebench.statistics.sufficient_statistics import SufficientStatistics
    from safebench.typing import Array

    from .definition import Columns, MetricDefinition
    from .outcome import Outcome

SWAPS = "swapped groups"
SWAPPED_SAMPLES = "swapped samples"
MCNEMAR = "exact McNemar"
SIGN_FLIPS = "exact sign flips"
# from so many of each class an interval by a standard error alone held in 94 of 100
NORMAL_UNITS = 100
# what a guard says; the truth, of categories and pairs too, is that of both
SWAPPED_COLUMNS = (
    *("score", "decision", "uncertainty", "failed"),
    *("predicted", "category_score"),
)


def compare_outcomes(
    spec: MetricSpec, a: Outcome, b: Outcome, weights: ResamplingWeights, plan: SwapPlan
) -> PairedTest | None:
    """Compare two outcomes of the same samples; None if one lacks what is read.

    Samples that either has no score for are left out of both. `weights` are for the
    intervals of a and of b where the metric has no method of its own. Raises
    `PluginError` if the metric fails.
    """
    definition = definition_of(spec)
    if definition is None:
        return _compare_called(spec, a, b, weights, plan)
    with isolated(spec):
        first, second = definition.columns(a), definition.columns(b)
        if first is None or second is None:
            return None
        return compare_columns(definition, first, second, weights, plan)


def spread_of_unrelated(
    spec: MetricSpec, outcome: Outcome, weights: ResamplingWeights, plan: SwapPlan
) -> PairedTest | None:
    """Return an outcome beside another guard as good, whose errors are unrelated.

    The difference of both varies twice as much as either, which is more than that of
    two guards that read the same prompts. None where the metric has no input.
    """
    pair = compare_outcomes(spec, outcome, outcome, weights, plan)
    if pair is None or pair.spread is None or pair.a.value is None:
        return pair
    value, low, high = pair.a.value, pair.a.low, pair.a.high
    if pair.spread.is_share:
        variance: float | None = 2 * value * (1 - value)
    elif low is None or high is None:
        variance = None
    else:
        error = (high - low) / (2 * float(ndtri((1 + plan.level) / 2)))
        variance = 2 * pair.spread.units * error**2
    spread = None if variance is None else replace(pair.spread, variance=variance)
    return replace(pair, spread=spread)


def compare_columns(
    definition: MetricDefinition,
    a: Columns,
    b: Columns,
    weights: ResamplingWeights,
    plan: SwapPlan,
) -> PairedTest:
    """Compare a metric of two columns of the same samples."""
    # Paired: a sample that one of both cannot judge tells nothing of their difference.
    known = a.known & b.known
    if not known.any():
        return PairedTest(a=UNDEFINED, b=UNDEFINED, difference=UNDEFINED)
    of_a, of_b = (
        _side(definition, side._replace(known=known), weights, plan) for side in (a, b)
    )
    index = np.unique(weights.group_index[known], return_inverse=True)[1].reshape(-1)
    arrays_a, arrays_b = ([x[known] for x in side.arrays] for side in (a, b))
    difference = _difference(of_a, of_b, int(index.max()) + 1)
    pair = PairedTest(a=of_a, b=of_b, difference=difference)
    if difference.value is None:
        return pair
    classes: list[tuple[str, Array]] = []
    for arrays in (arrays_a, arrays_b):
        if definition.classes is not None:
            classes += definition.classes(*arrays).items()
    why = _too_few(index, classes)
    if why:
        return replace(pair, difference=replace(difference, method=why))
    if definition.gains is not None and definition.among is not None:
        pair = _exact(definition, pair, index, arrays_a, arrays_b, plan)
    else:
        pair = _by_spread(definition, pair, index, classes, arrays_a, arrays_b, plan)
    if not plan.sides or pair.difference.low is None:
        return pair
    normal = definition.normal_test
    by_error = normal is not None and pair.test == normal.name
    if by_error and pair.spread is not None and pair.spread.units >= NORMAL_UNITS:
        return pair
    if definition.interval is not None and not definition.interval.of_differences:
        return with_note(pair, CHANCE_ALONE)
    return as_wide_as_sides(
        pair, _left_out(definition, index, arrays_a, arrays_b), plan
    )


def _left_out(
    definition: MetricDefinition, index: Array, a: list[Array], b: list[Array]
) -> tuple[Array, Array]:
    """Return the metric of both sides when each group is left out."""
    statistics, n_groups = _joined_statistics(definition, index, a, b)
    return left_out_values(statistics, definition.formula, n_groups)


def _joined_statistics(
    definition: MetricDefinition, index: Array, a: list[Array], b: list[Array]
) -> tuple[SufficientStatistics, int]:
    """Return the sums of both sides' groups, those of b after those of a."""
    n_groups = int(index.max()) + 1
    joined = [np.concatenate(columns) for columns in zip(a, b, strict=True)]
    codes = np.concatenate([index, index + n_groups])
    return definition.statistics(codes, 2 * n_groups, *joined), n_groups


def _side(
    definition: MetricDefinition,
    columns: Columns,
    weights: ResamplingWeights,
    plan: SwapPlan,
) -> Interval:
    if not plan.sides:
        value = definition.value(*(array[columns.known] for array in columns.arrays))
        return replace(UNDEFINED, value=value)
    index, draw = weights.group_index, lambda: weights
    return column_intervals({"": definition}, columns, index, draw, plan.level)[""]


def _difference(a: Interval, b: Interval, n_groups: int) -> Interval:
    if a.value is None or b.value is None:
        return replace(UNDEFINED, n_groups=n_groups)
    return Interval(b.value - a.value, None, None, "", n_groups)


def _too_few(index: Array, classes: Iterable[tuple[str, Array]]) -> str:
    """Return why there are too few groups for a test, or nothing."""
    alone = count_groups(index) == len(index)
    everything = ("samples" if alone else "groups", np.ones(len(index), dtype=bool))
    for name, members in [*classes, everything]:
        groups = count_groups(index[members])
        if groups < MIN_GROUPS:
            of = "" if alone or name == "groups" else "groups of "
            return f"no test: {groups} {of}{name}, it takes {MIN_GROUPS}"
    return ""


def _exact(
    definition: MetricDefinition,
    pair: PairedTest,
    index: Array,
    a: list[Array],
    b: list[Array],
    plan: SwapPlan,
) -> PairedTest:
    """Flip the signs of whole groups: McNemar's test where each has one sample."""
    assert definition.gains is not None
    assert definition.among is not None
    truth = a[0]
    among = definition.among(truth)
    codes = index[among]
    gains = [
        definition.gains(truth, decision.astype(bool))[among].astype(int)
        for decision in (a[1], b[1])
    ]
    gained = gains[1] - gains[0]
    by_group = np.rint(np.bincount(codes, gained)).astype(int)
    null = sign_flips(by_group)
    null = replace(null, differences=null.differences / len(codes))
    units = effective_count(codes, np.ones(len(codes)))
    discordant = float(np.abs(gained).mean())
    if discordant:
        # as many independent samples would give flips the same spread
        units = discordant / null.spread**2 if null.spread else units
    value = float(gained.mean())
    spread = PairedSpread(units, discordant, value, is_share=True)
    alone = count_groups(codes) == len(codes)
    test = MCNEMAR if alone else SIGN_FLIPS
    return as_tested(pair, value, null, spread, test, plan)


def _by_spread(
    definition: MetricDefinition,
    pair: PairedTest,
    index: Array,
    classes: list[tuple[str, Array]],
    a: list[Array],
    b: list[Array],
    plan: SwapPlan,
) -> PairedTest:
    """Test by a standard error where there are samples enough, or else by swaps."""
    n_groups = int(index.max()) + 1
    alone = n_groups == len(index)
    rarest = min((members for _, members in classes), key=np.sum, default=index >= 0)
    units = effective_count(index[rarest], np.ones(int(rarest.sum())))
    value = pair.difference.value
    assert value is not None
    normal = definition.normal_test
    if normal is not None and alone and rarest.sum() >= FEW_GROUPS:
        error = normal.standard_error(a[0], a[-1], b[-1])
        if error:
            known = PairedSpread(
                units, units * error**2 + value**2, value, is_share=False
            )
            return as_tested(
                pair, value, StudentDistribution(error), known, normal.name, plan
            )
    if definition.by_rank:
        a, b = ([*side[:-1], _ranks(side[-1])] for side in (a, b))
    statistics, n_groups = _joined_statistics(definition, index, a, b)
    swaps, drawn = draw_swaps(n_groups, plan.draws, plan.seed)
    differences = swapped_differences(statistics, definition.formula, swaps)
    # as the swaps see it: bins of equal mass are those of both together
    observed = swapped_differences(
        statistics, definition.formula, np.zeros((n_groups, 1), dtype=bool)
    )[0]
    # where a metric jumps, leaving out one group says nothing of its spread
    smooth = definition.method == "bca"
    error = 0.0
    if smooth:
        error = jackknife_error(
            *left_out_values(statistics, definition.formula, n_groups)
        )
    fewest = min(
        count_groups(index[members])
        for members in [*(m for _, m in classes), index >= 0]
    )
    null = _stricter(swap_distribution(differences, drawn), error, fewest)
    unknown = ""
    if units < definition.power_units:
        unknown = (
            f"the power of {units:.0f} independent samples of a class is not known, it "
            f"takes {definition.power_units}"
        )
    variance = units * null.spread**2
    spread = PairedSpread(units, variance, observed, is_share=False, unknown=unknown)
    test = SWAPPED_SAMPLES if alone else SWAPS
    return as_tested(pair, float(observed), null, spread, test, plan)


def _ranks(scores: Array) -> Array:
    """Return ranks from 0 to 1 in place of scores, NaN where there is none.

    Scores (n, L) of categories are ranked together, in which each keeps its own order.
    """
    known = ~np.isnan(scores)
    ranks = np.full(scores.shape, np.nan)
    ranks[known] = average_ranks(scores[known]) / max(int(known.sum()), 1)
    return ranks


def _stricter(swaps: SwapDistribution, error: float, n_groups: int) -> NullDistribution:
    """Return the distribution of swaps, with that of a standard error if there is one.

    Swaps hold however few groups there are, if both sides are alike; the error holds
    for sides that are not, if there are many groups. `n_groups` of the rarer class say
    how well it is known.
    """
    if not error:
        return swaps
    return StricterOf(swaps, StudentDistribution(error, n_groups - 1))


def _compare_called(
    spec: MetricSpec, a: Outcome, b: Outcome, weights: ResamplingWeights, plan: SwapPlan
) -> PairedTest | None:
    """Compare by a metric that has to be called on each swap."""
    if missing_input(a, spec) is not None or missing_input(b, spec) is not None:
        return None
    values = [called_values(spec, side, weights) for side in (a, b)]
    of_a, of_b = (called_interval(side, weights) for side in values)
    index, n_groups = weights.group_index, weights.n_groups
    difference = _difference(of_a, of_b, n_groups)
    pair = PairedTest(a=of_a, b=of_b, difference=difference)
    if difference.value is None:
        return pair
    classes = list(both_classes(a.y).items()) if "score" in spec.needs else []
    why = _too_few(index, classes)
    if why:
        return replace(pair, difference=replace(difference, method=why))
    a, b = _by_rank_if_that_is_all(spec, a, b, (of_a.value, of_b.value))
    calls = int(np.clip(MAX_SAMPLES_IN_CALLS // a.n, MIN_CALLS, MAX_CALLS))
    swaps, drawn = draw_swaps(n_groups, min(calls, plan.draws), plan.seed)
    differences = np.array([_called_swap(spec, a, b, s) for s in swaps[:, :][index].T])
    drawn_differences = (values[1] - values[0])[1:]
    error = float(np.std(drawn_differences[np.isfinite(drawn_differences)]))
    fewest = min(
        count_groups(index[members])
        for members in [*(m for _, m in classes), index >= 0]
    )
    null = _stricter(swap_distribution(differences, drawn), error, fewest)
    rarest = min((members for _, members in classes), key=np.sum, default=index >= 0)
    units = effective_count(index[rarest], np.ones(int(rarest.sum())))
    spread = PairedSpread(
        units, units * null.spread**2, difference.value, is_share=False
    )
    test = SWAPPED_SAMPLES if n_groups == a.n else SWAPS
    pair = as_tested(pair, difference.value, null, spread, test, plan)
    drawn_a, drawn_b = (side[1:] for side in values)
    finite = np.isfinite(drawn_a) & np.isfinite(drawn_b)
    return as_wide_as_sides(pair, (drawn_a[finite], drawn_b[finite]), plan)


def _called_swap(spec: MetricSpec, a: Outcome, b: Outcome, swapped: Array) -> float:
    """Return b minus a after samples (n,) changed places, NaN where undefined."""
    sides = []
    for kept, other in ((a, b), (b, a)):
        columns = {
            name: np.where(
                swapped.reshape(-1, *[1] * (getattr(kept, name).ndim - 1)),
                getattr(other, name),
                getattr(kept, name),
            )
            for name in SWAPPED_COLUMNS
            if getattr(kept, name) is not None and getattr(other, name) is not None
        }
        sides.append(_call(spec, replace(kept, **columns)))
    return sides[1] - sides[0]


def _call(spec: MetricSpec, outcome: Outcome) -> float:
    """Return what a metric says, NaN where it says nothing, or fails on a swap."""
    metric = spec.code()
    with isolated(spec), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one warning a swap would bury the others
        try:
            value = check_value(metric(outcome)).value
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - it may fail on one class alone
            value = None
    return np.nan if value is None else float(value)


def _by_rank_if_that_is_all(
    spec: MetricSpec, a: Outcome, b: Outcome, values: tuple[float | None, float | None]
) -> tuple[Outcome, Outcome]:
    """Return both with ranks for scores, if the metric says the same of ranks.

    Scores that are scaled differently cannot change places, but ranks can.
    """
    if "score" not in spec.needs or a.score is None or b.score is None:
        return a, b
    ranked = []
    for side in (a, b):
        assert side.score is not None
        ranked.append(replace(side, score=_ranks(side.score)))
    same = [_call(spec, side) for side in ranked]
    if np.allclose(same, np.array(values, dtype=float), rtol=1e-9, atol=1e-12):
        return ranked[0], ranked[1]
    return a, b
