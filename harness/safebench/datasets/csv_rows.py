"""Parse separated values: a header, and a row for each record after it.

A file is gone through each time that its rows are, so that a large one is never held.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
import sys
from contextlib import nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, OptionError, did_you_mean

from .row_errors import RowErrors
from .text_stream import decoded, utf8_or_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .request import LoadReport
    from .text_stream import Open

    RawRow = tuple[str, dict[str, Any]]

# A comma ends an option on the command line: the words can be typed without quotes.
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
AUTO = "auto"
# The line that Excel reads, and writes, to say which separator follows.
DIRECTIVE = re.compile(r'"?sep=([^\w\s"]|\t)"?[ ;,\t]*\r?\n', re.IGNORECASE)
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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


class CsvRows:
    """The rows of a file of separated values, as (where, row).

    `where` has the line on which a record starts. Without a `separator`, the one under
    which the header has most of `columns` is taken; another than the file's suffix
    promises is noted in `report`. `open_file` opens the file, unpacked. Bad rows are
    added to `errors` once. After the first time `sha256` is that of all bytes (hex).
    Raises `DataError` where the rest of the file cannot be trusted: not UTF-8, broken
    quotes, two columns of one name.
    """

    def __init__(
        self,
        open_file: Open,
        name: str,
        errors: RowErrors,
        *,
        separator: str,
        columns: Collection[str],
        report: LoadReport,
    ) -> None:
        self._open, self._name, self._errors = open_file, name, errors
        self._separator, self._columns, self._report = separator, columns, report
        self._encoding = ""
        self.sha256 = ""

    def __iter__(self) -> Iterator[RawRow]:
        if self.sha256:
            again = RowErrors(self._name, skip=True)  # known already
            return self._rows(again, None)
        return self._first_time()

    def _first_time(self) -> Iterator[RawRow]:
        digest = hashlib.sha256()
        self._look_at_the_head()
        yield from self._rows(self._errors, digest)
        self.sha256 = digest.hexdigest()

    def _rows(self, errors: RowErrors, digest: Any) -> Iterator[RawRow]:
        with utf8_or_error(self._open, self._name, self._encoding):
            first_line, lines = self._without_directive(digest)
            yield from self._records(first_line, lines, errors)

    def _records(
        self, first_line: int, lines: Iterator[str], errors: RowErrors
    ) -> Iterator[RawRow]:
        # the default of 131,072 is short for a prompt
        csv.field_size_limit(sys.maxsize)
        records = csv.reader(lines, strict=True, delimiter=self._separator)
        header: list[str] = []
        start = first_line
        while True:
            try:
                record = next(records)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(f"{self._name}:{start}: not CSV ({error})") from None
            # A quoted field may span lines: the next record starts after the last one
            # read.
            where, start = f"{self._name}:{start}", records.line_num + first_line
            if not header:
                header = [column.strip() for column in record]
                _refuse_repeated_columns(header, where)
            elif record and len(record) != len(header):
                counts = f"{len(record)} fields, the header has {len(header)}"
                errors.add(where, counts)
            elif record:
                yield where, dict(zip(header, record, strict=True))

    def _look_at_the_head(self) -> None:
        """Find out how the file is encoded, and what separates its fields."""
        with self._open() as file:
            is_utf16 = file.read(2) in _UTF16_MARKS  # what Excel calls Unicode text
        self._encoding = "utf-16" if is_utf16 else "utf-8-sig"
        with utf8_or_error(self._open, self._name, self._encoding):
            self._find_separator()

    def _find_separator(self) -> None:
        if not self._separator:
            directive = DIRECTIVE.match(next(self._lines(None), ""))
            self._separator = directive[1] if directive else ""
        if not self._separator:
            usual = "\t" if ".tsv" in self._name.casefold() else ","
            self._separator = self._detect(usual)
            if self._separator != usual:
                words = {char: word for word, char in SEPARATORS.items()}
                self._report.notes.append(
                    f"{self._name}: read with the separator {words[self._separator]} "
                    "(sep=NAME says another)"
                )

    def _detect(self, usual: str) -> str:
        """Return the separator under which the header makes most sense."""

        def sense(separator: str) -> tuple[int, bool, bool]:
            header = self._header(separator)
            named = sum(column in self._columns for column in header)
            # A header with one field is no table, unless nothing else fits either.
            return named, len(header) > 1, separator == usual

        return max(SEPARATORS.values(), key=sense)

    def _header(self, separator: str) -> list[str]:
        try:
            records = csv.reader(self._lines(None), strict=True, delimiter=separator)
            record = next((record for record in records if record), [])
        except csv.Error:
            return []
        return [column.strip() for column in record]

    def _without_directive(self, digest: Any) -> tuple[int, Iterator[str]]:
        """Return the number of the first line that is data, and the lines from it."""
        lines = self._lines(digest)
        first = next(lines, "")
        if DIRECTIVE.match(first):
            return 2, lines
        return 1, chain([first] if first else [], lines)

    def _lines(self, digest: Any) -> Iterator[str]:
        """Yield the lines with their ends, and add all bytes to the digest, if any."""
        with self._open() as file:
            yield from decoded(file, self._encoding, digest)


def csv_rows(
    data: bytes,
    name: str,
    errors: RowErrors,
    *,
    separator: str,
    columns: Collection[str],
    report: LoadReport,
) -> Iterator[RawRow]:
    """Yield the rows of a file that is at hand, as `CsvRows` does."""
    rows = CsvRows(
        lambda: nullcontext(io.BytesIO(data)),
        name,
        errors,
        separator=separator,
        columns=columns,
        report=report,
    )
    return iter(rows)


def _refuse_repeated_columns(header: list[str], where: str) -> None:
    for column in header:
        if header.count(column) > 1:
            raise DataError(f"{where}: column {column!r} occurs twice")
