"""Elements of HTML: text is escaped unless it was made here."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from safebench.sanitize import sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench.analysis.text_table import TextTable

_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_IDENTIFIER = re.compile(r"[^\w.-]+")
TEXT_COLUMN = "text"  # of single samples: shown only when it is opened


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: str | bool | None) -> Html:
    """Return an element; ``class_`` is the attribute class, None leaves one out.

    `content` that is no `Html` is text: it is escaped, and what hides or steers in it
    is spelt out.
    """
    pieces = [name]
    for key, value in attributes.items():
        written = key.rstrip("_").replace("_", "-")
        if value is True:
            pieces.append(written)
        elif isinstance(value, str):
            pieces.append(f'{written}="{escape(sanitize(value))}"')
    return Html(f"<{' '.join(pieces)}>{join(content)}</{name}>")


def join(content: Iterable[str]) -> Html:
    """Return pieces one after the other, those that are text escaped."""
    return Html(
        "".join(
            piece if isinstance(piece, Html) else escape(sanitize(piece), quote=False)
            for piece in content
        )
    )


def identifier(*parts: str) -> str:
    """Return the id of an element for names of any kind."""
    return "-".join(_NO_IDENTIFIER.sub("_", part) for part in parts)


def notes(lines: Iterable[str]) -> Html:
    """Return a list of remarks; nothing for none."""
    items = [tag("li", line) for line in lines]
    return tag("ul", *items, class_="notes") if items else Html()


def details(summary: str, *content: str, open_: bool = False, id_: str = "") -> Html:
    """Return a section that can be opened.

    The `id_` is that of what is inside: a link to it opens the section.
    """
    inside = tag("div", *content, id=id_ or None)
    return tag("details", tag("summary", summary), inside, open=open_)


def scrolling(label: str, table: Html) -> Html:
    """Return a table that scrolls alone where it is too wide, by the keyboard too."""
    return tag(
        "div", table, class_="scroll", role="region", tabindex="0", aria_label=label
    )


def text_table(table: TextTable, level: int) -> Html:
    """Return a table of text with its heading of a level (0: none) and its notes."""
    parts: list[str] = []
    if level:
        parts.append(tag(f"h{level}", table.title))
    if table.rows:
        head = [_cell("th", table, i, text) for i, text in enumerate(table.headers)]
        body = [
            tag("tr", *(_cell("td", table, i, text) for i, text in enumerate(row)))
            for row in table.rows
        ]
        parts.append(
            scrolling(
                table.title,
                tag(
                    "table",
                    tag("thead", tag("tr", *head)),
                    tag("tbody", *body),
                ),
            )
        )
    return join([*parts, notes(table.notes)])


def _cell(name: str, table: TextTable, position: int, text: str) -> Html:
    scope = "col" if name == "th" else None
    if position >= table.text_columns:
        return tag(name, text, class_="num", scope=scope)
    if name == "td" and table.headers[position] == TEXT_COLUMN:
        return tag(name, hidden_text(text), class_="text")
    # names read from the left, whatever script they are in
    return tag(name, tag("bdi", text), scope=scope)


def hidden_text(text: str) -> Html:
    """Return a text of others that is shown when it is opened."""
    if not text:
        return tag("span", "not at hand", class_="dim")
    return tag(
        "details",
        tag("summary", "Show"),
        tag("blockquote", text, dir="auto"),
        class_="sample",
    )


def writable(text: str) -> str:
    """Return text that UTF-8 can hold."""
    return _SURROGATE.sub("\ufffd", text)
