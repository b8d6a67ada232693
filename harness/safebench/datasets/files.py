"""Read labelled prompts, responses or pairs from a file of one's own.

This module finds and opens the file; `.formats`, `.csv_rows` and `.parquet_rows`
parse it, and `.tabular` turns the parsed rows into examples.
"""

from __future__ import annotations

import hashlib
import lzma
import zlib
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, did_you_mean

from .class_names import (
    LABEL_COLUMNS,
    card_names,
    name_classes,
    name_rows,
    note_class_names,
)
from .csv_rows import CsvRows, parse_separator
from .formats import BYTE_ORDER_MARK, JsonLines, is_json_lines, json_rows
from .json_array import ArrayRows
from .labels import normalise_label
from .row_errors import RowErrors
from .row_survey import survey_rows
from .rows import ColumnOptions
from .tabular import read_surveyed
from .text_stream import hashed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .parquet_rows import ParquetRows
    from .request import DatasetRequest, Example
    from .row_survey import Survey

    RawRow = tuple[str, dict[str, Any]]

STARTER_FILE = Path(__file__).with_name("data") / "starter.jsonl"
# Suffix -> the dataset of the catalog that reads it.
FILE_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
# Suffix -> the module of the standard library that reads it.
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
MAX_WHOLE_ARRAY = 32 * 2**20  # bytes; a larger array of JSON is read value by value
EXPECTED_SUFFIXES = ".jsonl, .json, .csv, .tsv or .parquet (perhaps with .gz)"


def read_jsonl(request: DatasetRequest) -> Iterator[Example]:
    """Yield the rows of JSON lines or of an array; `DataError` for bad ones."""
    return _read_source(request)


def read_csv(request: DatasetRequest) -> Iterator[Example]:
    """Yield the rows of a CSV or TSV file with a header; `DataError` for bad ones."""
    return _read_source(request)


def read_parquet(request: DatasetRequest) -> Iterator[Example]:
    """Yield the rows of a parquet file; raise `DataError` for bad ones."""
    return _read_source(request)


def read_starter(request: DatasetRequest) -> Iterator[Example]:
    """Yield the prompts written for this project and shipped with it."""
    return _read_file(STARTER_FILE, STARTER_FILE.name, request, extra_columns=("kind",))


