"""Rows for groundedness: a response, or a claim, and what it is held against."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.datasets import load_dataset
from safebench.datasets.resolve import resolve_dataset
from safebench.errors import DataError
from safebench.pipeline.config import RunConfig
from safebench.pipeline.evaluation_set import load_evaluation_sets
from safebench.plugins import Plugins
from safebench.records import Turn

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.records import Sample

CLAIM = (Turn("assistant", "It is red."),)


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins()


def read(path: Path, rows: list[Any], plugins: Plugins, options: str = "") -> Any:
    """Write rows as JSON lines, and read them for groundedness."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_dataset(
        resolve_dataset(f"{path},task=groundedness{options}", plugins), say=print
    )


def sample(path: Path, plugins: Plugins, options: str = "", **row: Any) -> Sample:
    """Return the one sample of a file."""
    (only,) = read(path, [{"label": 1, **row}], plugins, options).samples
    assert only.task == "groundedness"
    return only  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("value", "documents"),
    [
        ("one text", ("one text",)),
        (["one", "two", " "], ("one", "two")),
        ([{"text": "one"}, {"page_content": "two"}], ("one", "two")),
        ('["one", "two"]', ("one", "two")),
        ("[sic] a text", ("[sic] a text",)),
        ({"content": "one", "id": 7}, ("one",)),
    ],
)
@pytest.mark.parametrize("column", ["documents", "context", "passage"])
def test_documents_in_all_their_forms(
    tmp_path: Path, plugins: Plugins, column: str, value: Any, documents: Any
) -> None:
    """A text, a list, objects of a retriever, JSON in a cell; by any column."""
    options = ",documents=passage" if column == "passage" else ""
    row = {column: value, "claim": "It is red."}

    read_sample = sample(tmp_path / "d.jsonl", plugins, options, **row)

    assert documents == read_sample.documents
    assert CLAIM == read_sample.turns


def test_a_response_to_a_question_keeps_the_question(
    tmp_path: Path, plugins: Plugins
) -> None:
    """The judged turn is the response; a claim beside it is not read."""
    row = {"prompt": "What?", "response": "It is red.", "context": "a", "claim": "b"}

    read_sample = sample(tmp_path / "d.jsonl", plugins, **row)

    assert (Turn("user", "What?"), *CLAIM) == read_sample.turns
    assert read_sample.judged == CLAIM[0]


def test_documents_are_part_of_the_conversation_and_group_it(
    tmp_path: Path, plugins: Plugins
) -> None:
    """One claim against two texts is two conversations; claims about one, a group."""
    rows = [
        {"context": "a", "claim": "x", "label": 0},
        {"context": "b", "claim": "x", "label": 1},
        {"context": "a", "claim": "y", "label": 1},
        {"context": "a ", "claim": "x", "label": 0},
    ]

    dataset = read(tmp_path / "d.jsonl", rows, plugins)

    a, b, other, again = dataset.samples
    assert a.content != b.content
    assert a.content == again.content
    assert a.group == other.group == again.group != b.group
    assert 1 == dataset.counts["duplicates"]


def test_other_tasks_do_not_look_at_them(tmp_path: Path, plugins: Plugins) -> None:
    """A column of that name may mean anything there."""
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"prompt": "a", "context": 3, "label": 1}) + "\n")

    dataset = load_dataset(resolve_dataset(str(path), plugins))

    assert () == dataset.samples[0].documents


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"claim": "a", "label": 1}, "no column 'documents'"),
        ({"claim": "a", "source": "b", "label": 1}, "documents=source"),
        ({"context": "b", "label": 1}, "no column"),
        ({"context": " ", "claim": "a", "label": 1}, "is empty"),
        ({"context": None, "claim": "a", "label": 1}, "no documents"),
        ({"context": [1], "claim": "a", "label": 1}, "no list of texts"),
        ({"context": "b", "claim": None, "prompt": "q", "label": 1}, "no response"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, plugins: Plugins, row: dict[str, Any], message: str
) -> None:
    """The file, the column, and what would work."""
    with pytest.raises(DataError, match=r"d\.jsonl") as error:
        read(tmp_path / "d.jsonl", [row], plugins)

    assert message in error.value.message


def test_a_conversation_may_hold_its_documents_itself(
    tmp_path: Path, plugins: Plugins
) -> None:
    """Rows without any are read, and the run says how many."""
    rows = [
        {"prompt": "By: it is red. What is it?", "response": "Red.", "label": 0},
        {"prompt": "What is it?", "response": "Red.", "context": "red", "label": 0},
    ]
    path = tmp_path / "d.jsonl"

    dataset = read(path, rows, plugins)
    config = RunConfig(datasets=(f"{path},task=groundedness",))
    (evaluation_set,) = load_evaluation_sets(config, plugins)

    assert [(), ("red",)] == [s.documents for s in dataset.samples]
    assert "d.jsonl:all: 1 of 2 rows have no documents" in evaluation_set.notes[0]
