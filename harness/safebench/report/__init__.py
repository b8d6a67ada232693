"""Reports: what the pages of `serve` show of runs, in one file.

An HTML page that needs no other file and no network, or tables for a paper.
"""

from __future__ import annotations

from .content import (
    ReportContent,
    ReportRequest,
    content_of_analysis,
    read_report,
    read_table,
)
from .page import render_page, write_page
from .paper import render_paper

__all__ = [
    "ReportContent",
    "ReportRequest",
    "content_of_analysis",
    "read_report",
    "read_table",
    "render_page",
    "render_paper",
    "write_page",
]
