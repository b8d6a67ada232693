"""How much data shows a difference, told from pairs of stored predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safebench.errors import DataError, OptionError
from safebench.metrics.compute import call_metric, missing_input
from safebench.metrics.paired import compare_outcomes, spread_of_unrelated
from safebench.metrics.paired_difference import SwapPlan
from safebench.statistics import shared_weights
from safebench.statistics.power import ALPHA, ENOUGH_UNITS, POWER, SURE_POWER

from .outcomes import align, paired_outcomes, to_outcome
from .prediction_reading import prediction_files, read_prediction_file
from .runs import RUNS_FOLDER
from .selection import predictions_folder, select_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.metrics.paired_difference import PairedTest
    from safebench.specs import MetricSpec
    from safebench.statistics.power import PairedSpread

    from .prediction_reading import PredictionFile
    from .predictions import StoredPredictions

UNBOUNDED = frozenset({"nll"})  # other metrics of the core lie between 0 and 1
DRAWS = 500  # swaps: enough for a standard deviation
UNRELATED = "a second guard with unrelated errors"


class PowerRequest(NamedTuple):
    """Which difference is to be shown, with what probability, at which p."""

    metric: MetricSpec
    difference: float
    power: float = POWER
    alpha: float = ALPHA


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerEstimate:
    """What one pair of predictions says; None where nothing can be said, with `note`.

    `n` samples in `groups` groups are there, `samples_needed` in `groups_needed` groups
    of the same kind would show the difference. `smallest_difference` is what those that
    are there show. `how` says what the numbers follow from, `note` also where fewer
    datasets than that show it.
    """

    dataset: str
    a: str
    b: str
    n: int
    groups: int
    groups_needed: int | None = None
    samples_needed: int | None = None
    smallest_difference: float | None = None
    how: str = ""
    note: str = ""


def check_request(request: PowerRequest) -> None:
    """Raise OptionError for a difference or a power that cannot be."""
    metric, difference, power, alpha = request
    bounded = metric.origin is None or metric.origin.name == "core"
    if bounded and metric.name not in UNBOUNDED and difference >= 1:
        raise OptionError(
            f"--difference {difference:g}: {metric.name} lies between 0 and 1, so that "
            "two guards differ by less than 1"
        )
    if power <= alpha:
        raise OptionError(
            f"--power {power:g} is not above --alpha {alpha:g}: a test that says "
            "nothing has that much; try 0.8"
        )


def estimate(
    pairs: Sequence[tuple[PredictionFile, PredictionFile | None]],
    request: PowerRequest,
    *,
    seed: int = 0,
) -> list[PowerEstimate]:
    """Return what each pair says, the one that takes the most groups first.

    Raises DataError if none says anything.
    """
    check_request(request)
    estimates = [_estimate(a, b, request, seed) for a, b in pairs]
    known = [pair for pair in estimates if pair.groups_needed is not None]
    if not known:
        reasons = dict.fromkeys(pair.note for pair in estimates)
        raise DataError(
            f"{request.metric.name}: nothing to compute the power from: "
            + "; ".join(reasons)
        )
    return sorted(estimates, key=lambda pair: -(pair.groups_needed or 0))


def pairs_of(
    a: str | None, b: str | None, runs: Sequence[str], metric: MetricSpec
) -> list[tuple[PredictionFile, PredictionFile | None]]:
    """Return the pair that is named, or the best of each dataset with each other.

    A combination alone on its dataset has no partner: None.
    """
    if a is not None and b is not None:
        return list(select_pairs(a, b, runs))
    if a is not None:
        raise OptionError(f"{a!r} alone is no pair: name A and B, or neither")
    if not runs:
        raise OptionError("name a run: --run RUN, or two strategies A and B")
    return [pair for run in runs for pair in _pairs_of_run(run, metric)]


def _pairs_of_run(
    run: str, metric: MetricSpec
) -> Iterator[tuple[PredictionFile, PredictionFile | None]]:
    folder = predictions_folder(Path(run), RUNS_FOLDER)
    files = sorted(prediction_files(folder), key=lambda file: file.dataset)
    for _, same in groupby(files, key=lambda file: file.dataset):
        of_dataset = list(same)
        values = {file: _value(file, metric) for file in of_dataset}
        known = {file: value for file, value in values.items() if value is not None}
        if not known:  # what is missing is said when they are read
            best = of_dataset[0]
        else:
            pick = min if metric.higher_is_better is False else max
            best = pick(known, key=lambda file: known[file])
        others = [file for file in of_dataset if file != best]
        yield from ((best, other) for other in others)
        if not others:
            yield best, None


def _value(file: PredictionFile, metric: MetricSpec) -> float | None:
    """Return the metric of a file, None where it has none."""
    outcome = to_outcome(read_prediction_file(file.path))
    if not outcome.n or missing_input(outcome, metric) is not None:
        return None
    return call_metric(metric, outcome).value


def _estimate(
    a: PredictionFile, b: PredictionFile | None, request: PowerRequest, seed: int
) -> PowerEstimate:
    first = read_prediction_file(a.path)
    second = first if b is None else read_prediction_file(b.path)
    shared_a, shared_b, _ = align(first, second)
    if not shared_a.n:
        raise DataError(f"{a.path} and {b and b.path} share no sample")
    pair, groups = _compared(shared_a, shared_b, request, seed, alone=b is None)
    known = PowerEstimate(
        dataset=first.dataset,
        a=a.label,
        b=UNRELATED if b is None else b.label,
        n=shared_a.n,
        groups=groups,
        note=_why_not(pair),
    )
    if pair is None or pair.spread is None:
        return known
    spread, (_, difference, power, alpha) = pair.spread, request
    units = spread.units_needed(difference, power, alpha)
    if units is None:
        return replace(known, note="both give the same on every sample")
    needed = math.ceil(units / spread.units * groups - 1e-6)
    return replace(
        known,
        groups_needed=needed,
        samples_needed=math.ceil(needed * known.n / groups),
        smallest_difference=spread.smallest_difference(power, alpha),
        how=_how(pair),
        note="; ".join(_remarks(spread, units, power)),
    )


def _compared(
    a: StoredPredictions,
    b: StoredPredictions,
    request: PowerRequest,
    seed: int,
    *,
    alone: bool,
) -> tuple[PairedTest | None, int]:
    groups = a.groups
    n_groups = groups.n_groups
    weights = shared_weights(a.y, groups, n_resamples=DRAWS, seed=seed)
    plan = SwapPlan(DRAWS, seed)
    first, second = paired_outcomes(a, b)
    if alone:
        pair = spread_of_unrelated(request.metric, first, weights, plan)
    else:
        pair = compare_outcomes(request.metric, first, second, weights, plan)
    return pair, n_groups


def _why_not(pair: PairedTest | None) -> str:
    if pair is None:
        return "predictions lack what the metric reads"
    return "" if pair.spread is not None else pair.difference.method


def _remarks(spread: PairedSpread, units: float, power: float) -> Iterator[str]:
    """Say where fewer datasets show the difference than the numbers say."""
    if spread.is_share:
        return
    if spread.unknown:
        yield spread.unknown
    if units <= ENOUGH_UNITS:
        yield (
            f"fewer than {ENOUGH_UNITS} independent samples of the rarer class show "
            "less than is computed: these are as many"
        )
    if spread.units < ENOUGH_UNITS:
        yield (
            f"rough: the run has {spread.units:.0f} independent samples of the rarer "
            f"class, which know their spread to {_spread_error(spread.units):.0f} %"
        )
    if power < SURE_POWER:
        yield (
            f"a power below {SURE_POWER:g} is often not reached: in simulations down "
            "to 0.37 where 0.5 was computed"
        )


def _spread_error(units: float) -> float:
    """Return the standard error of a standard deviation, in percent of it."""
    return 100 / math.sqrt(2 * max(units - 1, 1))


def _how(pair: PairedTest) -> str:
    spread = pair.spread
    assert spread is not None
    if spread.is_share:
        return (
            f"exact power of McNemar's test; {100 * spread.variance:.3g} % of samples "
            f"told apart, worth {spread.units:.0f} independent ones"
        )
    error = math.sqrt(spread.variance / spread.units)
    return f"the difference varies by {error:.2g} (standard deviation, {pair.test})"
