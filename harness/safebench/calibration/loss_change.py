"""What calibration does to Brier score and log-likelihood, with paired tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safebench.metrics.compute import compute
from safebench.metrics.paired import compare_outcomes
from safebench.metrics.paired_difference import SwapPlan
from safebench.results.outcomes import to_outcome
from safebench.statistics import default_n_resamples, shared_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.results.predictions import StoredPredictions
    from safebench.specs import MetricSpec
    from safebench.statistics import Interval


LOSSES = ("brier", "nll")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossChange:
    """A loss on the test part before and after, and the difference, after - before.

    `difference` has the paired interval; None where the raw score is no probability,
    whose loss means nothing.
    """

    metric: str
    raw: float | None
    calibrated: float | None
    difference: Interval | None

    @property
    def verdict(self) -> str:
        """Say whether the loss fell, and whether that is significant."""
        if self.calibrated is None:
            return "undefined"
        if self.raw is None or self.difference is None:
            return "no probability before"
        change = self.calibrated - self.raw
        if not change:
            return "unchanged"
        word = "better" if change < 0 else "worse"
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return f"{word}, not tested"
        return word if low > 0 or high < 0 else f"{word} (n.s.)"

    def note(self) -> str:
        """Return the change for a result row."""
        if self.raw is None or self.calibrated is None or self.difference is None:
            return "the raw score is no probability"
        text = f"{self.raw:.4f} raw, {self.calibrated - self.raw:+.4f}"
        if self.difference.low is not None and self.difference.high is not None:
            text += f" [{self.difference.low:+.4f} {self.difference.high:+.4f}]"
        return f"{text}: {self.verdict}"


def loss_changes(
    raw: StoredPredictions, calibrated: StoredPredictions, specs: Sequence[MetricSpec]
) -> list[LossChange]:
    """Return what became of Brier score and NLL on the test part, with paired tests."""
    losses = [spec for spec in specs if spec.name in LOSSES]
    before, after = to_outcome(raw), to_outcome(calibrated)
    values = {spec.name: value.value for spec, value in compute(after, losses)}
    if not raw.probability or not raw.n:
        return [
            LossChange(metric=n, raw=None, calibrated=v, difference=None)
            for n, v in values.items()
        ]
    n_resamples = default_n_resamples(raw.groups.n_groups)
    weights = shared_weights(raw.y, raw.groups, n_resamples=n_resamples, seed=0)
    plan = SwapPlan(n_resamples, sides=False)
    raw_values = {spec.name: value.value for spec, value in compute(before, losses)}
    changes = []
    for spec in losses:
        pair = compare_outcomes(spec, before, after, weights, plan)
        changes.append(
            LossChange(
                metric=spec.name,
                raw=raw_values.get(spec.name),
                calibrated=values.get(spec.name),
                difference=None if pair is None else pair.difference,
            )
        )
    return changes
