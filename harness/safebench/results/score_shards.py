"""Shards of scores, as `safebench score FILE -o DIR` writes them, and their reader."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safebench.checksums import file_checksum, unsealed
from safebench.errors import DataError
from safebench.files import open_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ABOUT_FILE = "score.json"
_PREFIX = "scores-"


def shard_name(number: int, form: str) -> str:
    """Return what a shard is called: in the order of their names they follow."""
    return f"{_PREFIX}{number:05d}.{form}"


def read_about(folder: Path) -> dict[str, Any]:
    """Return what ``score.json`` says, nothing without one.

    Raises ValueError or TypeError for one that was changed, OSError for one that cannot
    be read.
    """
    try:
        return unsealed(json.loads((folder / ABOUT_FILE).read_text("utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def finished_shards(folder: Path) -> list[Path]:
    """Return the shards of a folder of scores, in order.

    Raises `DataError` for another folder, for one that is not finished, and for shards
    that were changed since.
    """
    try:
        about = read_about(folder)
    except (OSError, ValueError, TypeError, RecursionError):
        raise DataError(f"{folder / ABOUT_FILE} is damaged") from None
    if not about:
        raise DataError(
            f"{folder} is a folder without scores: `safebench score FILE -o DIR` makes "
            "one"
        )
    files = about.get("files")
    if about.get("status") != "done" or not isinstance(files, dict):
        raise DataError(
            f"{folder} is not finished: the same `safebench score` again goes on"
        )
    for name, checksum in files.items():
        path = folder / name
        if not path.is_file() or file_checksum(path) != checksum:
            raise DataError(f"{path} was changed, or is gone: score the file again")
    return [folder / name for name in sorted(files, key=lambda name: (len(name), name))]


def parquet_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file as objects, few of them in memory at a time."""
    import pyarrow as pa

    try:
        with open_parquet(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{path} is no Parquet file: damaged, or cut off") from None
