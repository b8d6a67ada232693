"""Fixtures: the test trainers in this process, their manifests, and datasets."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench.records import Dataset, GroundTruth, Label, Sample, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from click.testing import Result

DISTRIBUTIONS = Path(__file__).parents[1] / "distributions"


@pytest.fixture(scope="session")
def plugins() -> Iterator[Plugins]:
    """Return the core's components and the two test trainers."""
    sys.path.insert(0, str(DISTRIBUTIONS / "word_trainer"))
    plugins = Plugins(
        [
            EntryPoint("core", "safebench.core_plugin", "safebench"),
            EntryPoint("word_trainer", "word_trainer.plugin", "safebench"),
        ]
    )
    assert [] == [plugin.error for plugin in plugins.broken]
    yield plugins
    sys.path.remove(str(DISTRIBUTIONS / "word_trainer"))


@pytest.fixture
def train(
    plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Return ``train(*args)``: the command line in an empty folder, no data root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAFEBENCH_DATA", raising=False)

    def _train(*args: str) -> Result:
        return CliRunner().invoke(cli, ["train", *args], obj=plugins)

    return _train


@pytest.fixture
def manifest() -> Callable[[str], dict[str, Any]]:
    """Return a function that reads the manifest of an artifact."""

    def _manifest(folder: str) -> dict[str, Any]:
        path = Path(folder) / "safebench.json"
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    return _manifest


def dataset(rows: Sequence[tuple[str, bool | None, str]]) -> Dataset:
    """Return a dataset of (text, label, group) rows."""
    samples = [
        Sample(id=f"s{i}", turns=(Turn("user", text),), group=group)
        for i, (text, _, group) in enumerate(rows)
    ]
    return Dataset(
        name="d",
        config=None,
        split="train",
        task="prompt_harm",
        policy=None,
        revision="r",
        samples=samples,
        ground_truth=[GroundTruth(label=Label(value=value)) for _, value, _ in rows],
    )


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    """Return the function that makes datasets."""
    return dataset
