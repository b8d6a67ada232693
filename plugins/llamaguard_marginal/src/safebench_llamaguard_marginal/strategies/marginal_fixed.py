"""Probabilities of the k-th label of a verdict, however it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from safebench.engine.cut import Cut
from safebench.engine.places import Places
from safebench.evidence import VerdictTree
from safebench.judgements import Judgements

from .points import level_point, place_point
from .reading import INVALID, Columns, entropy, reasons, silent, with_none, without

if TYPE_CHECKING:
    from safebench.evidence.bundle import Bundle
    from safebench.judgements import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalFixedOptions:
    """`k` is the place in the list of labels, 1 the first.

    `point` and `positive` are those of `marginal_any`; ``mc`` is for k = 1, the one
    label whose place draws record.
    """

    k: int = 1
    point: Literal["lower", "mid", "renorm", "mc"] = "lower"
    positive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k is {self.k}, not 1 or more")


def judge(evidence: Bundle, context: Context) -> Judgements:
    """Score P(a positive level is read); category l: P(label number k is l).

    Both with bounds, exact up to what the tree left out. Uncertainty is the entropy
    (nats) of label number k, none included.
    """
    options = context.options or MarginalFixedOptions()
    cut = evidence[VerdictTree].once(Cut)
    grammar = cut.table.grammar
    positive = grammar.positives(context.task, options.positive)
    failed = silent(cut)
    places = Places(cut, options.k)
    level, label = cut.level_bounds(positive), places.bounds
    point = without(place_point(places, options.point), failed)
    columns = Columns(grammar, context.policy)
    return Judgements(
        size=len(failed),
        score=without(level_point(cut, positive, options.point), failed),
        lower=without(level.lower, failed),
        upper=without(level.upper, failed),
        labels=columns.names,
        categories=columns.place(point),
        category_lower=columns.place(without(label.lower, failed)),
        category_upper=columns.place(without(label.upper, failed)),
        uncertainty=entropy(with_none(point)),
        errors=reasons((failed, INVALID)),
    )
