"""Probabilities of the verdict, summed over every way in which it can be written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from safebench.engine.cut import Cut
from safebench.evidence import VerdictTree
from safebench.judgements import Judgements

from .points import label_point, level_point
from .reading import INVALID, Columns, entropy, reasons, silent, without

if TYPE_CHECKING:
    from safebench.evidence.bundle import Bundle
    from safebench.judgements import Context

    Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalAnyOptions:
    """Where between its bounds a probability is put, and what counts as positive.

    `point`: the lower bound, the middle, the resolved mass renormalised, or the lower
    bound and what random draws add to it (trees recorded with ``mc_samples``).
    `positive` names the positive levels (default: the grammar's).
    """

    point: Literal["lower", "mid", "renorm", "mc"] = "lower"
    positive: tuple[str, ...] = ()


def judge(evidence: Bundle, context: Context) -> Judgements:
    """Score P(a positive level is read); category l: P(label l is in the verdict).

    Both with bounds, exact up to what the tree left out. Uncertainty is the binary
    entropy of the score, in nats. A guard that more likely than not writes no verdict
    at all has no score: error ``invalid``.
    """
    options = context.options or MarginalAnyOptions()
    tree = evidence[VerdictTree]
    cut = tree.once(Cut)
    grammar = cut.table.grammar
    positive = grammar.positives(context.task, options.positive)
    failed = silent(cut)
    level, label = cut.level_bounds(positive), cut.label_bounds
    score = without(level_point(cut, positive, options.point), failed)
    columns = Columns(grammar, context.policy)
    return Judgements(
        size=len(tree),
        score=score,
        lower=without(level.lower, failed),
        upper=without(level.upper, failed),
        labels=columns.names,
        categories=columns.place(without(label_point(cut, options.point), failed)),
        category_lower=columns.place(without(label.lower, failed)),
        category_upper=columns.place(without(label.upper, failed)),
        uncertainty=binary_entropy(score),
        errors=reasons((failed, INVALID)),
    )


def binary_entropy(p: Floats) -> Floats:
    """Return the entropy (nats) of a yes with probability p; 0 at 0 and 1."""
    return entropy(np.stack([p, 1.0 - p], axis=-1))
