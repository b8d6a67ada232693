"""Where the members of an ensemble part, and what all of them get wrong alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .slices import cuts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .predictions import Predictions
    from .wanted import Wanted

    Array = np.ndarray[Any, np.dtype[Any]]

LEAST = 10  # samples of a slice: shares of fewer say little
_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A slice of n samples, by how much M members differ on it.

    `differ` is the mean over pairs of members, `accuracy` that of the majority (a tie
    is half right), `against` (M,) the share on which each is against the majority.
    """

    column: str
    value: str
    n: int
    differ: float
    accuracy: float
    against: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Voted:
    """One sample: which members (by place, from 0) call it positive; text if asked for.

    `mean` and `spread` are those of the members' probabilities.
    """

    id: str
    label: bool
    yes: tuple[int, ...]
    mean: float
    spread: float
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dissent:
    """M members against their majority; with a tie nobody is against it.

    `against` (M,) counts samples, `then_right` (M,) those of them on which the member
    is right. `errors` are wrong majorities (ties are none), `unanimous` those of them
    that all members share: no disagreement can find these. `places` come by how much
    members differ, `alike` are unanimous errors by how sure they are, `split` the
    samples on which votes are most even.
    """

    against: Array
    then_right: Array
    errors: int
    unanimous: int
    places: tuple[Where, ...]
    alike: tuple[Voted, ...]
    split: tuple[Voted, ...]


def dissent(predictions: Predictions, p: Array, rows: Array, wanted: Wanted) -> Dissent:
    """Return how members with P(positive) `p` (k, M) part on samples `rows` (k,)."""
    votes, y = p > _HALF, predictions.y[rows]
    share = votes.mean(axis=1)
    tie, majority = share == _HALF, share > _HALF
    against = (votes != majority[:, None]) & ~tie[:, None]
    wrong = (majority != y) & ~tie
    one_voice = (share == 0) | (share == 1)
    sure = np.abs(p.mean(axis=1) - _HALF)
    alike = _first(wrong & one_voice, (-sure,), wanted.top)
    split = _first(~one_voice, (-p.std(axis=1), np.abs(share - _HALF)), wanted.top)
    shown = [
        tuple(
            _voted(predictions, int(rows[at]), p[at], text=wanted.text) for at in order
        )
        for order in (alike, split)
    ]
    return Dissent(
        against=against.sum(axis=0),
        then_right=(against & (votes == y[:, None])).sum(axis=0),
        errors=int(wrong.sum()),
        unanimous=int((wrong & one_voice).sum()),
        places=tuple(_places(predictions, rows, votes, against, wanted.columns)),
        alike=shown[0],
        split=shown[1],
    )


def _first(chosen: Array, keys: tuple[Array, ...], top: int) -> Array:
    """Return the first places of those chosen, by the last key, ties by the others."""
    order = np.lexsort(keys)
    found: Array = order[chosen[order]][:top]
    return found


def _voted(predictions: Predictions, row: int, p: Array, *, text: bool) -> Voted:
    fact = predictions.facts[row] if predictions.facts else None
    return Voted(
        id=predictions.ids[row],
        label=bool(predictions.y[row]),
        yes=tuple(np.flatnonzero(p > _HALF).tolist()),
        mean=float(p.mean()),
        spread=float(p.std()),
        text=fact.text if text and fact else None,
    )


def _places(
    predictions: Predictions,
    rows: Array,
    votes: Array,
    against: Array,
    columns: Sequence[str],
) -> list[Where]:
    """Return slices of at least `LEAST` samples, the most divided first."""
    members = votes.shape[1]
    yes = votes.sum(axis=1)
    differ = yes * (members - yes) / (members * (members - 1) / 2)  # (k,)
    share = yes / members
    right = np.where(share == _HALF, _HALF, (share > _HALF) == predictions.y[rows])
    found = []
    for cut in cuts(predictions, columns):
        parts = {name: part[rows] for name, part in cut.parts.items()}
        found += [
            Where(
                column=cut.column,
                value=name,
                n=int(part.sum()),
                differ=float(differ[part].mean()),
                accuracy=float(right[part].mean()),
                against=against[part].mean(axis=0),
            )
            for name, part in parts.items()
            if part.sum() >= LEAST and not part.all()
        ]
    return sorted(found, key=lambda where: -where.differ)
