"""Where real data lies, how to read it, and how to write a small file."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safebench.datasets.assemble import load_dataset
from safebench.datasets.choose import choose
from safebench.errors import DataError, OptionError
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.datasets import Request
    from safebench.records import Dataset


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    """Return the core's own components, whatever else is installed."""
    found = Plugins([EntryPoint("core", "safebench.core_plugin", "safebench")])
    assert [] == [plugin.error for plugin in found.broken]
    return found


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder of local copies, or skip."""
    root = os.environ.get("SAFEBENCH_DATA")
    if not root:
        pytest.skip("SAFEBENCH_DATA names no folder of local copies")
    return Path(root)


@pytest.fixture
def ask(plugins: Plugins) -> Callable[..., Request]:
    """Return `choose` with the core's datasets."""

    def _ask(text: str, **options: object) -> Request:
        return choose(text, plugins, **options)

    return _ask


@pytest.fixture
def read(ask: Callable[..., Request]) -> Callable[..., Dataset]:
    """Return a function that reads what a text names; skipped rows are not shown."""

    def _read(text: str, **options: object) -> Dataset:
        return load_dataset(ask(text, **options), tell=lambda _: None)

    return _read


@pytest.fixture
def refused(read: Callable[..., Dataset]) -> Callable[..., str]:
    """Return a function that reads what cannot be read: its message, with code 2."""

    def _refused(text: str, **options: object) -> str:
        with pytest.raises((DataError, OptionError)) as caught:
            read(text, **options)
        assert 2 == caught.value.exit_code
        return caught.value.format_message()

    return _refused


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes lines to a file and returns its path."""

    def _write(*lines: str, name: str = "set.jsonl") -> str:
        path = tmp_path / name
        path.write_bytes("\n".join(lines).encode() + b"\n")
        return str(path)

    return _write
