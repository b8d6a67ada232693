"""Records of a CSV file: lines, widths, quotes and cells."""

from __future__ import annotations

import csv
import hashlib
import io
import tracemalloc
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from safebench.datasets.csv_rows import CsvRows
from safebench.datasets.request import LoadReport
from safebench.datasets.row_errors import RowErrors
from safebench.errors import DataError

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


def read(data: bytes, errors: RowErrors, separator: str = "") -> CsvRows:
    """Return the rows of bytes, as of a file that is opened again each time."""
    return CsvRows(
        lambda: nullcontext(io.BytesIO(data)),
        "set.csv",
        errors,
        separator=separator,
        columns={"prompt", "label"},
        report=LoadReport(),
    )


ODD = 'prompt,label\r\n"ä,\u2028 ""x""\r\ny",1\r\nplain,0\r\n'


@pytest.mark.parametrize(
    "data",
    [
        ODD.encode(),
        ODD.encode("utf-8-sig"),
        ODD.encode("utf-16"),
        ODD.replace("\r\n", "\r").encode(),
        ODD.replace("\r\n", "\n").encode(),
        b"prompt,label",
        b"",
    ],
    ids=["crlf", "mark", "utf16", "cr", "lf", "header", "nothing"],
)
def test_rows_are_those_of_the_whole_text(data: bytes) -> None:
    """Against Python's reader of all of it; a second time as the first."""
    text = data.decode("utf-16" if data[:2] == b"\xff\xfe" else "utf-8-sig")
    records = [*csv.reader(io.StringIO(text, newline=""), strict=True)] or [[]]
    expected = [dict(zip(records[0], r, strict=True)) for r in records[1:]]
    rows = read(data, RowErrors("set.csv", skip=False))

    for _ in range(2):
        assert expected == [row for _, row in rows]
    assert hashlib.sha256(data).hexdigest() == rows.sha256


def test_bad_rows_are_named_once() -> None:
    """The rows are gone through twice, and are wrong once."""
    errors = RowErrors("set.csv", skip=True)
    rows = read(b"sep=;\nprompt;label\na;1;2\nb;0\n", errors)

    assert [("set.csv:4", {"prompt": "b", "label": "0"})] == [*rows] == [*rows]
    assert [("set.csv:3", "3 fields, the header has 2")] == errors.errors


@pytest.mark.parametrize("row", [2, 1000, 20_000])
def test_a_byte_that_is_no_utf8_is_found_wherever_it_is(row: int) -> None:
    """Far behind what is read at once, too."""
    lines = [
        b"prompt,label",
        *(b"a prompt of some length %d,0" % i for i in range(20_000)),
    ]
    lines[row - 1] = b"caf\xe9,0"

    with pytest.raises(DataError, match=rf"set\.csv:{row}: not UTF-8"):
        list(read(b"\n".join(lines), RowErrors("set.csv", skip=False)))


def test_a_large_file_is_not_held() -> None:
    """While its rows are gone through: a part of it is, whatever its size."""
    data = b"prompt,label\n" + b"%s,0\n" % (b"x" * 1000) * 4000
    rows = read(data, RowErrors("set.csv", skip=False))
    tracemalloc.start()
    n = sum(1 for _ in rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert 4000 == n
    assert peak < len(data) / 4
