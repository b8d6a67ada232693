"""The files of a run folder and their checksums, which its manifest keeps.

``manifest.json`` has below ``files``, for the results, each file of predictions and the
configuration, the checksums that it may have: one, or two while it is being replaced,
so that a run that is killed in between leaves nothing that looks like damage. Files
that are not named there (of early versions, or from elsewhere) are read as they are.
"""

from __future__ import annotations

import json
import stat
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from safebench.checksums import bytes_checksum, file_checksum, sealed, unsealed
from safebench.errors import DataError
from safebench.files import set_aside, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MANIFEST_FILE = "manifest.json"
CONFIG_FILE = "config.yaml"
EVIDENCE_FOLDER = "evidence"
PREDICTIONS_FOLDER = "predictions"
FILES = "files"
_MAX_MANIFEST_BYTES = 64 * 2**20
# A reader beside a run may have read a file before it was replaced, and the manifest
# after that: the second time both are of one moment.
_ATTEMPTS = 3

_Checksums = dict[str, list[str]]


def parse_manifest(path: Path) -> dict[str, Any]:
    """Return what a manifest holds, if it is as it was written.

    Raises FileNotFoundError, or ValueError that says what is wrong.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_MANIFEST_BYTES:
        raise ValueError("no file of a run")
    try:
        return unsealed(json.loads(path.read_text(encoding="utf-8")))
    except (RecursionError, TypeError, UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError("it cannot be read") from None


def read_unchanged(path: Path) -> bytes:
    """Return the bytes of a run folder's file.

    Raises `DataError` if they are not what the run wrote.
    """
    for _ in range(_ATTEMPTS):
        content = path.read_bytes()
        expected = _expected(path)
        if expected is None or bytes_checksum(content) in expected:
            return content
    raise DataError(_changed(path))


def check_unchanged(path: Path) -> None:
    """Raise `DataError` if a run folder's file is not what the run wrote.

    In constant memory: predictions may be large.
    """
    for _ in range(_ATTEMPTS):
        expected = _expected(path)  # first, so that other files are not read at all
        if expected is None or file_checksum(path) in expected:
            return
    raise DataError(_changed(path))


def _changed(path: Path) -> str:
    return (
        f"{path} is not what the run wrote (its checksum is another one: it was edited "
        "or damaged): repeat the command of the run, which writes it again"
    )


def _place(path: Path) -> tuple[Path, str]:
    """Return the run folder that a file of results or predictions is in, and its name.

    The name is the path below that folder.
    """
    parents = path.parents
    depth = 3  # predictions/CLASSIFIER/DATASET/FILE
    if len(parents) > depth and parents[depth - 1].name == PREDICTIONS_FOLDER:
        return parents[depth], path.relative_to(parents[depth]).as_posix()
    return path.parent, path.name


def _expected(path: Path) -> list[str] | None:
    """Return the checksums that a file may have, None where nobody knows."""
    folder, name = _place(path)
    manifest = folder / MANIFEST_FILE
    try:
        content = parse_manifest(manifest)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise DataError(
            f"{manifest} is damaged ({error}), so that nobody knows whether {name} is "
            "what the run wrote: repeat the command of the run, or delete the manifest"
        ) from None
    return _checksums(content).get(name)


def _checksums(content: Mapping[str, Any]) -> _Checksums:
    """Return the table of a manifest, without entries that are none."""
    table = content.get(FILES)
    if not isinstance(table, dict):
        return {}
    return {
        str(name): [str(checksum) for checksum in checksums]
        for name, checksums in table.items()
        # a manifest comes with a folder from anywhere: no name leads out of it
        if isinstance(checksums, list) and _is_place(name)
    }


def _is_place(name: str) -> bool:
    """Tell whether a file of that name is one of a run folder, and not elsewhere."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def stored_checksums(folder: Path) -> _Checksums:
    """Return the table of a run folder; empty if there is none."""
    try:
        return _checksums(parse_manifest(folder / MANIFEST_FILE))
    except (OSError, ValueError):
        return {}


def _update(folder: Path, changes: Mapping[str, list[str]]) -> None:
    """Change entries of a folder's table; a file without checksums is taken out."""
    path = folder / MANIFEST_FILE
    try:
        content = parse_manifest(path)
    except (OSError, ValueError):  # no run folder, or one whose next run mends it
        return
    table = {**_checksums(content), **changes}
    kept = {name: checksums for name, checksums in table.items() if checksums}
    write_json(path, sealed({**content, FILES: kept}))


@contextmanager
def replacing_files(new: Mapping[Path, str | None]) -> Iterator[None]:
    """Let files of one run folder be replaced by files with these checksums.

    None: the file will be removed. The old checksum is good until the block ends, and
    stays so if it raises. Nothing is written where the folder has no manifest.
    """
    places = {path: _place(path) for path in new}
    folders = {folder for folder, _ in places.values()}
    for folder in folders:
        old = stored_checksums(folder)
        # an unknown file that is there may be read until it is replaced
        allowed = {
            name: [*old[name], *filter(None, [new[path]])]
            for path, (where, name) in places.items()
            if where == folder and name in old
        }
        if allowed:
            _update(folder, allowed)
    yield
    for folder in folders:
        _update(
            folder,
            {
                name: [checksum] if (checksum := new[path]) else []
                for path, (where, name) in places.items()
                if where == folder
            },
        )


def set_aside_changed(folder: Path) -> list[str]:
    """Rename the files of a run folder that are not what a run wrote.

    Returns a line for the user about each. Only for the one writer of the folder.
    """
    lines = []
    for name, checksums in stored_checksums(folder).items():
        path = folder / name
        if not path.is_file() or file_checksum(path) in checksums:
            continue
        lines.append(
            f"{path} is not what the run wrote (its checksum is another one): set "
            f"aside as {set_aside(path).name}; what this command computes is written "
            "again"
        )
        _update(folder, {name: []})
    return lines
