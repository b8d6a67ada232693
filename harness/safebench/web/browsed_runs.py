"""Run folders for the pages: what is wrong with one is said there, and hides no other.

Folders come from anywhere: copied while they were written, cut off, named in another
encoding, or made to hurt. Each is read on its own, within limits.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safebench.errors import DataError, SafebenchError
from safebench.files import FileState, file_state
from safebench.isolation import describe_error
from safebench.results import RESULTS_FILE, read_rows
from safebench.results.prediction_reading import FORMS
from safebench.results.run_facts import headline
from safebench.results.run_facts import run_facts as facts_of_folder
from safebench.results.run_files import (
    MANIFEST_FILE,
    PREDICTIONS_FOLDER,
    check_unchanged,
)
from safebench.results.runs import RUNS_FOLDER, results_files
from safebench.sanitize import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from safebench.results import Row

MAX_RESULTS_BYTES = 64 * 2**20
MAX_PREDICTIONS_BYTES = 256 * 2**20
MAX_PROBLEM_CHARACTERS = 2000
MAX_SUMMARY_NAMES = 5
_SURROGATE = re.compile("[\ud800-\udfff]")


class _RunSummary(NamedTuple):
    """What the list says of a run: what it holds, or the problem that hides it."""

    text: str
    problem: str
    headline: str = ""


@dataclass(frozen=True, slots=True)
class BrowsedRun:
    """A run folder and the `name` in its URL; `problem` says why it has no rows.

    `headline` has the number of samples, and its best line. `name` has no surrogates:
    a folder's name in another encoding is written with escapes for the bytes that are
    not UTF-8.
    """

    name: str
    file: Path
    summary: str
    problem: str = ""
    headline: str = ""

    @property
    def written(self) -> str:
        """When its results were written, in UTC; "" where nobody can say."""
        try:
            moment = datetime.fromtimestamp(self.file.stat().st_mtime, UTC)
        except (OSError, OverflowError, ValueError):
            return ""
        return f"{moment:%Y-%m-%d %H:%M} UTC"

    @property
    def rows(self) -> list[Row]:
        """The rows of its results, none if it has a problem."""
        return (
            [] if self.problem else list(_cached_rows(self.file, _run_state(self.file)))
        )

    @property
    def combinations(self) -> int:
        """How many rows its table has."""
        return _count_combinations(self.rows)

    @property
    def predictions(self) -> dict[str, Path]:
        """The prediction files, by their places in the predictions folder."""
        root = self.file.parent / PREDICTIONS_FOLDER
        paths = sorted(p for p in root.glob("*/*/[!.]*") if p.suffix in FORMS.values())
        places = [without_surrogates(str(path.relative_to(root))) for path in paths]
        return dict(zip(_distinct(places), paths, strict=True))


def find_runs(runs: tuple[str, ...]) -> dict[str, BrowsedRun]:
    """Return the finished runs by name; the second of one name is called name~2."""
    problem_by_file = dict(_results_files(runs))
    names = [
        _run_name(file, is_broken=bool(problem_by_file[file]))
        for file in problem_by_file
    ]
    return {
        name: BrowsedRun(
            name, file, *(_summary(file) if not problem else ("", problem))
        )
        for name, (file, problem) in zip(
            _distinct(names), problem_by_file.items(), strict=True
        )
    }


def _run_name(file: Path, *, is_broken: bool) -> str:
    # "." and links have the name of what they stand for, if that is there
    folder = file.parent if is_broken else Path(os.path.realpath(file.parent))
    return without_surrogates(folder.name) or "run"


def without_form(place: str) -> str:
    """Return the place of a prediction file without the suffix of how it is stored."""
    for suffix in FORMS.values():
        place = place.removesuffix(suffix)
    return place


def run_facts(run: BrowsedRun) -> dict[str, list[str]]:
    """Return how a run was made, as its manifest says: lines by what they are about."""
    return {
        name: [without_surrogates(line) for line in lines]
        for name, lines in facts_of_folder(run.file.parent).items()
    }


def check_size(path: Path, most: int, instead: str) -> None:
    """Raise `DataError` for what is no file, or has more than `most` bytes.

    A pipe or a device would be read without end. `instead` is what reads larger files.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise DataError(f"{path} is no file, but {what}")
    if status.st_size > most:
        raise DataError(
            f"{path} has {status.st_size / 2**20:,.0f} MiB, and the page shows up to "
            f"{most // 2**20}; {instead}"
        )


