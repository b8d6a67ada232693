"""The entropy of what the guard means: of verdicts, not of their spellings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from safebench.engine.cut import Cut
from safebench.evidence import VerdictTree
from safebench.judgements import Judgements

from .points import label_point, level_point
from .reading import INVALID, Columns, reasons, silent, without

if TYPE_CHECKING:
    from safebench.engine.grammar import Grammar
    from safebench.evidence.bundle import Bundle
    from safebench.judgements import Context

    Array = np.ndarray[Any, np.dtype[Any]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictEntropyOptions:
    """Score and categories are those of `marginal_any`, and so are its options."""

    point: Literal["lower", "mid", "renorm", "mc"] = "lower"
    positive: tuple[str, ...] = ()


class Outcomes(NamedTuple):
    """What verdicts say, once for each sample and reading, (Q,) arrays.

    `level` is -1 where none was read; `labels` are bits; `mass` is resolved mass.
    """

    sample: Array
    level: Array
    labels: Array
    mass: Array


class Entropy(NamedTuple):
    """The entropy of a sample's verdicts in nats, with bounds, (B,) each."""

    value: Floats
    lower: Floats
    upper: Floats


def judge(evidence: Bundle, context: Context) -> Judgements:
    """Uncertainty is the entropy of the outcomes (level, set of labels), in nats.

    Verdicts without a level are one outcome, the mass that was left open another; its
    bounds put that mass on the likeliest outcome, or spread it over all verdicts. Score
    and categories as `marginal_any`.
    """
    options = context.options or VerdictEntropyOptions()
    cut = evidence[VerdictTree].once(Cut)
    grammar = cut.table.grammar
    positive = grammar.positives(context.task, options.positive)
    failed = silent(cut)
    level = cut.level_bounds(positive)
    columns = Columns(grammar, context.policy)
    found = verdict_entropy(cut)
    return Judgements(
        size=len(failed),
        score=without(level_point(cut, positive, options.point), failed),
        lower=without(level.lower, failed),
        upper=without(level.upper, failed),
        labels=columns.names,
        categories=columns.place(without(label_point(cut, options.point), failed)),
        category_lower=columns.place(without(cut.label_bounds.lower, failed)),
        category_upper=columns.place(without(cut.label_bounds.upper, failed)),
        uncertainty=found.value,
        uncertainty_lower=found.lower,
        uncertainty_upper=found.upper,
        errors=reasons((failed, INVALID)),
    )


def outcomes(cut: Cut) -> Outcomes:
    """Sum the resolved mass of a batch by what the verdicts say."""
    said = cut.elements
    at = np.nonzero(~said.open)[0]
    level = said.level[at].astype(np.int64)
    labels = np.where(level < 0, np.uint64(0), said.labels[at])
    group = said.sample[at] * (len(cut.table.grammar.levels) + 1) + level + 1
    order = np.lexsort((labels, group))
    group, labels = group[order], labels[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (group[1:] != group[:-1]) | (labels[1:] != labels[:-1])
    mass = np.bincount(np.cumsum(new) - 1, said.mass[at][order], new.sum())
    return Outcomes(said.sample[at][order][new], level[order][new], labels[new], mass)


def verdict_entropy(cut: Cut) -> Entropy:
    """Return the entropy of each sample's outcomes."""
    found, gap, size = outcomes(cut), cut.gap, len(cut.tree)
    resolved = np.bincount(found.sample, _surprise(found.mass), size)
    largest = np.zeros(size)
    np.maximum.at(largest, found.sample, found.mass)
    value = resolved + _surprise(gap)
    lower = resolved - _surprise(largest) + _surprise(largest + gap)
    upper = value + gap * np.log(_count(cut.table.grammar))
    return Entropy(value, np.maximum(lower, 0.0), upper)


def _surprise(p: Floats) -> Floats:
    """Return -p log p, 0 at 0."""
    logs = np.log(p, out=np.zeros(p.shape), where=p > 0)
    return 0.0 - p * logs


def _count(grammar: Grammar) -> float:
    """Count the outcomes: verdicts, no level, and no end within the budget."""
    sets = 2.0 ** len(grammar.labels)
    return 2.0 + sum(sets if lv.takes_labels else 1.0 for lv in grammar.levels)
