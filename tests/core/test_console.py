"""Rich output looks the same whatever the terminal of the process is."""

from __future__ import annotations

from rich.table import Table

from safebench.console import RenderOptions, render_rich


def test_names_are_not_read_as_markup() -> None:
    """Brackets and emoji codes of a model's name are drawn as they are."""
    text = render_rich(["[bold]guard[/bold] :smiley:"], RenderOptions(width=60))

    assert "[bold]guard[/bold] :smiley:" == text


def test_a_pipe_gets_no_escape_sequence() -> None:
    """Without styles nothing is coloured, and lines end without spaces."""
    table = Table("name")
    table.add_row("guard", style="red")

    text = render_rich([table], RenderOptions(width=60, styles=False))

    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_the_encoding_decides_whether_lines_are_drawn() -> None:
    """An ASCII terminal gets a table of dashes."""
    table = Table("name")
    table.add_row("guard")

    ascii_text = render_rich([table], RenderOptions(width=60, encoding="ascii"))

    assert ascii_text.isascii()
    assert not render_rich([table], RenderOptions(width=60)).isascii()
