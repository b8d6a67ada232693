"""Entropy over the outcomes of a verdict: its level and set of labels, however spelled.

The semantic entropy of a guard: verdicts that mean the same count as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safebench.evidence import VerdictTree
from safebench.verdict_tree import TreeBounds

from .marginal import MarginalAnyOptions, marginal_scores

if TYPE_CHECKING:
    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context, Judgements
    from safebench.typing import Array, Floats
    from safebench.verdict_tree import Grammar


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictEntropyOptions(MarginalAnyOptions):
    """Score and categories are those of `marginal_any`, and so are its options."""


class VerdictOutcomes(NamedTuple):
    """The outcomes of all samples, each once, as arrays (Q,).

    `level` is -1 where none was read; `labels` are bits; `mass` is resolved mass.
    """

    sample: Array
    level: Array
    labels: Array
    mass: Array


class EntropyBounds(NamedTuple):
    """The entropy of a sample's verdicts in nats, with bounds, (B,) each."""

    value: Floats
    lower: Floats
    upper: Floats


def verdict_entropy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Uncertainty is the entropy of the outcomes (level, set of labels), in nats.

    Verdicts without a level are one outcome, the mass that was left open another; its
    bounds put that mass on the likeliest outcome, or spread it over all verdicts. Score
    and categories as `marginal_any`.
    """
    options = context.options or VerdictEntropyOptions()
    nats = outcome_entropy(evidence[VerdictTree].cached(TreeBounds))
    return marginal_scores(evidence, context, options).judge(
        context,
        uncertainty=nats.value,
        uncertainty_lower=nats.lower,
        uncertainty_upper=nats.upper,
    )


def verdict_outcomes(bounds: TreeBounds) -> VerdictOutcomes:
    """Sum the resolved mass of a batch by sample, level and set of labels."""
    leaves = bounds.partition
    closed = np.nonzero(~leaves.open)[0]
    level = leaves.level[closed].astype(np.int64)
    labels = np.where(level < 0, np.uint64(0), leaves.labels[closed])
    # Sample and level as one number; labels, 64 bits, are the second sort key.
    n_levels = len(bounds.automaton.grammar.levels)
    group = leaves.sample[closed] * (n_levels + 1) + level + 1
    order = np.lexsort((labels, group))
    group, labels = group[order], labels[order]
    starts = np.ones(len(order), dtype=bool)  # of a run of equal outcomes
    starts[1:] = (group[1:] != group[:-1]) | (labels[1:] != labels[:-1])
    outcome = np.cumsum(starts) - 1
    return VerdictOutcomes(
        sample=leaves.sample[closed][order][starts],
        level=level[order][starts],
        labels=labels[starts],
        mass=np.bincount(outcome, leaves.mass[closed][order], starts.sum()),
    )


def outcome_entropy(bounds: TreeBounds) -> EntropyBounds:
    """Return the entropy of each sample's outcomes.

    The open mass is least uncertain if all of it belongs to the likeliest outcome, and
    most uncertain if it is spread evenly over every outcome there is.
    """
    outcomes, size = verdict_outcomes(bounds), len(bounds.tree)
    open_mass = bounds.open_mass
    resolved = np.bincount(outcomes.sample, _entropy_terms(outcomes.mass), size)
    largest = np.zeros(size)
    np.maximum.at(largest, outcomes.sample, outcomes.mass)
    value = resolved + _entropy_terms(open_mass)
    lower = resolved - _entropy_terms(largest) + _entropy_terms(largest + open_mass)
    upper = value + open_mass * np.log(_count_outcomes(bounds.automaton.grammar))
    return EntropyBounds(value, np.maximum(lower, 0.0), upper)


def _entropy_terms(p: Floats) -> Floats:
    """Return -p log p, 0 at 0."""
    logs = np.log(p, out=np.zeros(p.shape), where=p > 0)
    return 0.0 - p * logs


def _count_outcomes(grammar: Grammar) -> float:
    """Count the outcomes: verdicts, no level, and no end within the budget."""
    sets = 2.0 ** len(grammar.labels)
    in_lines = 2.0 ** (len(grammar.all_labels) - len(grammar.labels))
    of_levels = sum(sets if level.takes_labels else 1.0 for level in grammar.levels)
    return 2.0 + of_levels * in_lines
