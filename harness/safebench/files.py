"""Files that are written whole or not at all, and folders with one writer at a time."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from .errors import RunFolderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file takes the place of `path` at the end.

    After a crash there is the old file or the new one, and never a part of it. If the
    block raises, the temporary file is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # in the same folder, since a rename between file systems is a copy; with the
    # process id, since two runs may write side by side
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield partial
        # without this a rename may reach the disk before the contents do
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """Yield a UTF-8 text file that takes the place of `path` at the end."""
    with (
        atomic_path(path) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        yield file


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Replace a text file by `lines`, each ended by a line feed."""
    with atomic_write(path) as file:
        file.writelines(line + "\n" for line in lines)


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Replace a file by records in the JSON Lines format; raises ValueError for NaN."""
    import jsonlines

    def dumps(record: Any) -> str:
        return json.dumps(record, ensure_ascii=False, allow_nan=False)

    with atomic_write(path) as file, jsonlines.Writer(file, dumps=dumps) as writer:
        writer.write_all(records)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file; what JSON has no type for is written as its text."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    write_lines(path, text.splitlines())


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make this process the only writer of a folder, which is created if need be.

    Raises `RunFolderError` at once if another process is. The operating system drops
    the lock with its process, so a run that was killed blocks nobody.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(f"another safebench run is writing to {folder}") from None
    try:
        yield
    finally:
        lock.release()