def file_kind(name: str) -> str | None:
    """Return the dataset of the catalog that reads a file of this name, or None."""
    suffixes = [suffix.casefold() for suffix in Path(name).suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return FILE_SUFFIXES.get(suffixes[-1]) if suffixes else None


def find_file(source: str) -> Path:
    """Return the file's path, or raise `DataError` naming similar files there."""
    path = Path(source).expanduser()
    if path.is_dir():
        raise DataError(
            f"{source} is a folder: name a file in it that ends in {EXPECTED_SUFFIXES}"
        )
    if path.is_file():
        return path
    if path.is_symlink():
        raise DataError(f"{source} is a symbolic link that leads nowhere")
    folder = path.parent
    if not folder.is_dir():
        raise DataError(f"no file {source}: there is no folder {folder}")
    names = sorted(p.name for p in folder.iterdir() if file_kind(p.name))
    listed = ", ".join(names[:5]) or f"no file that ends in {EXPECTED_SUFFIXES}"
    hint = did_you_mean(path.name, names) or f"; in {folder} there is: {listed}"
    raise DataError(f"no file {source}{hint}")


def _read_source(request: DatasetRequest) -> Iterator[Example]:
    path = find_file(request.source or "")
    return _read_file(path, request.source or "", request)


def _read_file(
    path: Path, name: str, request: DatasetRequest, extra_columns: tuple[str, ...] = ()
) -> Iterator[Example]:
    errors = RowErrors(name, skip=request.on_bad_row == "skip")
    before = _state(path)
    lines = (
        _json_lines(path, name, request, errors)
        or _separated(path, name, request, errors)
        or _large_array(path, name, request, errors)
        or _parquet(path, name, request)
    )
    rows: Iterable[RawRow] = () if lines is None else lines
    if lines is None:
        data = uncompressed(path, name)
        # Over the bytes, not over the path: results say which content was judged.
        request.report.revision = f"local:{hashlib.sha256(data).hexdigest()[:12]}"
        rows = list(_parse(data, path, name, request, errors))
        del data
    survey = survey_rows(rows, request)
    if lines is not None:
        request.report.revision = f"local:{lines.sha256[:12]}"
    features: dict[str, Any] = {}
    if path != STARTER_FILE:
        features = _card_features(survey, path, request)
        survey.kinds = name_rows(survey.kinds, features)
        note_class_names(name, request)
    named = _Named(rows, features) if features else rows
    yield from read_surveyed(named, survey, name, request, errors, extra_columns)
    if lines is not None and _state(path) != before:
        raise DataError(f"{name} changed while it was read: run it again")


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what differs once a file was written to, None if it is gone.

    Its rows are read twice, and the hash in results is that of the first time.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class _Named:
    """Rows with the names of their classes in place of numbers."""

    def __init__(self, rows: Iterable[RawRow], features: dict[str, Any]) -> None:
        self._rows, self._features = rows, features

    def __iter__(self) -> Iterator[RawRow]:
        for where, row in self._rows:
            yield where, name_classes(row, self._features)


def _json_lines(
    path: Path, name: str, request: DatasetRequest, errors: RowErrors
) -> JsonLines | None:
    """Return the rows of a file that is read line by line; None for any other."""
    options = request.options
    separator = options.sep if isinstance(options, ColumnOptions) else "auto"
    if file_kind(path.name) != "jsonl" or separator != "auto":
        return None
    lines = line_reader(path, name)
    _refuse_other_content(next(lines(), b""), name, "jsonl")
    return JsonLines(lines, name, errors) if is_json_lines(lines()) else None


def _separated(
    path: Path, name: str, request: DatasetRequest, errors: RowErrors
) -> CsvRows | None:
    """Return the rows of a CSV or TSV file; None for any other."""
    if file_kind(path.name) != "csv":
        return None
    open_file = partial(_opened, path, name)
    with open_file() as file:
        _refuse_other_content(file.read(8), name, "csv")
    options = request.options
    separator = options.sep if isinstance(options, ColumnOptions) else "auto"
    return CsvRows(
        open_file,
        name,
        errors,
        separator=parse_separator(separator),
        columns={*(ColumnOptions().columns | request.columns).values()},
        report=request.report,
    )


def _parquet(path: Path, name: str, request: DatasetRequest) -> ParquetRows | None:
    """Return the rows of a parquet file; None for any other."""
    if file_kind(path.name) != "parquet":
        return None
    from .parquet_rows import ParquetRows

    open_file = partial(_opened, path, name)
    with open_file() as file:
        _refuse_other_content(file.read(8), name, "parquet")
    options = request.options
    if isinstance(options, ColumnOptions) and options.sep != "auto":
        raise DataError(f"{name}: sep= is for CSV and TSV files")
    packed = path.suffix.casefold() in COMPRESSIONS
    return ParquetRows(open_file, name, request.report, packed=packed)


def _large_array(
    path: Path, name: str, request: DatasetRequest, errors: RowErrors
) -> ArrayRows | None:
    """Return the rows of a large file that begins as an array; None for any other.

    A smaller one is parsed whole, which finds out more about what is wrong with it.
    """
    options = request.options
    separator = options.sep if isinstance(options, ColumnOptions) else "auto"
    is_json = file_kind(path.name) == "jsonl" and separator == "auto"
    if not is_json or path.stat().st_size <= MAX_WHOLE_ARRAY:
        return None
    open_file = partial(_opened, path, name)
    with open_file() as file:
        head = file.read(1024).removeprefix(BYTE_ORDER_MARK).lstrip()
    return ArrayRows(open_file, name, errors) if head[:1] == b"[" else None


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    with reading(name), opened(path) as file:
        yield file


def opened(path: Path) -> Any:
    """Return a file, opened to read its bytes, unpacked if its suffix says so."""
    module = COMPRESSIONS.get(path.suffix.casefold())
    # only here, since a Python may be built without one of them
    return __import__(module).open(path) if module else path.open("rb")


def line_reader(path: Path, name: str) -> Callable[..., Iterator[bytes]]:
    """Return what opens a file, perhaps a packed one, and yields its lines.

    They end with a line feed. All bytes are added to a digest, if it is given one.
    Raises `DataError` for what cannot be read or unpacked.
    """

    def read(digest: Any = None) -> Iterator[bytes]:
        with reading(name), opened(path) as file:
            yield from file if digest is None else hashed(file, digest)

    return read


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Raise `DataError` for a file that cannot be read or unpacked."""
    try:
        yield
    except UnicodeDecodeError:  # of what was unpacked: told by whoever decodes it
        raise
    except (EOFError, zlib.error, lzma.LZMAError, ImportError, ValueError) as error:
        raise DataError(f"{name}: cannot be unpacked ({error})") from None
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise DataError(f"{name}: cannot be read ({problem})") from None


def uncompressed(path: Path, name: str) -> bytes:
    """Return the bytes of a file, unpacked if its suffix says that it is packed."""
    module = COMPRESSIONS.get(path.suffix.casefold())
    with reading(name):
        data = path.read_bytes()
        if module is None:
            return data
        return bytes(__import__(module).decompress(data))


def _parse(
    data: bytes, path: Path, name: str, request: DatasetRequest, errors: RowErrors
) -> Iterator[RawRow]:
    _refuse_other_content(data, name, file_kind(path.name))
    options = request.options
    separator = options.sep if isinstance(options, ColumnOptions) else "auto"
    if separator != "auto":
        raise DataError(f"{name}: sep= is for CSV and TSV files")
    return json_rows(data, name, errors)


def _refuse_other_content(data: bytes, name: str, kind: str | None) -> None:
    """Raise `DataError` for a file whose first bytes say that it is something else."""
    is_parquet = data.startswith(b"PAR1")
    if kind != "parquet" and is_parquet:
        raise DataError(f"{name}: holds parquet; let its name end in .parquet")
    for magic, what in (
        (b"PK\x03\x04", "a zip archive or a spreadsheet; save it as .csv"),
        (b"\x1f\x8b", "gzip; let its name end in .gz"),
        (b"BZh", "bzip2; let its name end in .bz2"),
        (b"\xfd7zXZ", "xz; let its name end in .xz"),
        (b"\x28\xb5\x2f\xfd", "zstandard; unpack it first"),
    ):
        if data.startswith(magic):
            raise DataError(f"{name}: holds {what}")


def _card_features(
    survey: Survey, path: Path, request: DatasetRequest
) -> dict[str, Any]:
    """Return the columns of labels whose numbers what describes the file names."""
    columns = ColumnOptions().columns | request.columns
    names = {
        name: _names_of(columns[name], survey, path, request) for name in LABEL_COLUMNS
    }
    return {
        columns[name]: {"_type": "ClassLabel", "names": list(words)}
        for name, words in names.items()
        if words
    }


def _names_of(
    column: str, survey: Survey, path: Path, request: DatasetRequest
) -> tuple[str, ...]:
    known = request.report.class_names
    words = {normalise_label(word) for word in request.label_map}
    if (
        column in known
        or words >= {"0", "1"}
        or not any(column in row for row in survey.kinds)
    ):
        return ()
    names = card_names(path, column)
    if not names:
        return ()
    named = name_rows(
        survey.kinds, {column: {"_type": "ClassLabel", "names": list(names)}}
    )
    if all(
        row.get(column) == old.get(column)
        for row, old in zip(named, survey.kinds, strict=True)
    ):
        return ()  # words already
    known[column] = names
    return names
