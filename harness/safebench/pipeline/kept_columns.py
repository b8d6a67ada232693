"""Columns of large sets in a run folder, so that a repeat does not read their rows.

``columns/<dataset>.npz``, one for each file, or local copy of a hub set, that a run
reads and each way to read it. What is there is believed only if it was made of the
bytes that the files have now, in the way that is asked for now, and is whole: else the
rows are read, and it is written anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safebench.datasets.column_file import (
    UnusableError,
    can_be_kept,
    columns_key,
    is_unchanged,
    read_columns,
    request_digest,
    write_columns,
)
from safebench.datasets.loader import load_dataset
from safebench.results.prediction_writing import path_name

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.datasets import DatasetRequest
    from safebench.records import Dataset

COLUMNS_FOLDER = "columns"


@dataclass(frozen=True, slots=True)
class ColumnsToKeep:
    """What a file of columns is called and found by, and what it says beside them."""

    name: str
    key: str
    messages: tuple[str, ...]

    def write(self, folder: Path, dataset: Dataset, rows_digest: str) -> None:
        """Write the columns of the whole dataset into a run folder."""
        path = folder / COLUMNS_FOLDER / self.name
        write_columns(path, self.key, dataset, rows_digest, self.messages)


@dataclass(frozen=True, slots=True)
class LoadedDataset:
    """A dataset, what was said of it, and its columns if they are to be written."""

    dataset: Dataset
    messages: tuple[str, ...]
    to_keep: ColumnsToKeep | None = None


def load_with_columns(request: DatasetRequest, folder: Path | None) -> LoadedDataset:
    """Return a dataset by its columns in a run folder, or else by its rows.

    Without a `folder` by its rows. Raises as `load_dataset` does.
    """
    key = None if folder is None or request.parts else columns_key(request)
    if folder is None or key is None:
        return _read_rows(request)
    name = f"{path_name(f'{request.label}-{request_digest(request)}')}.npz"
    path = folder / COLUMNS_FOLDER / name
    damaged = ""
    try:
        kept = read_columns(path, key, request)
    except UnusableError as error:
        damaged, kept = (
            f"{path} is damaged ({error}): {request.label} is read anew",
            None,
        )
    if kept is not None:
        return LoadedDataset(kept.dataset, kept.messages)
    loaded = _read_rows(request)
    dataset, messages = loaded.dataset, loaded.messages
    if can_be_kept(dataset) and is_unchanged(request, key, dataset):
        loaded = replace(loaded, to_keep=ColumnsToKeep(name, key, messages))
    return replace(loaded, messages=(*messages, damaged)) if damaged else loaded


def _read_rows(request: DatasetRequest) -> LoadedDataset:
    messages: list[str] = []
    dataset = load_dataset(request, say=messages.append)
    return LoadedDataset(dataset, tuple(messages))
