"""From rows to prompts: each once, with its responses and labels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench import Plugins
from safebench.errors import DataError
from safebench_feedback_finetune.collect.collection_input import (
    CollectionInput,
    majority_vote,
    read_collection_input,
)
from safebench_feedback_finetune.options import CollectOptions

if TYPE_CHECKING:
    from pathlib import Path

PLUGINS = Plugins()


def read(
    path: Path, rows: list[dict[str, Any]], generator: str = "replay"
) -> CollectionInput:
    """Write rows to a file and read them back as prompts."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = CollectOptions(dataset=(str(path),), out="x", generator=generator)
    return read_collection_input(options, PLUGINS, lambda line: None)


@pytest.mark.parametrize(
    ("votes", "majority"),
    [
        ([], None),
        ([True], True),
        ([False, True], None),
        ([False, False, True], False),
    ],
)
def test_the_majority_decides_and_a_tie_does_not(
    votes: list[bool], majority: bool | None
) -> None:
    """More than half, or nobody knows."""
    assert majority is majority_vote(votes)


def test_a_prompt_is_one_item_with_all_its_responses(tmp_path: Path) -> None:
    """White space around a text makes no other one."""
    rows = [
        {"prompt": "Hello", "response": "A", "label": "safe"},
        {"prompt": "Hello ", "response": "B", "label": "unsafe"},
        {"prompt": "Hello", "response": "A\n", "label": "safe"},
    ]

    (item,) = read(tmp_path / "a.jsonl", rows).items

    votes = {r.text: r.votes for r in item.responses.values()}
    assert {"A": [False, False], "B": [True]} == votes
    assert [] == item.votes
    assert item.group == item.id[:16]


def test_labels_of_prompts_stay_with_prompts(tmp_path: Path) -> None:
    """With a language model to answer, responses of the file are not read."""
    rows = [{"prompt": "Hello", "label": "safe"}, {"prompt": "Kill", "label": "unsafe"}]

    items = read(tmp_path / "a.jsonl", rows, generator="some/model").items

    assert [[False], [True]] == [item.votes for item in items]
    assert [{}, {}] == [item.responses for item in items]


def test_groups_of_a_dataset_are_qualified_by_its_name(tmp_path: Path) -> None:
    """Group 1 of one file is not group 1 of another."""
    rows = [{"prompt": "Hello", "label": "safe", "group": "1"}]

    (item,) = read(tmp_path / "a.jsonl", rows, generator="some/model").items

    assert "a.jsonl:1" == item.group


def test_prompts_without_a_response_cannot_be_replayed(tmp_path: Path) -> None:
    """A set that has none at all is refused with what would work."""
    rows = [{"prompt": "Hello", "label": "safe"}]

    with pytest.raises(DataError, match="--generator"):
        read(tmp_path / "a.jsonl", rows)
