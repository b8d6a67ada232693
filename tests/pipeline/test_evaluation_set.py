"""Datasets as a run takes them: limits and parts."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest

from safebench.pipeline.config import ComponentRef, RunConfig
from safebench.pipeline.evaluation_set import load_evaluation_sets
from safebench.pipeline.runner import Runner
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


@pytest.mark.parametrize(
    ("labels", "limit", "words"),
    [
        ([1] * 3 + [0] * 300, 30, "no positive in the test part"),
        ([0] * 2 + [1] * 200, 20, "no negative in the test part"),
        ([1] + [0] * 300, 250, "nor has the whole set"),
        ([0, 1] * 100, 40, ""),
        ([1] * 3 + [0] * 300, None, ""),
        ([1] * 100, 10, ""),
    ],
)
def test_a_limit_that_loses_a_class_is_noted(
    plugins: Plugins, tmp_path: Path, labels: list[int], limit: int | None, words: str
) -> None:
    """The note names the dataset; sets of one class and enough samples have none."""
    name = write_rows(tmp_path / "set.jsonl", labels)

    notes = one_set(plugins, name, limit=limit).notes

    assert bool(words) is bool(notes)
    assert all(note.startswith("set.jsonl:all: --limit leaves") for note in notes)
    assert not words or words in notes[0]


def test_what_was_decided_about_a_file_is_noted(
    plugins: Plugins, tmp_path: Path
) -> None:
    """The separator of a CSV, rows that were left out: one note each."""
    path = tmp_path / "set.csv"
    path.write_text("prompt;label\nhello;safe\nbomb;unsafe\nwhat;maybe\n")

    notes = one_set(plugins, str(path), on_bad_row="skip").notes

    separator, skipped = notes
    assert "read with the separator semicolon" in separator
    assert skipped.startswith("set.csv:all: 1 row left out")


def test_notes_about_data_are_kept_in_the_manifest(
    plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run folder says how its data were read."""
    monkeypatch.chdir(tmp_path)
    name = write_rows(tmp_path / "set.jsonl", [1] * 3 + [0] * 300)
    config = RunConfig(
        classifiers=(ComponentRef("keyword", "keyword"),),
        datasets=(name,),
        limit=30,
        out="r",
    )

    summary = Runner(config, plugins, lambda _: None).run()

    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["notes"] == summary.notes
    assert "--limit leaves" in summary.notes[0]


@pytest.mark.parametrize("n_unknown", [0, 1, 3])
def test_unknown_labels_are_noted(
    plugins: Plugins, tmp_path: Path, n_unknown: int
) -> None:
    """Metrics leave those rows out, which may be most of a file."""
    path = tmp_path / "set.csv"
    cells = ["", "0", "1"] if n_unknown == 1 else ["", "", ""][:n_unknown] or ["0"]
    rows = [f"text {i},{cell}" for i, cell in enumerate(cells)]
    path.write_text("\n".join(["prompt,label", *rows]))

    notes = one_set(plugins, str(path)).notes

    expected = f"set.csv:all: {n_unknown} of {len(cells)} rows have no known label"
    assert bool(n_unknown) is bool(notes)
    assert all(note.startswith(expected) for note in notes)


@pytest.mark.parametrize(
    ("rows", "notes"),
    [
        ([("a", 0, "[]"), ("a", 0, "[]"), ("b", 1, '["S1"]')], []),
        ([("a", 0, "[]"), ("a", 1, '["S1"]')], ["1 conversation occurs more"]),
        ([("a", 0, "[]"), ("a", "", "[]")], ["1 of 2 rows", "1 conversation occurs"]),
        (
            [*((t, y, ('["S1"]' if y else "[]")) for t in "abc" for y in (0, 1))],
            ["3 conversations occur more"],
        ),
        ([("a", 0, '["S1"]'), ("b", 1, "[]")], ["2 of 2 rows have a label that"]),
    ],
    ids=range(5),
)
def test_labels_that_contradict_each_other_are_noted(
    plugins: Plugins, tmp_path: Path, rows: list[tuple[Any, ...]], notes: list[str]
) -> None:
    """Below the table, with how many: no guard can be right about all of them."""
    path = tmp_path / "set.jsonl"
    names = ("prompt", "label", "categories")
    lines = [dict(zip(names, (t, y, json.loads(c)), strict=True)) for t, y, c in rows]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")

    made = one_set(plugins, f"{path},policy=llama-guard-3").notes

    assert len(notes) == len(made)
    for start, note in zip(notes, made, strict=True):
        assert note.startswith(f"set.jsonl:all: {start}")
