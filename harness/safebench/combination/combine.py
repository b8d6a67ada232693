"""A combination by any rule."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .fitting import find_band, stack
from .rules import by_decisions, cascade, largest, mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .rules import CombinationRule, Combined, HeldOut, Part


def combine(
    rule: CombinationRule, parts: Sequence[Part], held_out: HeldOut
) -> Combined:
    """Return what the parts give together; raises DataError where a rule cannot.

    Only what is fitted, and ranks, read the calibration part.
    """
    if rule.name in ("or", "and"):
        return by_decisions(parts, any_is_enough=rule.name == "or")
    if rule.name == "max":
        return largest(parts)
    if rule.name == "mean":
        return mean(parts, held_out)
    if rule.name == "stack":
        return stack(parts, held_out)
    if rule.budget is None:
        assert rule.low is not None
        assert rule.high is not None
        return cascade(parts, rule.low, rule.high)
    low, high, note = find_band(parts[0], parts[1], rule.budget, held_out)
    combined = cascade(parts, low, high)
    return replace(
        combined, notes=(note, *combined.notes), fitted={"low": low, "high": high}
    )
