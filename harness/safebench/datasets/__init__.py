"""Labelled data: the catalog of public sets, and readers of files and hub sets.

``resolve_dataset("xstest", plugins)`` turns a name into a request, and `load_dataset`
turns a request into a `safebench.records.Dataset`: samples for classifiers and, kept
apart, the ground truth for metrics. A dataset function of a plugin gets the request and
yields `Example` records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.lazy import lazy_exports

if TYPE_CHECKING:
    from .loader import load_dataset
    from .request import DatasetRequest, Example, exchange
    from .resolve import resolve_dataset

__all__ = [
    "DatasetRequest",
    "Example",
    "exchange",
    "load_dataset",
    "resolve_dataset",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "load_dataset": "loader",
        "DatasetRequest": "request",
        "Example": "request",
        "exchange": "request",
        "resolve_dataset": "resolve",
    },
)
