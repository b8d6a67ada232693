"""Charts of stored predictions as SVG: for reports and for the pages of `serve`.

Written here and not by matplotlib: a chart has 2 to 8 KB in place of 50, is drawn in
milliseconds by any thread, needs no package, and takes its colours from the page, which
may forbid styles inside of elements.
"""

from __future__ import annotations

from .cards import ChartCard, set_charts
from .curves import ChartEntry
from .distributions import member_spread_card, uncertainty_card
from .entries import chart_entries
from .svg import chart_css

__all__ = [
    "ChartCard",
    "ChartEntry",
    "chart_css",
    "chart_entries",
    "member_spread_card",
    "set_charts",
    "uncertainty_card",
]
