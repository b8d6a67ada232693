"""A file of conversations without labels: surveyed once, and then read row by row.

JSON Lines, perhaps packed, or Parquet. What cannot be judged is known by its line
before a model takes its time.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from safebench.datasets.files import file_kind, find_file, line_reader
from safebench.datasets.formats import BYTE_ORDER_MARK, parse_json
from safebench.datasets.request import BadRowError
from safebench.datasets.row_survey import Responses, repeated_numbers
from safebench.datasets.rows import COLUMN_SYNONYMS, is_missing
from safebench.errors import DataError, did_you_mean
from safebench.files import open_parquet

from .conversation import parse_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from .conversation import Conversation

    # number and cells of a row, or the reason why it cannot be read
    RawRow = tuple[int, dict[str, Any] | str]

PROMPT = "prompt"
# what comes back beside a score, by whatever name of these a row has it
EXTRAS = ("group", "time", "timestamp", "date")
_MAX_LISTED = 10
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row to judge: its number, its own id if it has one, and its extras."""

    number: int
    id: str | None
    conversation: Conversation
    extras: dict[str, Any]


@dataclass(slots=True)
class LogSurvey:
    """What a file holds: `n` rows to judge, and the numbers of the `bad` ones.

    `sha256` is that of its bytes. `reasons` say what is wrong with the first bad rows,
    `extras` name the columns that come back beside scores, `responses` how many rows
    have one.
    """

    sha256: str
    n: int = 0
    bad: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    extras: list[str] = field(default_factory=list)
    responses: Responses = field(default_factory=Responses)

    def to_json(self) -> dict[str, Any]:
        """Return the survey as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return a survey as `to_json` gave it; raises TypeError for anything else."""
        return cls(**{**value, "responses": Responses(**value["responses"])})


