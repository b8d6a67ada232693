"""Fixtures: the data root, loading by name, and writing a small file."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safebench.datasets.loader import load_dataset
from safebench.datasets.resolve import resolve_dataset
from safebench.errors import DataError, OptionError
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.datasets import DatasetRequest
    from safebench.records import Dataset


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    """Return the core's own components, whatever else is installed."""
    core = Plugins([EntryPoint("core", "safebench.core_plugin", "safebench")])
    assert [] == [plugin.error for plugin in core.broken]
    return core


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder of local copies, or skip."""
    root = os.environ.get("SAFEBENCH_DATA")
    if not root:
        pytest.skip("SAFEBENCH_DATA names no folder of local copies")
    return Path(root)


@pytest.fixture
def resolve(plugins: Plugins) -> Callable[..., DatasetRequest]:
    """Return `resolve_dataset` with the core's datasets."""

    def _resolve(text: str, **options: object) -> DatasetRequest:
        return resolve_dataset(text, plugins, **options)

    return _resolve


@pytest.fixture
def load(resolve: Callable[..., DatasetRequest]) -> Callable[..., Dataset]:
    """Return a function that loads a dataset by name, without messages."""

    def _load(text: str, **options: object) -> Dataset:
        return load_dataset(resolve(text, **options), say=lambda _: None)

    return _load


@pytest.fixture
def error_message(load: Callable[..., Dataset]) -> Callable[..., str]:
    """Return a function that returns the message of the error of loading a dataset."""

    def _error_message(text: str, **options: object) -> str:
        with pytest.raises((DataError, OptionError)) as caught:
            load(text, **options)
        assert 2 == caught.value.exit_code
        return caught.value.format_message()

    return _error_message


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes lines to a file and returns its path."""

    def _write_file(*lines: str, name: str = "set.jsonl") -> str:
        path = tmp_path / name
        path.write_bytes("\n".join(lines).encode() + b"\n")
        return str(path)

    return _write_file
