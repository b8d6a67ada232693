"""Files that are written whole or not at all, and folders with one writer at a time."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from .errors import RunFolderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_NAME_BYTES = 255
_MAX_STEM = 48  # characters of a name: a temporary one is no longer than 255 bytes


def check_file_name(path: Path) -> None:
    """Raise `RunFolderError` for a path with a part that no file system can hold."""
    for part in path.parts:
        try:
            length = len(part.encode())
        except UnicodeEncodeError:
            raise RunFolderError(
                f"{part!a} is not valid Unicode (UTF-8): choose another name"
            ) from None
        if length > MAX_NAME_BYTES:
            raise RunFolderError(
                f"{part[:40]}... is a name of {length} bytes, and a file's may have "
                f"{MAX_NAME_BYTES}: choose a shorter name"
            )


# Two writes within a tick of a file system's clock leave the same times: FAT has the
# longest tick, Linux's own file systems one of 1 to 10 ms.
TICK_SECONDS = 2.0

# Whatever changes a file changes one of its numbers.
FileState = tuple[int, ...]


def file_state(path: Path) -> FileState:
    """Return what is other than before whenever a file is: inode, size, two times.

    What is kept in memory by the state of a file is right as long as the state is the
    same. A file that was written to within the last tick could be written to once more
    and look the same: its state has one number more, is equal to no other (`is_settled`
    is false), and whoever keeps something by it reads the file anew.
    Raises OSError.
    """
    status = path.stat()
    state = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    age = time.time() - status.st_mtime
    # a server's clock may be ahead for hours: its files are not read anew all the time
    return (*state, next(_UNIQUE)) if abs(age) < TICK_SECONDS else state


def is_settled(state: FileState) -> bool:
    """Tell whether a file in that state cannot change without another state."""
    return len(state) == 4  # noqa: PLR2004 - inode, size, two times


_UNIQUE = itertools.count()

SET_ASIDE = ".set-aside"  # after the name of what could not be read
_TEMPORARY = re.compile(r"\..+\.(?P<pid>[0-9]{1,10})\.tmp")
_BUFFER_BYTES = 2**18
# a living process of this number may be another one by now: none writes for so long
_LONGEST_WRITE_S = 3600.0


def open_parquet(source: Any) -> Any:
    """Return pyarrow's reader of a path or an open file, which reads page by page.

    By default it reads the columns of whole row groups, and keeps them.
    """
    import pyarrow.parquet as pq

    return pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file takes the place of `path` at the end.

    After a crash there is the old file or the new one, and never a part of it. If the
    block raises, the temporary file is removed and `path` stays as it was.
    """
    partial = temporary_path(path)
    try:
        with errors_naming(path, partial):
            yield partial
            flush_to_disk(partial)
            replace_file(partial, path)
    finally:
        with suppress(OSError):  # what went wrong before it is what is to be told
            partial.unlink(missing_ok=True)


@contextmanager
def errors_naming(path: Path, partial: Path) -> Iterator[None]:
    """Let an OSError of writing `partial` name the file `path` that it is to become.

    A full disk names no file, and the temporary name says nothing to a user.
    """
    try:
        yield
    except OSError as error:
        if error.filename in (None, str(partial)):
            error.filename, error.filename2 = str(path), None
        raise


def make_folder(path: Path) -> None:
    """Create a folder and those above it, if need be.

    Raises `RunFolderError` if a file is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        above = (path, *path.parents)
        file = next((p for p in above if p.is_symlink() or p.is_file()), path)
        raise RunFolderError(
            f"{file} is in the way of the folder {path}: rename or delete it"
        ) from None


def temporary_path(path: Path) -> Path:
    """Return where what will be `path` is written first; its folder is created.

    `lock_folder` knows such files by their names, and removes those of dead runs.
    """
    make_folder(path.parent)
    # in the same folder, since a rename between file systems is a copy; with the
    # process id, since two runs may write side by side
    stem = path.name
    if len(stem) > _MAX_STEM:  # names that begin alike stay apart
        digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
        stem = f"{stem[:_MAX_STEM]}-{digest}"
    return path.with_name(f".{stem}.{os.getpid()}.tmp")


def replace_file(partial: Path, path: Path) -> None:
    """Move a file that is written to its place, where it takes that of an older one."""
    try:
        partial.replace(path)
    except IsADirectoryError:
        raise RunFolderError(
            f"{path} cannot be written, a folder is in its place: rename or delete it"
        ) from None


def flush_to_disk(path: Path) -> None:
    """Wait until a file's contents are on the disk.

    Without this a rename may reach the disk before the contents do.
    """
    with path.open("r+b") as file:
        os.fsync(file.fileno())


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
    with atomic_path(path) as partial:
        write_jsonl_to(partial, records)


def write_jsonl_to(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records in the JSON Lines format where they are wanted, step by step."""
    import jsonlines

    def dumps(record: Any) -> str:
        return json.dumps(record, ensure_ascii=False, allow_nan=False)

    with (
        path.open("w", encoding="utf-8", newline="\n") as file,
        jsonlines.Writer(file, dumps=dumps) as writer,
    ):
        writer.write_all(records)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file; what JSON has no type for is written as its text."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    write_lines(path, text.splitlines())


def set_aside(path: Path, *, keep: bool = False) -> Path:
    """Rename what cannot be read, so that it is in nobody's way; return its new path.

    Nothing is deleted: somebody may want to look at it, or to mend it. With `keep` a
    file also stays where it is.
    """
    aside, number = path.with_name(path.name + SET_ASIDE), 1
    while aside.is_symlink() or aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{SET_ASIDE}-{number}")
    if keep:
        shutil.copyfile(path, aside)
    else:
        path.rename(aside)
    return aside


def _remove_temporary_files(paths: Iterable[Path], *, all_dead: bool) -> None:
    """Remove those of `paths` that a process which is gone was writing.

    `all_dead`: nobody but the holder of a lock writes there, and this process holds
    it. Elsewhere somebody may be writing at this moment without any lock.
    """
    for path in list(paths):
        name = _TEMPORARY.fullmatch(path.name)
        if name is None:
            continue
        with suppress(OSError):  # in nobody's way: no reason to end a run
            age = time.time() - path.stat().st_mtime
            if all_dead or age > _LONGEST_WRITE_S or not _is_running(int(name["pid"])):
                path.unlink()


def _is_running(pid: int) -> bool:
    """Tell whether another process of that number runs."""
    if pid == os.getpid():  # in a container, the number of the run that was killed
        return False
    if os.name == "nt":  # no signal 0 there: it would end the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True


@contextmanager
def lock_folder(folder: Path, subfolders: Iterable[str] = ()) -> Iterator[None]:
    """Make this process the only writer of a folder, which is created if need be.

    Raises `RunFolderError` at once if another process is. The operating system drops
    the lock with its process, so a run that was killed blocks nobody; its temporary
    files are removed. In `subfolders`, at any depth, only holders of the lock write.
    """
    from filelock import FileLock, Timeout

    make_folder(folder)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(f"another safebench run is writing to {folder}") from None
    try:
        _remove_temporary_files(folder.glob(".*.tmp"), all_dead=False)
        for name in subfolders:
            below = (folder / name).rglob(".*.tmp")
            _remove_temporary_files(below, all_dead=True)
        yield
    finally:
        lock.release()
