"""Inter-rater agreement: of ensemble members, of strategies, of a dataset's raters.

A rater is whatever decides: a member, one classifier with one strategy, or a person.
Agreement is reported as the share of samples decided differently, and as Cohen's and
Fleiss' kappa, which take off what chance would explain; Krippendorff's alpha is for
raters of whom not all rate everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array


IDENTICAL = "identical decisions"  # how a note on them begins
_MIN_RATERS = 2
MIN_RATINGS = 2  # of an item: a single one can neither agree nor disagree


@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseAgreement:
    """Two raters: how often they differ, and who is right where they do."""

    a: str
    b: str
    disagreement: float
    kappa: float | None
    only_a_right: int
    only_b_right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """K raters on the same n samples of a dataset.

    `disagreement` (K, K) is the share of samples on which two differ; `kappa` (K, K)
    Cohen's, NaN where neither could differ by chance; `fleiss` that of all at once
    (Fleiss 1971), None likewise. `unanimous` is the share of samples on which all
    agree; `positive_rate`, `accuracy` (K,) are those of each rater.
    """

    title: str
    dataset: str
    names: tuple[str, ...]
    n: int
    disagreement: Array
    kappa: Array
    fleiss: float | None
    unanimous: float
    positive_rate: Array
    accuracy: Array
    pairs: tuple[PairwiseAgreement, ...]

    @property
    def mean_disagreement(self) -> float:
        """Mean over pairs of the share of samples on which they differ."""
        k = len(self.names)
        return float(self.disagreement.sum() / (k * (k - 1)))


def compute_agreement(
    title: str, dataset: str, names: Sequence[str], votes: Array, y: Array
) -> Agreement:
    """Compare K >= 2 raters by `votes` (n, K) bool on samples with labels `y` (n,)."""
    n, k = votes.shape
    assert k >= _MIN_RATERS, f"{k} raters cannot differ"
    numeric = votes.astype(float)
    rate = numeric.mean(axis=0)
    # P(a != b) = P(a) + P(b) - 2 P(a and b), for all pairs in one matrix product
    differ = rate[:, None] + rate[None, :] - 2 * (numeric.T @ numeric) / n
    differ = np.where(differ > 1e-12, differ, 0.0)  # noqa: PLR2004 - rounding, no vote
    chance = rate[:, None] * (1 - rate) + (1 - rate[:, None]) * rate
    kappa = 1 - differ / np.where(chance > 0, chance, np.nan)
    n_positive = votes.sum(axis=1)
    return Agreement(
        title=title,
        dataset=dataset,
        names=tuple(names),
        n=n,
        disagreement=differ,
        kappa=kappa,
        fleiss=fleiss_kappa(votes),
        unanimous=float(((n_positive == 0) | (n_positive == k)).mean()),
        positive_rate=rate,
        accuracy=(votes == y[:, None]).mean(axis=0),
        pairs=_pairwise_agreements(names, votes, y, differ, kappa),
    )


def fleiss_kappa(votes: Array) -> float | None:
    """Return Fleiss' kappa of K raters with two classes, votes (n, K) bool.

    None if all votes are the same: there is no disagreement that chance could explain.
    """
    k = votes.shape[1]
    positive = votes.sum(axis=1)
    negative = k - positive
    # share of ordered pairs of raters that agree on a sample
    agree = (positive * (positive - 1) + negative * (negative - 1)) / (k * (k - 1))
    rate = votes.mean()
    chance = rate**2 + (1 - rate) ** 2
    return float((agree.mean() - chance) / (1 - chance)) if 0 < rate < 1 else None


def _pairwise_agreements(
    names: Sequence[str], votes: Array, y: Array, differ: Array, kappa: Array
) -> tuple[PairwiseAgreement, ...]:
    """Return all pairs, those that differ most first."""
    right = votes == y[:, None]
    only = right.T.astype(np.int64) @ ~right  # (a, b): a right where b is wrong
    pairs = [
        PairwiseAgreement(
            a=names[i],
            b=names[j],
            disagreement=float(differ[i, j]),
            kappa=None if np.isnan(kappa[i, j]) else float(kappa[i, j]),
            only_a_right=int(only[i, j]),
            only_b_right=int(only[j, i]),
        )
        for i, j in combinations(range(len(names)), 2)
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.disagreement))


def decision_agreements(
    all_predictions: Sequence[StoredPredictions],
) -> tuple[list[Agreement], list[str]]:
    """Compare everything that decided on the same dataset, one agreement a dataset.

    Only samples that all of them judged are compared. Raters that decide alike on every
    sample are merged into one, as strategies of one guard often do: kept apart, they
    would make every agreement look better. The notes name what was merged.
    """
    by_dataset: dict[tuple[str, str], list[StoredPredictions]] = {}
    for predictions in all_predictions:
        key = (predictions.dataset, predictions.task)
        if predictions.judged.any():
            by_dataset.setdefault(key, []).append(predictions)
    agreements, notes = [], []
    for raters in by_dataset.values():
        if len(raters) < _MIN_RATERS:
            continue
        names, votes, y = _shared_decisions(raters)
        identical = _identical_raters(names, votes)
        dataset = raters[0].dataset
        notes += [
            f"{IDENTICAL} on {dataset}: {', '.join(same)}"
            for same in identical.values()
            if len(same) > 1
        ]
        if len(identical) >= _MIN_RATERS:
            distinct = votes[:, list(identical)]
            merged = [_merged_name(same) for same in identical.values()]
            agreements.append(
                compute_agreement("decisions", dataset, merged, distinct, y)
            )
    return agreements, notes


def _shared_decisions(
    raters: Sequence[StoredPredictions],
) -> tuple[list[str], Array, Array]:
    """Return names (K), decisions (n, K) and labels (n,) where all of them decided."""
    row_of_id = [
        {rater.ids[row]: row for row in np.flatnonzero(rater.judged).tolist()}
        for rater in raters
    ]
    # By id and not by row: a strategy that failed on a sample has no decision about it.
    shared_ids = [id_ for id_ in row_of_id[0] if all(id_ in ids for ids in row_of_id)]
    rows = [np.array([ids[i] for i in shared_ids], dtype=int) for ids in row_of_id]
    columns = [
        rater.decision[own_rows].astype(bool)
        for rater, own_rows in zip(raters, rows, strict=True)
    ]
    same_classifier = len({rater.classifier for rater in raters}) == 1
    names = [
        rater.method if same_classifier else f"{rater.classifier}/{rater.method}"
        for rater in raters
    ]
    return names, np.stack(columns, axis=1), raters[0].y[rows[0]]


def _identical_raters(names: Sequence[str], votes: Array) -> dict[int, list[str]]:
    """Return the names of raters with equal votes, by the column of the first."""
    first_column: dict[bytes, int] = {}
    identical: dict[int, list[str]] = {}
    for column, name in enumerate(names):
        first = first_column.setdefault(votes[:, column].tobytes(), column)
        identical.setdefault(first, []).append(name)
    return identical if len(votes) else {}


def _merged_name(names: Sequence[str]) -> str:
    others = len(names) - 1
    return f"{names[0]} and {others} identical" if others else names[0]


def krippendorff_alpha(counts: Array) -> float | None:
    """Return alpha for classes without an order (Krippendorff 2011).

    `counts` (items, classes): how many raters gave an item each class. 1 is agreement
    throughout, 0 what chance would give; None if all ratings are of one class.
    """
    counts = counts[counts.sum(axis=1) >= MIN_RATINGS].astype(float)
    ratings, totals = counts.sum(axis=1), counts.sum(axis=0)
    n = totals.sum()
    # ordered pairs of unlike ratings, of one item and of any two
    within = (ratings**2 - (counts**2).sum(axis=1)) / (ratings - 1)
    expected = n**2 - (totals**2).sum()
    if not expected:
        return None
    return float(1 - (n - 1) * within.sum() / expected)