class LogFile:
    """The rows of a file, which may be read any number of times.

    `column` has the texts of prompts. Raises `DataError` for a file that is no log, or
    is not there.
    """

    def __init__(self, path: str, column: str = PROMPT) -> None:
        self.name, self.column = path, column
        self.path: Path = find_file(path)
        kind = file_kind(self.path.name)
        self.is_parquet = kind == "parquet"
        if kind not in ("jsonl", "parquet"):
            raise DataError(
                f"{path}: a log is JSON Lines (.jsonl, perhaps with .gz) or Parquet"
            )
        if self.is_parquet and self.path.suffix.casefold() != ".parquet":
            raise DataError(f"{path}: unpack it first")

    def place(self, number: int) -> str:
        """Return what messages call a row: ``FILE:LINE`` from 1, ``FILE[ROW]`` from 0.

        Lines are counted as editors do, rows of tables as `datasets` does.
        """
        return f"{self.name}[{number}]" if self.is_parquet else f"{self.name}:{number}"

    def sha256(self) -> str:
        """Return the SHA-256 of the file's bytes, read block by block."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def survey(self, *, skip: bool) -> LogSurvey:
        """Read all rows once; raises `DataError` for bad ones unless they are skipped.

        Rows whose id an earlier row has are bad, too. Raises `DataError` for a file
        without a row that can be judged, with the nearest name of a column.
        """
        survey = LogSurvey(self.sha256())
        problems: list[tuple[int, str]] = []
        ids, extras = array("q"), set[str]()
        for number, row in self._rows():
            try:
                read = self._parse(number, row)
            except (BadRowError, DataError, RecursionError) as error:
                problems.append((number, str(error)))
                continue
            survey.n += 1
            extras.update(read.extras)
            if read.id is not None:
                ids.append(hash(read.id))
            has_response = read.conversation.has_response
            survey.responses.count(self.place(number), "x" if has_response else None)
        if hashes := repeated_numbers(ids):
            repeated = list(self._repeated(hashes))
            survey.n -= len(repeated)
            problems = sorted([*problems, *repeated])
        survey.bad = [number for number, _ in problems]
        survey.reasons = [
            f"{self.place(n)}: {why}" for n, why in problems[:_MAX_LISTED]
        ]
        survey.extras = [name for name in EXTRAS if name in extras]
        self._check(survey, len(problems), skip=skip)
        return survey

    def rows(self, survey: LogSurvey, start: int = 0) -> Iterator[LogRow]:
        """Yield the rows to judge, from the `start`-th on."""
        bad, place = frozenset(survey.bad), 0
        for number, row in self._rows(parsed_from=start):
            if number in bad:
                continue
            if place >= start:
                yield self._parse(number, row)
            place += 1

    def _repeated(self, hashes: frozenset[int]) -> Iterator[tuple[int, str]]:
        first: dict[str, int] = {}
        for number, row in self._rows():
            try:
                read = self._parse(number, row)
            except (BadRowError, DataError, RecursionError):
                continue
            if read.id is not None and hash(read.id) in hashes:
                earlier = first.setdefault(read.id, number)
                if earlier != number:
                    yield number, f"id {read.id!r} repeats {self.place(earlier)}"

    def _check(self, survey: LogSurvey, n_bad: int, *, skip: bool) -> None:
        lines = "\n  ".join(survey.reasons)
        if n_bad > len(survey.reasons):
            lines += f"\n  ... and {n_bad - len(survey.reasons)} more"
        if not n_bad and not survey.n:
            raise DataError(f"{self.name}: empty, there is nothing to judge")
        if not survey.n:
            raise DataError(f"{self.name}: no row can be judged\n  {lines}")
        if n_bad and not skip:
            what = "1 row" if n_bad == 1 else f"{n_bad} rows"
            raise DataError(
                f"{self.name}: {what} cannot be judged; --on-error skip leaves such "
                f"rows out and counts them\n  {lines}"
            )

    def _parse(self, number: int, row: dict[str, Any] | str) -> LogRow:
        if isinstance(row, str):
            raise BadRowError(row)
        cells = dict(row)
        if self.column != PROMPT:
            cells.pop(PROMPT, None)
            if self.column in cells:
                cells[PROMPT] = cells.pop(self.column)
        given = {name: value for name, value in cells.items() if not is_missing(value)}
        if not {PROMPT, "messages"} & given.keys():
            raise BadRowError(self._no_text(row))
        sample_id = given.get("id")
        return LogRow(
            number,
            None if sample_id in (None, "") else str(sample_id),
            parse_row(given, self.place(number)),
            {name: _as_json(given[name]) for name in EXTRAS if name in given},
        )

    def _require_text(self, columns: Sequence[str]) -> None:
        """Raise `DataError` for a table whose rows cannot have a text."""
        if not {self.column, "messages"} & set(columns):
            raise DataError(f"{self.name}: {self._no_text(dict.fromkeys(columns))}")

    def _no_text(self, row: Mapping[str, Any]) -> str:
        if self.column in row:
            return f"{self.column} is empty"
        synonym = next((n for n in COLUMN_SYNONYMS[PROMPT] if n in row), "")
        hint = f"; is it {synonym!r}?" if synonym else did_you_mean(self.column, row)
        listed = ", ".join(row) or "none"
        return (
            f"no column {self.column!r} and no messages{hint} (columns: {listed}; "
            f"--column {synonym or 'NAME'} says which has the text)"
        )

    def _rows(self, parsed_from: int = 0) -> Iterator[RawRow]:
        return self._parquet_rows() if self.is_parquet else self._lines(parsed_from)

    def _lines(self, parsed_from: int) -> Iterator[RawRow]:
        """Yield number and object of each line; the first may stay texts, unread."""
        lines = line_reader(self.path, self.name)
        first = next((line for line in lines() if line.strip()), b"")
        opening = first.removeprefix(BYTE_ORDER_MARK).strip()
        if opening.startswith(b"[") or opening == b"{":
            raise DataError(
                f"{self.name}: an array, or objects on several lines: a log has one "
                "object a line"
            )
        mark, place = BYTE_ORDER_MARK, 0
        for number, line in enumerate(lines(), 1):
            content, mark = line.removeprefix(mark), b""
            if content.strip():
                # there are no fewer lines than rows to judge
                yield number, _object(content) if place >= parsed_from else ""
                place += 1

    def _parquet_rows(self) -> Iterator[RawRow]:
        import pyarrow as pa

        try:
            with open_parquet(self.path) as file:
                names = file.schema_arrow.names
                self._require_text(names)
                wanted = {self.column, PROMPT, "messages", "response", "documents"}
                wanted |= {"context", "id", *EXTRAS}
                read = [name for name in names if name in wanted]
                number = 0
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=read):
                    for row in batch.to_pylist():
                        yield number, row
                        number += 1
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            problem = " ".join(str(error).split())
            raise DataError(f"{self.name}: not parquet ({problem:.120})") from None


def _object(content: bytes) -> dict[str, Any] | str:
    """Return the object of a line, or the reason why there is none."""
    try:
        value = parse_json(content.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode() if b"\\u" in content else None
    except UnicodeDecodeError as error:
        return f"not UTF-8 (byte {error.start + 1})"
    except UnicodeEncodeError:
        return "not Unicode (half of a surrogate pair)"
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg} at column {error.colno})"
    except (BadRowError, ValueError, RecursionError) as error:
        return str(error)
    return value if isinstance(value, dict) else f"not a JSON object: {value!r:.40}"


def _as_json(value: Any) -> Any:
    """Return a cell as JSON has it: dates of Parquet files as ISO 8601."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    plain = isinstance(value, (str, int, float, bool, list, dict))
    return value if plain else str(value)
