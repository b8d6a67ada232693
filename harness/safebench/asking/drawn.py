"""An answer for people at a terminal: colours, bars, the verdict first."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from safebench.reporters.text import printable

from .plain import circumstances, facts
from .scale import place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from safebench.reporters.table import View

    from .answer import Answer, Share

BAR = 28  # cells
SHOWN = 0.005  # a category below this is only counted
STYLES = {True: "bold white on red", False: "bold white on green"}


def render(answer: Answer, where: str, view: View) -> str:
    """Return the answer with ANSI styles; nothing in it is read as markup."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=min(view.width or 80, 100),
        force_terminal=True,
        color_system="standard",
        no_color=not view.colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    console.print(Group(*_items(answer, where, fancy=view.unicode)))
    return "\n".join(line.rstrip() for line in file.getvalue().split("\n"))


def _items(answer: Answer, where: str, *, fancy: bool) -> Iterator[RenderableType]:
    head = Text()
    verdict = answer.verdict.upper() if answer.verdict else "NO VERDICT"
    style = "bold black on yellow" if answer.harmful is None else STYLES[answer.harmful]
    head.append(f" {verdict} ", style=style)
    if where:
        head.append(f"  {printable(where)}", style="dim")
    yield head
    if answer.score is not None:
        yield Padding(_scale(answer, fancy=fancy), (1, 0, 0, 0))
    yield Padding(_pairs([*facts(answer)], style=""), (1, 0, 0, 0))
    if answer.ranked:
        yield Padding(_categories(answer, fancy=fancy), (1, 0, 0, 0))
    yield Padding(_pairs([*circumstances(answer)], style="dim"), (1, 0, 0, 0))


def _scale(answer: Answer, *, fancy: bool) -> Text:
    """Draw the score between the words for its ends, the threshold marked."""
    assert answer.score is not None
    cells = [("─" if fancy else "-")] * BAR
    if answer.threshold is not None:
        cells[_cell(place(answer, answer.threshold))] = "┼" if fancy else "|"
    at = _cell(place(answer, answer.score))
    cells[at] = "●" if fancy else "o"
    text = Text(f"{answer.negative} ", style="dim")
    for index, cell in enumerate(cells):
        text.append(cell, style="bold" if index == at else "dim")
    return text.append(f" {answer.positive}", style="dim")


def _cell(position: float) -> int:
    return min(BAR - 1, int(position * BAR))


def _categories(answer: Answer, *, fancy: bool) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    likely = [s for s in answer.ranked if (s.score or 0) >= SHOWN or s.flagged]
    for share in likely:
        style = "bold red" if share.flagged else ""
        grid.add_row(
            Text(share.code, style=style),
            Text(printable(share.name), style=style),
            Text(f"{share.score or 0.0:.3f}", style=style, justify="right"),
            Text(_bar(share, fancy=fancy), style="red" if share.flagged else "dim"),
        )
    rest = len(answer.ranked) - len(likely)
    if rest:
        grid.add_row(Text(""), Text(f"{rest} below {SHOWN}", style="dim"))
    return grid


def _bar(share: Share, *, fancy: bool) -> str:
    length = round(min(1.0, max(0.0, share.score or 0.0)) * BAR)
    return ("━" if fancy else "=") * length


def _pairs(pairs: list[tuple[str, str]], style: str) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in pairs:
        grid.add_row(Text(name, style="dim"), Text(text, style=style))
    return grid
