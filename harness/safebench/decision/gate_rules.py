"""Rules of a gate: bounds of metrics, a baseline, and what came of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from safebench.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.specs import MetricSpec


MIN, MAX, NO_WORSE = "min", "max", "no_worse"
INTERVAL, VALUE = "interval", "value"  # what decides
DEFAULT_METRICS = ("recall", "fpr")  # compared with a baseline where no rule says more
# Metrics from 0 to 1, of which a bound of 5 is a slip for 5 %.
_FROM_0_TO_1 = frozenset(
    {"accuracy", "precision", "recall", "f1", "balanced_accuracy", "fpr", "fnr"}
    | {"auroc", "auprc", "tpr_at_fpr_0.01", "fpr_at_tpr_0.95", "pauroc_fpr_0.1"}
    | {"brier", "ece", "ece_mass", "mce", "aurc", "e_aurc", "error_auroc"}
)


class Bound(NamedTuple):
    """A bound of a metric: `side` is ``min`` or ``max``.

    `where` names what it is about: classifiers, strategies or datasets, all of which
    must fit; empty for every cell of the run.
    """

    metric: str
    side: str
    value: float
    where: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The rule in signs: ``recall >= 0.9``."""
        return f"{self.metric} {'>=' if self.side == MIN else '<='} {self.value:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """What a gate asks for: rules, and what they are applied to.

    `by` is ``interval`` (the safe end of it decides) or ``value``. `max_failed` is the
    share of failed samples that is accepted. `baseline` names a run, or
    RUN/CLASSIFIER/STRATEGY, than which the metrics of the rules, or `metrics`, may be
    worse by `margin`. `of` and `datasets` select cells of the run. `reviewed`: by the
    labels that reviewers marked, where all of a set's labels were.
    """

    bounds: tuple[Bound, ...] = ()
    baseline: str | None = None
    margin: float = 0.0
    metrics: tuple[str, ...] = ()
    by: str = INTERVAL
    of: str = ""
    datasets: tuple[str, ...] = ()
    max_failed: float = 0.0
    operating_point: str | None = None
    reviewed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """One rule on one cell, classifier/strategy on a dataset: kept or not, and why.

    `value`, `low` and `high` are those of the metric, or for a baseline of its
    difference from it; None where not known. `needed` is how many samples (of `kind`)
    of the test part would show that the rule is kept if the value stays as it is, and
    `n` how many there are.
    """

    rule: str
    kind: str
    metric: str
    cell: str
    dataset: str
    bound: float
    value: float | None
    low: float | None
    high: float | None
    passed: bool
    reason: str
    needed: int | None = None
    n: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """All results of a gate, in order of the rules; `notes` are about the run."""

    run: str
    by: str
    results: tuple[RuleResult, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Tell whether every rule was kept everywhere."""
        return all(result.passed for result in self.results)


def parse_bound(text: str, side: str) -> Bound:
    """Return the rule ``METRIC[@WHERE...]=X``; raises OptionError for other texts."""
    option = f"--{side}"
    name, equals, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    metric, *where = (part.strip() for part in name.split("@"))
    if not equals or not metric or not all(where) or not math.isfinite(value):
        raise OptionError(
            f"{option} {text!r}: expected METRIC=NUMBER or METRIC@DATASET=NUMBER, as "
            "in recall=.9"
        )
    return Bound(metric.casefold(), side, value, tuple(where))


def check_request(request: GateRequest, specs: Mapping[str, MetricSpec]) -> None:
    """Raise a SafebenchError for rules that say nothing, or what cannot be meant."""
    if not request.bounds and request.baseline is None:
        raise OptionError(
            "which rules? say --min recall=.9, --max fpr=.05 or --baseline RUN"
        )
    _check_together(request)
    if not (math.isfinite(request.margin) and request.margin >= 0):
        raise OptionError(f"--margin {request.margin:g}: it is 0 or more")
    for bound in request.bounds:
        _check_bound(bound, specs)
    for name in request.metrics:
        if name not in specs:
            raise unknown_name("metric", name, specs)
    for metric in {bound.metric for bound in request.bounds}:
        both = [b for b in request.bounds if b.metric == metric and not b.where]
        lowest = max((b.value for b in both if b.side == MIN), default=-math.inf)
        highest = min((b.value for b in both if b.side == MAX), default=math.inf)
        if lowest > highest:
            raise OptionError(
                f"{metric}: nothing is at least {lowest:g} and at most {highest:g}"
            )


def _check_together(request: GateRequest) -> None:
    """Raise OptionError for options that do not go together."""
    if request.operating_point and request.baseline:
        raise OptionError(
            "--baseline compares runs at their own thresholds: leave out "
            "--operating-point"
        )
    if request.operating_point and request.reviewed:
        raise OptionError(
            "reviewed labels are applied to the run's own decisions: leave out "
            "--operating-point or --labels reviewed"
        )
    if request.metrics and request.baseline is None:
        raise OptionError("--metrics says what to compare: name the --baseline")


def _check_bound(bound: Bound, specs: Mapping[str, MetricSpec]) -> None:
    option = f"--{bound.side} {bound.metric}={bound.value:g}"
    if bound.metric not in specs:
        raise unknown_name("metric", bound.metric, specs)
    if bound.metric in _FROM_0_TO_1 and not 0 <= bound.value <= 1:
        percent = f", {bound.value / 100:g} for {bound.value:g} %"
        raise OptionError(
            f"{option}: {bound.metric} is from 0 to 1"
            + (percent if 1 < bound.value <= 100 else "")  # noqa: PLR2004 - per cent
        )
    higher = specs[bound.metric].higher_is_better
    if higher is not None and higher != (bound.side == MIN):
        better, other = ("higher", MIN) if higher else ("lower", MAX)
        raise OptionError(
            f"{option}: {bound.metric} is better where it is {better}: say --{other}"
        )


def compared_metrics(request: GateRequest) -> list[str]:
    """Return the metrics that are compared with the baseline, each once."""
    named = request.metrics or tuple(bound.metric for bound in request.bounds)
    return list(dict.fromkeys(named or DEFAULT_METRICS))


def no_worse_rule(metric: str, request: GateRequest) -> str:
    """Return the rule on a metric against the baseline in words."""
    return f"{metric} no worse than {request.baseline} by over {request.margin:g}"
