"""What strategies on verdict trees share: label columns, errors, entropies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.engine.forest import ENDED
from safebench.judgements import Judgements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.engine.cut import Cut
    from safebench.engine.grammar import Grammar
    from safebench.engine.spellings import Spellings
    from safebench.policies import Policy

    Array = np.ndarray[Any, np.dtype[Any]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]

INVALID = "invalid"  # no level was read
TRUNCATED = "truncated"  # the token budget ended before a level was read
NO_OPENER = "n/a: the greedy verdict does not start as the grammar does"
LENIENT = "n/a: a lenient grammar has no canonical spellings"
UNFORCED = "n/a: canonical spellings were not recorded"
MOSTLY = 0.5  # P(invalid) above which a guard has not answered


@dataclass(frozen=True, slots=True, kw_only=True)
class PositiveOptions:
    """`positive` names the levels that count as positive (default: the grammar's)."""

    positive: tuple[str, ...] = ()


class Columns:
    """Places a grammar's labels in a policy's code order.

    Codes of the policy that the guard cannot write are NaN. Without a policy, or with
    one that shares no code, the grammar's own order stays.
    """

    def __init__(self, grammar: Grammar, policy: Policy | None) -> None:
        own = grammar.columns
        shared = policy is not None and not set(own).isdisjoint(policy.codes)
        self.names: Sequence[str] = policy.codes if policy and shared else own
        if not own:
            self.names = ()
        self._from = [own.index(n) if n in own else len(own) for n in self.names]

    def place(self, values: Floats) -> Floats | None:
        """Reorder values (B, labels); None for a guard without labels."""
        if not self.names:
            return None
        unknown = np.full((len(values), 1), np.nan)
        placed: Floats = np.hstack([values, unknown])[:, self._from]
        return placed


def without(values: Array, failed: Array) -> Floats:
    """Return values (B, ...) with NaN where a sample has no judgement."""
    out = values.astype(np.float64)
    out[failed] = np.nan
    return out


def reasons(*causes: tuple[Array, str]) -> list[str | None]:
    """Return the first cause that holds for each sample, from (mask (B,), text)."""
    out: list[str | None] = [None] * len(causes[0][0])
    for holds, text in reversed(causes):
        for row in np.nonzero(holds)[0].tolist():
            out[row] = text
    return out


def silent(cut: Cut) -> Array:
    """Say of each sample whether more likely than not no level is read, (B,)."""
    out: Array = cut.invalid.lower > MOSTLY
    return out


def unread(cut: Cut) -> list[str | None]:
    """Say why the greedy verdict has no level: text off the grammar, or no room."""
    none = cut.tree["level"][cut.greedy] < 0
    ended = cut.tree["status"][cut.greedy] == ENDED
    return reasons((none & ended, INVALID), (none, TRUNCATED))


def unspelled(spellings: Spellings, labels: Sequence[str] = ()) -> Judgements | None:
    """Return judgements that say why there are no canonical spellings to read."""
    if spellings.recorded:
        return None
    size = len(spellings.tree)
    lenient = spellings.table.grammar.mode == "lenient"
    return Judgements(
        size=size,
        score=np.full(size, np.nan),
        labels=labels,
        categories=np.full((size, len(labels)), np.nan) if labels else None,
        uncertainty=np.full(size, np.nan),
        errors=[LENIENT if lenient else UNFORCED] * size,
    )


def entropy(p: Floats) -> Floats:
    """Return the entropy (nats) of distributions p (..., C); NaN where any is."""
    p = np.clip(p, 0.0, 1.0)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    found: Floats = -(p * logs).sum(axis=-1)
    return found + 0.0  # no -0


def with_none(p: Floats) -> Floats:
    """Append to p (B, C) the probability of none of them.

    Where points between bounds exceed 1 together, they are scaled to sum to 1.
    """
    total = p.sum(axis=1, keepdims=True)
    none = np.clip(1.0 - total, 0.0, None)
    whole: Floats = np.hstack([p, none]) / np.maximum(total, 1.0)
    return whole


def share(part: Floats, whole: Floats) -> Floats:
    """Divide, NaN where the whole is 0 or NaN."""
    nothing = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    out: Floats = np.divide(part, whole, out=nothing, where=whole > 0)
    return out
