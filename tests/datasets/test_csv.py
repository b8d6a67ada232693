"""Records of a CSV file: lines, widths, quotes and cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    ErrorMessage = Callable[..., str]
    WriteFile = Callable[..., str]


def test_csv_lines_count_line_feeds_inside_a_field(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """A record is named by the line on which it starts."""
    path = write_file("prompt,label", '"two\nlines",0', "x,unsfae", name="set.csv")

    assert error_message(path).startswith(f"{path}:4: unknown label 'unsfae'")


def test_csv_rows_of_another_width_are_bad(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """An unquoted comma makes a field too many."""
    path = write_file("prompt,label", "a,b,0", name="set.csv")

    assert error_message(path).startswith(f"{path}:2: 3 fields, the header has 2")


def test_csv_that_never_closes_a_quote_is_named(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """The record with the open quote is named."""
    path = write_file("prompt,label", "x,0", '"open,1', name="set.csv")

    assert error_message(path).startswith(f"{path}:3: not CSV")


def test_csv_cells(load: Load, write_file: WriteFile) -> None:
    """Ids, groups, categories; an empty cell of an unsafe row means not annotated."""
    path = write_file(
        "id,prompt,label,categories,group",
        'a,x,unsafe,"S1,S3",g',
        "b,y,safe,,g",
        "c,z,unsafe,,",
        name="set.csv",
    )

    dataset = load(path)

    assert ["a", "b", "c"] == [sample.id for sample in dataset.samples]
    expected = [frozenset({"S1", "S3"}), frozenset(), None]
    assert expected == [truth.categories for truth in dataset.ground_truth]
    assert ["g", "g"] == [sample.group for sample in dataset.samples[:2]]
