"""Datasets as a run takes them: limits and parts."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from safebench.pipeline.config import RunConfig
from safebench.pipeline.evaluation_set import load_evaluation_sets
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.pipeline.evaluation_set import EvaluationSet


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return the core's own components."""
    return Plugins([EntryPoint("core", "safebench.core_plugin", "safebench")])


def write_rows(path: Path, labels: list[int]) -> str:
    """Write a file of prompts with these labels, and return its name."""
    rows = [{"prompt": f"text {i}", "label": label} for i, label in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def one_set(plugins: Plugins, name: str, **options: object) -> EvaluationSet:
    """Return the evaluation set of one dataset."""
    (found,) = load_evaluation_sets(RunConfig(datasets=(name,), **options), plugins)
    return found


@pytest.mark.parametrize("limit", [None, 1, 5, 40])
def test_the_source_is_all_rows_whatever_the_limit(
    plugins: Plugins, tmp_path: Path, limit: int | None
) -> None:
    """A run folder is about the whole dataset, of which a limit takes a part."""
    name = write_rows(tmp_path / "set.jsonl", [0, 1] * 20)

    found = one_set(plugins, name, limit=limit)

    assert 40 == len(found.source)
    assert (limit or 40) == len(found.dataset)
