"""Records of a CSV file: lines, widths, quotes and cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset

    Read = Callable[..., Dataset]
    Refused = Callable[..., str]
    Write = Callable[..., str]


def test_csv_lines_count_line_feeds_inside_a_field(
    refused: Refused, write: Write
) -> None:
    """A record is named by the line on which it starts."""
    path = write("prompt,label", '"two\nlines",0', "x,unsfae", name="set.csv")

    assert refused(path).startswith(f"{path}:4: unknown label 'unsfae'")


def test_csv_rows_of_another_width_are_bad(refused: Refused, write: Write) -> None:
    """An unquoted comma makes a field too many."""
    path = write("prompt,label", "a,b,0", name="set.csv")

    assert refused(path).startswith(f"{path}:2: 3 fields, the header has 2")


def test_csv_that_never_closes_a_quote_is_named(refused: Refused, write: Write) -> None:
    """The record with the open quote is named."""
    path = write("prompt,label", "x,0", '"open,1', name="set.csv")

    assert refused(path).startswith(f"{path}:3: not CSV")


def test_csv_cells(read: Read, write: Write) -> None:
    """Ids, groups, categories; an empty cell of an unsafe row means not annotated."""
    path = write(
        "id,prompt,label,categories,group",
        'a,x,unsafe,"S1,S3",g',
        "b,y,safe,,g",
        "c,z,unsafe,,",
        name="set.csv",
    )

    found = read(path)

    assert ["a", "b", "c"] == [sample.id for sample in found.samples]
    expected = [frozenset({"S1", "S3"}), frozenset(), None]
    assert expected == [gold.categories for gold in found.golds]
    assert ["g", "g"] == [sample.group for sample in found.samples[:2]]
