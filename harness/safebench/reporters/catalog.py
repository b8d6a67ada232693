"""The output formats of the core."""

from __future__ import annotations

from safebench.specs import ReporterSpec

SPECS: list[ReporterSpec] = [
    ReporterSpec(
        name="table",
        load="safebench.reporters.terminal:render_terminal",
        summary="for terminals from 80 columns; best of each dataset in bold",
    ),
    ReporterSpec(
        name="md",
        load="safebench.reporters.formats:render_markdown",
        summary="a Markdown table with footnotes",
        aliases=("markdown",),
    ),
    ReporterSpec(
        name="csv",
        load="safebench.reporters.formats:render_csv",
        summary="comma-separated values, unrounded",
    ),
    ReporterSpec(
        name="latex",
        load="safebench.reporters.formats:render_latex",
        summary="a tabular that needs the package booktabs",
        aliases=("tex",),
    ),
    ReporterSpec(
        name="json",
        load="safebench.reporters.formats:render_json",
        summary="one object a line of the table, unrounded, with every n",
    ),
]
