"""Which uncertainty finds the errors of the same decisions best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .intervals import area, area_difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .analyse import Combination
    from .doubt import Doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """One strategy: its error AUROC, and that minus the best one's with 95 % interval.

    `own` tells whether the uncertainty is the strategy's own. The best has no interval.
    """

    strategy: str
    own: bool
    auroc: float
    difference: float = 0.0
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Uncertainties about the same n decisions, `errors` of them wrong, best first."""

    classifier: str
    dataset: str
    n: int
    errors: int
    rivals: tuple[Rival, ...]


def contests(combinations: Sequence[Combination]) -> Iterator[Contest]:
    """Yield a contest for each set of decisions that several strategies doubt."""
    same: dict[tuple[object, ...], list[tuple[Combination, Doubt]]] = {}
    for each in combinations:
        found = each.predictions
        if each.doubt is None or each.detection is None:
            continue
        if each.detection.auroc is None:
            continue
        rows, wrong = each.doubt.rows, found.wrong
        key = (found.classifier, found.dataset, rows.tobytes(), wrong.tobytes())
        same.setdefault(key, []).append((each, each.doubt))
    for several in same.values():
        if len(several) > 1:
            yield _contest(several)


def _contest(several: Sequence[tuple[Combination, Doubt]]) -> Contest:
    first, doubt = several[0]
    found, rows = first.predictions, doubt.rows
    wrong = found.wrong[rows]
    groups = [found.groups[row] for row in rows]
    ranked = sorted(
        ((area(wrong, doubt.values), each, doubt) for each, doubt in several),
        key=lambda one: -one[0],
    )
    best = ranked[0][2]
    rivals = []
    for place, (auroc, each, doubt) in enumerate(ranked):
        known = area_difference(wrong, best.values, doubt.values, groups)
        gap, low, high = known or (auroc - ranked[0][0], None, None)
        rivals.append(
            Rival(
                strategy=each.predictions.strategy,
                own=doubt.own,
                auroc=auroc,
                difference=gap,
                low=low if place else None,
                high=high if place else None,
            )
        )
    return Contest(
        classifier=found.classifier,
        dataset=found.dataset,
        n=len(rows),
        errors=int(wrong.sum()),
        rivals=tuple(rivals),
    )
