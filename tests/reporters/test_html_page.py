"""The leaderboard as a page: every line, hostile names as text, nothing fetched."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from safebench.console import RenderOptions
from safebench.reporters.html_page import render_html
from safebench.reporters.leaderboard import build_leaderboard

if TYPE_CHECKING:
    from conftest import Rows

ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "h1", "div", "ul", "li"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "b", "small"),
}
VOID = {"meta"}


class Page(HTMLParser):
    """Collects cells, refuses other elements, and checks that all are closed."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert [] == self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep which elements are open."""
        assert tag in ALLOWED
        assert not {"src", "href"} & {name for name, _ in attrs}
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the last element, which must be this one."""
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """Keep the text of cells, and all text."""
        self.text += data
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += f" {data}" if "small" in self.open else data


def test_every_line_with_its_interval(rows: Rows) -> None:
    """Equal lines, too: only a terminal folds."""
    ends = {"ci_low": 0.8, "ci_high": 0.95, "ci_method": "wilson"}
    given = [
        *rows({"auroc": 0.9}, strategy="one", **ends),
        *rows({"auroc": 0.9}, strategy="two", **ends),
        *rows({"auroc": None}, strategy="none", note="no score"),
        *rows({"auroc": 0.5}, strategy="low"),
    ]
    page = Page(render_html(build_leaderboard(given, ci=True), RenderOptions()))

    assert [
        ["classifier", "model", "strategy", "auroc", "n", "failed"],
        ["guard", "org/guard", "one", "0.900* [0.800 0.950]", "8", "0"],
        ["guard", "org/guard", "two", "0.900* [0.800 0.950]", "8", "0"],
        ["guard", "org/guard", "low", "0.500", "8", "0"],
        ["guard", "org/guard", "none", "-", "8", "0"],
    ] == page.rows
    assert "auroc (none): no score" in page.text


@pytest.mark.parametrize(
    "field", ["classifier", "model", "strategy", "dataset", "note"]
)
def test_names_are_text(rows: Rows, field: str) -> None:
    """Elements, attributes and entities of a name are shown as they are."""
    hostile = "</td><script>alert(1)</script>\" onclick='x' &lt;b"
    table = build_leaderboard(rows({"auroc": 0.5}, **{field: hostile}))

    assert hostile in Page(render_html(table, RenderOptions())).text