def describe_problem(error: BaseException) -> str:
    """Return why something cannot be shown, in the system's words if it has some."""
    if isinstance(error, SafebenchError):
        text = error.message
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename or 'it'} cannot be read: {error.strerror.lower()}"
    else:
        text = f"stored values make no table: {describe_error(error)}"
    return without_surrogates(text)[:MAX_PROBLEM_CHARACTERS]


def without_surrogates(text: str) -> str:
    r"""Return text that can be written as UTF-8, with ``\xff`` for a stray byte.

    In Python, bytes of a file's name that are not UTF-8 are surrogates.
    """
    return _SURROGATE.sub(_escape_surrogate, text)


def _escape_surrogate(match: re.Match[str]) -> str:
    byte = ord(match[0]) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else f"\\u{ord(match[0]):04x}"  # noqa: PLR2004


def _results_files(runs: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Yield results files, each with the problem that keeps it from being read."""
    for name in runs or ("",):
        folder = Path(name) if name else RUNS_FOLDER
        try:
            for file in results_files([name] if name else []):
                yield file, ""
        # gone since the page was opened, or a folder that cannot be looked into
        except (SafebenchError, OSError, RuntimeError, ValueError) as error:
            yield folder / RESULTS_FILE, describe_problem(error)
        for link in _broken_links(folder):
            yield link, f"{link} is a link that leads nowhere"


def _broken_links(folder: Path) -> Iterator[Path]:
    """Yield the results files of run folders that are links to nothing, or circles."""
    try:
        children = [] if (folder / RESULTS_FILE).exists() else sorted(folder.iterdir())
        for child in children:
            for link in (child, child / RESULTS_FILE):
                if link.is_symlink() and not link.exists():
                    yield child / RESULTS_FILE
    except OSError:  # the folder cannot be looked into: it has its problem already
        return


def _distinct(names: Iterable[str]) -> list[str]:
    """Return the names, the second of one name with ~2 after it."""
    distinct: list[str] = []
    for base in names:
        name, count = base, 1
        while name in distinct:
            count += 1
            name = f"{base}~{count}"
        distinct.append(name)
    return distinct


def _run_state(file: Path) -> FileState:
    """Return the state of results and of the manifest that has their checksum."""
    try:
        manifest = file_state(file.with_name(MANIFEST_FILE))
    except OSError:
        manifest = ()
    return (*file_state(file), *manifest)


@lru_cache(maxsize=100)
def _check_cached(file: Path, run: Path, state: FileState) -> None:  # noqa: ARG001
    check_unchanged(file)


def check_predictions(file: Path, run: BrowsedRun) -> None:
    """Raise `DataError` for predictions that are not what their run wrote.

    Once for all the pages of a file, as long as nothing changes.
    """
    _check_cached(file, run.file, (*file_state(file), *_run_state(run.file)))


def _summary(file: Path) -> _RunSummary:
    try:
        return _cached_summary(file, _run_state(file))
    except Exception as error:  # noqa: BLE001 - see the module
        return _RunSummary("", describe_problem(error))


@lru_cache(maxsize=1000)
def _cached_summary(file: Path, state: FileState) -> _RunSummary:
    try:
        rows = _cached_rows(file, state)
        count = _count_combinations(rows)
        text = (
            f"{_list_distinct(row.classifier for row in rows)} on "
            f"{_list_distinct(row.dataset for row in rows)}; {count} "
            f"{'line' if count == 1 else 'lines'}"
        )
    except Exception as error:  # noqa: BLE001 - see the module
        problem = describe_problem(error)
        named = problem if str(file.parent) in problem else f"{file}: {problem}"
        return _RunSummary("", without_surrogates(named))
    return _RunSummary(text, "", headline(rows))


@lru_cache(maxsize=8)  # of large runs: a table is sorted many times in a row
def _cached_rows(file: Path, state: FileState) -> tuple[Row, ...]:
    """Return the rows of a file in a state, which is part of the key alone."""
    check_size(file, MAX_RESULTS_BYTES, "`safebench leaderboard RUN` reads it")
    size = state[1]
    if not size:
        raise DataError(f"{file} is empty: the run has not finished, or was cut off")
    return tuple(read_rows(file))


def _count_combinations(rows: Iterable[Row]) -> int:
    return len({row.combination for row in rows})


def _list_distinct(values: Iterable[str]) -> str:
    """Return the different values, joined, in order; only the first few of many."""
    names = [printable(value)[:100] for value in dict.fromkeys(values)]
    more = len(names) - MAX_SUMMARY_NAMES
    listed = ", ".join(names[:MAX_SUMMARY_NAMES])
    return f"{listed} and {more} more" if more > 0 else listed
