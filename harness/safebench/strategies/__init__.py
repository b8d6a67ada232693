"""Strategies: from stored evidence to scores, decisions, categories and uncertainty.

`base` is what every strategy gets and returns, `columns` what several of them need to
build it, `score` the strategy that the core ships.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.lazy import lazy_exports

from .base import Context, Judgements

if TYPE_CHECKING:
    from .columns import LabelColumns, first_reason

__all__ = ["Context", "Judgements", "LabelColumns", "first_reason"]

__getattr__ = lazy_exports(
    __name__, {"LabelColumns": "columns", "first_reason": "columns"}
)
