"""Parse a table of separated values with a header into rows, whatever the separator."""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, OptionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .request import LoadReport
    from .row_errors import RowErrors

    RawRow = tuple[str, dict[str, Any]]

# A comma ends an option on the command line: the words can be typed without quotes.
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
AUTO = "auto"
# The line that Excel reads, and writes, to say which separator follows.
DIRECTIVE = re.compile(r'"?sep=([^\w\s"]|\t)"?[ ;,\t]*\r?\n', re.IGNORECASE)


def parse_separator(text: str) -> str:
    """Return the separator that ``sep=`` names, "" for auto.

    Raises `OptionError` for what can be no separator.
    """
    if text == AUTO:
        return ""
    if text in SEPARATORS:
        return SEPARATORS[text]
    separator = "\t" if text == "\\t" else text
    if len(separator) != 1 or separator.isalnum() or separator in "\"'\r\n ":
        raise OptionError(
            f"sep={text}: expected one character, or {', '.join(SEPARATORS)}"
            f"{did_you_mean(text, SEPARATORS)}"
        )
    return separator


def csv_rows(
    data: bytes,
    name: str,
    errors: RowErrors,
    *,
    separator: str,
    columns: Collection[str],
    report: LoadReport,
) -> Iterator[RawRow]:
    """Yield (where, row) of each record; `where` has the line on which it starts.

    Without a `separator`, the one under which the header has most of `columns` is
    taken; another than the file's suffix promises is noted in `report`. Raises
    `DataError` where the rest of the file cannot be trusted: not UTF-8, broken quotes,
    two columns of one name.
    """
    text, first_line = _text(data, name), 1
    if directive := DIRECTIVE.match(text):
        text, first_line = text[directive.end() :], 2
        separator = separator or directive[1]
    if not separator:
        usual = "\t" if ".tsv" in name.casefold() else ","
        separator = _detect(text, columns, usual)
        if separator != usual:
            word = next(w for w, char in SEPARATORS.items() if char == separator)
            report.notes.append(
                f"{name}: read with the separator {word} (sep=NAME says another)"
            )
    csv.field_size_limit(sys.maxsize)  # the default of 131,072 is short for a prompt
    records = csv.reader(
        io.StringIO(text, newline=""), strict=True, delimiter=separator
    )
    header: list[str] = []
    start = first_line
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{name}:{start}: not CSV ({error})") from None
        # A quoted field may span lines: the next record starts after the last one read.
        where, start = f"{name}:{start}", records.line_num + first_line
        if not header:
            header = [column.strip() for column in record]
            _refuse_repeated_columns(header, where)
        elif record and len(record) != len(header):
            counts = f"{len(record)} fields, the header has {len(header)}"
            errors.add(where, counts)
        elif record:
            yield where, dict(zip(header, record, strict=True))


def _text(data: bytes, name: str) -> str:
    """Decode UTF-8, or UTF-16 with its mark, which is what Excel calls Unicode text."""
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}:{line}: not UTF-8: save it as UTF-8") from None


def _detect(text: str, columns: Collection[str], usual: str) -> str:
    """Return the separator under which the header makes most sense."""

    def sense(separator: str) -> tuple[int, bool, bool]:
        header = _header(text, separator)
        named = sum(column in columns for column in header)
        # A header with one field is no table, unless nothing else fits either.
        return named, len(header) > 1, separator == usual

    return max(SEPARATORS.values(), key=sense)


def _header(text: str, separator: str) -> list[str]:
    lines = io.StringIO(text, newline="")
    try:
        records = csv.reader(lines, strict=True, delimiter=separator)
        record = next((record for record in records if record), [])
    except csv.Error:
        return []
    return [column.strip() for column in record]


def _refuse_repeated_columns(header: list[str], where: str) -> None:
    for column in header:
        if header.count(column) > 1:
            raise DataError(f"{where}: column {column!r} occurs twice")
