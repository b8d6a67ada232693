"""Who decides alike: members of one ensemble, or strategies and classifiers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]

_TWO = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two voters: how often they differ, and who is right where they do."""

    a: str
    b: str
    differ: float
    kappa: float | None
    a_right: int
    b_right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """K voters on the same n samples of a dataset.

    `differ` (K, K): share of samples on which two differ; `kappa` (K, K): Cohen's, NaN
    where neither could differ by chance; `fleiss`: kappa of all at once (Fleiss 1971),
    None likewise. `flagged`, `accuracy` (K,) of each voter.
    """

    title: str
    dataset: str
    names: tuple[str, ...]
    n: int
    differ: Array
    kappa: Array
    fleiss: float | None
    unanimous: float
    flagged: Array
    accuracy: Array
    pairs: tuple[Pair, ...]

    @property
    def mean_difference(self) -> float:
        """Mean over pairs of the share of samples on which they differ."""
        k = len(self.names)
        return float(self.differ.sum() / (k * (k - 1)))


def agreement(
    title: str, dataset: str, names: Sequence[str], votes: Array, y: Array
) -> Agreement:
    """Compare K >= 2 voters by their `votes` (n, K) bool on samples with truth (n,)."""
    n, k = votes.shape
    assert k >= _TWO, f"{k} voters cannot differ"
    cast = votes.astype(float)
    share = cast.mean(axis=0)
    differ = share[:, None] + share[None, :] - 2 * (cast.T @ cast) / n
    differ = np.where(differ > 1e-12, differ, 0.0)  # noqa: PLR2004 - rounding, no vote
    chance = share[:, None] * (1 - share) + (1 - share[:, None]) * share
    kappa = 1 - differ / np.where(chance > 0, chance, np.nan)
    together = votes.sum(axis=1)
    return Agreement(
        title=title,
        dataset=dataset,
        names=tuple(names),
        n=n,
        differ=differ,
        kappa=kappa,
        fleiss=fleiss_kappa(votes),
        unanimous=float(((together == 0) | (together == k)).mean()),
        flagged=share,
        accuracy=(votes == y[:, None]).mean(axis=0),
        pairs=_pairs(names, votes, y, differ, kappa),
    )


def fleiss_kappa(votes: Array) -> float | None:
    """Return agreement beyond chance of K raters with two classes, votes (n, K) bool.

    None if all votes are the same: there is no disagreement that chance could explain.
    """
    k = votes.shape[1]
    yes = votes.sum(axis=1)
    alike = (yes * (yes - 1) + (k - yes) * (k - yes - 1)) / (k * (k - 1))
    share = votes.mean()
    chance = share**2 + (1 - share) ** 2
    return float((alike.mean() - chance) / (1 - chance)) if 0 < share < 1 else None


def _pairs(
    names: Sequence[str], votes: Array, y: Array, differ: Array, kappa: Array
) -> tuple[Pair, ...]:
    """Return all pairs, those that differ most first."""
    right = votes == y[:, None]
    only = right.T.astype(np.int64) @ ~right  # (a, b): a right where b is wrong
    found = [
        Pair(
            a=names[i],
            b=names[j],
            differ=float(differ[i, j]),
            kappa=None if np.isnan(kappa[i, j]) else float(kappa[i, j]),
            a_right=int(only[i, j]),
            b_right=int(only[j, i]),
        )
        for i, j in combinations(range(len(names)), 2)
    ]
    return tuple(sorted(found, key=lambda pair: -pair.differ))


def among_decisions(found: Sequence[Predictions]) -> tuple[list[Agreement], list[str]]:
    """Compare everything that decided on the same dataset, one agreement a dataset.

    Over the samples that all of them judged. What decides alike on every sample is one
    voter; the notes name what was merged.
    """
    by_dataset: dict[tuple[str, str], list[Predictions]] = {}
    for predictions in found:
        key = (predictions.dataset, predictions.task)
        if predictions.judged.any():
            by_dataset.setdefault(key, []).append(predictions)
    agreements, notes = [], []
    for several in by_dataset.values():
        if len(several) < _TWO:
            continue
        names, votes, y = _votes(several)
        alike = _alike(names, votes)
        dataset = several[0].dataset
        notes += [
            f"decide alike on {dataset}: {', '.join(names)}"
            for names in alike.values()
            if len(names) > 1
        ]
        if len(alike) >= _TWO:
            kept = votes[:, list(alike)]
            merged = [_merged(names) for names in alike.values()]
            agreements.append(agreement("decisions", dataset, merged, kept, y))
    return agreements, notes


def _votes(found: Sequence[Predictions]) -> tuple[list[str], Array, Array]:
    """Return names (K), decisions (n, K) and truth (n,) where all of them decided."""
    places = [
        {each.ids[row]: int(row) for row in np.flatnonzero(each.judged)}
        for each in found
    ]
    shared = [id_ for id_ in places[0] if all(id_ in rows for rows in places[1:])]
    rows = [np.array([each[i] for i in shared], dtype=int) for each in places]
    columns = [
        each.decision[row].astype(bool) for each, row in zip(found, rows, strict=True)
    ]
    one = len({each.classifier for each in found}) == 1
    names = [
        each.strategy if one else f"{each.classifier}/{each.strategy}" for each in found
    ]
    return names, np.stack(columns, axis=1), found[0].y[rows[0]]


def _alike(names: Sequence[str], votes: Array) -> dict[int, list[str]]:
    """Return, by the first column of each kind, the names of equal columns."""
    first: dict[bytes, int] = {}
    found: dict[int, list[str]] = {}
    for place, name in enumerate(names):
        column = votes[:, place].tobytes()
        found.setdefault(first.setdefault(column, place), []).append(name)
    return found if len(votes) else {}


def _merged(names: Sequence[str]) -> str:
    more = len(names) - 1
    return f"{names[0]} and {more} alike" if more else names[0]
