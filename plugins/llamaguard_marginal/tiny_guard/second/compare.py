"""The registered comparison: AUROC against TF-IDF and the guards before, paired.

A set's rows are drawn in clusters of near copies. The difference of two AUROCs is that
of the same rows; its interval and its p are the harness's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.metrics import GroupedSamples
from safebench.metrics.arrays import paired_difference
from tiny_guard.evaluate import binary_results, verdict_probabilities
from tiny_guard.second.rows import near_clusters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tiny_guard.rows import TrainingRow

    Array = npt.NDArray[np.float64]

RESAMPLES = 2000
TFIDF = "tf-idf"


@dataclass(frozen=True, slots=True)
class Contest:
    """Names of the new guard and of those before; the first of them is to be beaten."""

    new: str = "tiny-guard-2"
    before: tuple[str, ...] = ("tiny-guard",)

    @property
    def old(self) -> str:
        """The guard that the new one must be better than."""
        return self.before[0]


SECOND = Contest()


def compare_set(
    rows: Sequence[TrainingRow],
    scores: Mapping[str, Array],
    similarity: float,
    contest: Contest = SECOND,
) -> dict[str, Any]:
    """AUROC of every scorer with its interval, and the new guard's lead on others."""
    truth = np.array([bool(row.unsafe) for row in rows])
    groups = near_clusters([row.prompt for row in rows], similarity)
    grouped = GroupedSamples(truth, groups, n_resamples=RESAMPLES)
    result: dict[str, Any] = {
        "n": len(rows),
        "unsafe": int(truth.sum()),
        "clusters": len(set(groups.tolist())),
    }
    result["auroc"] = {
        name: interval_record(grouped.intervals("auroc", score=score)["auroc"])
        for name, score in scores.items()
    }
    result["lead"] = {
        other: interval_record(
            paired_difference(
                "auroc",
                truth,
                scores[other],
                scores[contest.new],
                groups=groups,
                n_resamples=RESAMPLES,
            )
        )
        for other in (TFIDF, *contest.before)
    }
    result["at_one_half"] = {
        name: binary_results(truth, score) for name, score in scores.items()
    }
    return result


def interval_record(interval: Any) -> dict[str, Any]:
    """Value and 95 % interval, four digits after the point, and how it was found."""
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    rounded = {k: None if v is None else round(float(v), 4) for k, v in ends.items()}
    return rounded | {"by": interval.method}


def verdict(lead: Mapping[str, Any]) -> str:
    """Say in a word what a lead (value and interval) shows."""
    if lead["low"] is not None and lead["low"] > 0:
        return "ahead"
    if lead["high"] is not None and lead["high"] < 0:
        return "behind"
    return "ahead, not shown" if lead["value"] > 0 else "not ahead"


def decision(sets: Mapping[str, Any], contest: Contest = SECOND) -> dict[str, Any]:
    """Decide what the registration asks: is the new guard better than the one before.

    It is where its mean AUROC over the sets is higher, and it leads TF-IDF on at least
    as many sets as the guard before does.
    """
    new, old = contest.new, contest.old

    def mean(name: str) -> float:
        values = [facts["auroc"][name]["value"] for facts in sets.values()]
        return round(float(np.mean(values)), 4)

    def leads(name: str) -> list[str]:
        return [
            label
            for label, facts in sets.items()
            if facts["auroc"][name]["value"] > facts["auroc"][TFIDF]["value"]
        ]

    means = {name: mean(name) for name in (new, *contest.before, TFIDF)}
    better = means[new] > means[old] and len(leads(new)) >= len(leads(old))
    return {
        "mean_auroc": means,
        "ahead_of_tfidf": {name: leads(name) for name in (new, *contest.before)},
        "against_tfidf": {
            k: verdict(facts["lead"][TFIDF]) for k, facts in sets.items()
        },
        "ship": better,
    }


def guard_scores(
    model: Any, tokenizer: Any, sets: Mapping[str, Sequence[TrainingRow]]
) -> dict[str, Array]:
    """P(unsafe) of a guard for the rows of every set."""
    return {
        name: verdict_probabilities(model, tokenizer, rows)
        for name, rows in sets.items()
    }
