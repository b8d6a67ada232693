"""A row of numbers as a row of small bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BARS = " ▁▂▃▄▅▆▇█"
PLAIN = " .:-=+*#@"


def sparkline(values: Sequence[float], *, unicode: bool = True) -> str:
    """Return one bar a value, the largest full; what is above 0 never looks empty."""
    bars = BARS if unicode else PLAIN
    top = max(values, default=0)
    if top <= 0:
        return bars[0] * len(values)
    steps = len(bars) - 1
    return "".join(
        bars[max(1, round(value / top * steps))] if value > 0 else bars[0]
        for value in values
    )
