"""Helpers of strategies on verdict trees: errors, missing values, entropies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safebench.strategies import Judgements, first_reason
from safebench.verdict_tree import ENDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array, Floats
    from safebench.verdict_tree import CanonicalTokenizations, TreeBounds

INVALID = "invalid"  # no level was read
TRUNCATED = "truncated"  # the token budget ended before a level was read
NO_OPENER = "n/a: the greedy verdict does not start as the grammar does"
LENIENT_GRAMMAR = "n/a: a lenient grammar has no canonical spellings"
NOT_RECORDED = "n/a: canonical spellings were not recorded"
INVALID_ABOVE = 0.5  # P(no verdict) above which a sample has no score


@dataclass(frozen=True, slots=True, kw_only=True)
class PositiveOptions:
    """`positive` names the levels that count as positive (default: the grammar's)."""

    positive: tuple[str, ...] = ()


def nan_where(values: Array, failed: Array) -> Floats:
    """Return values (B, ...) with NaN where a sample has no judgement."""
    kept = values.astype(np.float64)
    kept[failed] = np.nan
    return kept


def mostly_invalid(bounds: TreeBounds) -> Array:
    """Tell of each sample whether a verdict without a level is the likelier, (B,)."""
    mask: Array = bounds.invalid_bounds.lower > INVALID_ABOVE
    return mask


def greedy_errors(bounds: TreeBounds) -> list[str | None]:
    """Say why the greedy verdict has no level: text off the grammar, or no room."""
    without_level = bounds.tree["level"][bounds.greedy_end] < 0
    ended = bounds.tree["status"][bounds.greedy_end] == ENDED
    return first_reason((without_level & ended, INVALID), (without_level, TRUNCATED))


def canonical_unavailable(
    tokenizations: CanonicalTokenizations, labels: Sequence[str] = ()
) -> Judgements | None:
    """Return judgements without values where no canonical spellings were recorded."""
    if tokenizations.recorded:
        return None
    size = len(tokenizations.tree)
    lenient = tokenizations.automaton.grammar.mode == "lenient"
    return Judgements(
        size=size,
        score=np.full(size, np.nan),
        labels=labels,
        categories=np.full((size, len(labels)), np.nan) if labels else None,
        uncertainty=np.full(size, np.nan),
        errors=[LENIENT_GRAMMAR if lenient else NOT_RECORDED] * size,
    )


def entropy(p: Floats) -> Floats:
    """Return the entropy (nats) of distributions p (..., C); NaN where any is."""
    p = np.clip(p, 0.0, 1.0)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    nats: Floats = -(p * logs).sum(axis=-1)
    return nats + 0.0  # turns -0.0 into 0.0


def append_none(p: Floats) -> Floats:
    """Append to p (B, C) the probability of none of them.

    Estimates between bounds may exceed 1 together; then they are scaled to sum to 1.
    """
    total = p.sum(axis=1, keepdims=True)
    none = np.clip(1.0 - total, 0.0, None)
    distribution: Floats = np.hstack([p, none]) / np.maximum(total, 1.0)
    return distribution


def divide_or_nan(part: Floats, whole: Floats) -> Floats:
    """Divide, NaN where the whole is 0 or NaN."""
    undefined = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    ratio: Floats = np.divide(part, whole, out=undefined, where=whole > 0)
    return ratio
