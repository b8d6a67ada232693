"""Columns of a table where a terminal has no room for all."""

from __future__ import annotations

import pytest

from safebench.analysis.text_table import TextTable, to_terminal
from safebench.console import RenderOptions

TABLE = TextTable(
    title="title",
    headers=("name", "n", "acc", "auroc", "aurc", "ece"),
    rows=(("a_name_of_twenty_cell", "108", "0.5", "0.7", "0.0123", "0.25"),),
    expendable=("ece", "n", "acc"),
)


@pytest.mark.parametrize(
    ("width", "headers"),
    [
        (60, ["name", "n", "acc", "auroc", "aurc", "ece"]),
        (46, ["name", "n", "acc", "auroc", "aurc"]),
        (40, ["name", "acc", "auroc", "aurc"]),
        (36, ["name", "auroc", "aurc"]),
        (27, ["name", "auroc", "aurc"]),  # the name is folded instead
        (22, ["name", "auroc"]),
    ],
)
def test_expendable_columns_leave_first(width: int, headers: list[str]) -> None:
    """In their order; then names fold, and at last columns leave from the right."""
    lines = to_terminal([TABLE], RenderOptions(width=width)).split("\n")
    dropped = [name for name in TABLE.headers if name not in headers]

    assert headers == lines[1].split()
    assert max(map(len, lines)) <= width
    note = " ".join(lines)
    for name in dropped:
        assert name in note.partition("no room for")[2]
