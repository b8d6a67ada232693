"""Prompts and conversations that two datasets share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli.overlap import command
from safebench.datasets.overlap import (
    conversation_overlap,
    prompt_overlap,
    shorten_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.records import Dataset

LEFT = (
    '{"prompt": "a", "response": "1", "label": 0}',
    '{"prompt": " a\\n", "response": "2", "label": 1}',
    '{"prompt": "b", "response": "1", "label": 0}',
    '{"prompt": "e\\u0301", "response": "1", "label": 0}',
)
RIGHT = (
    '{"prompt": "a", "response": "2", "label": 0}',
    '{"prompt": "c", "response": "1", "label": 0}',
    '{"prompt": "\\u00e9", "response": "1", "label": 0}',
)


@pytest.fixture
def files(write_file: Callable[..., str]) -> tuple[str, str]:
    """Return two files that share two prompts, and two conversations."""
    return write_file(*LEFT, name="left.jsonl"), write_file(*RIGHT, name="right.jsonl")


def test_prompts_and_conversations_are_counted_apart(
    load: Callable[..., Dataset], files: tuple[str, str]
) -> None:
    """Two prompts are shared, by three left samples; outer space does not count."""
    left, right = (load(path) for path in files)

    prompts, conversations = (
        prompt_overlap(left, right),
        conversation_overlap(left, right),
    )

    assert (2, 3, 2) == (prompts.distinct, prompts.left.shared, prompts.right.shared)
    assert (2, 2, 2) == (
        conversations.distinct,
        conversations.left.shared,
        conversations.right.shared,
    )
    assert pytest.approx(0.75) == prompts.left.share


def test_the_command_prints_counts_shares_and_ids(
    plugins: Plugins, files: tuple[str, str]
) -> None:
    """Plain lines on standard output."""
    done = CliRunner().invoke(command, [*files, "--show", "1"], obj=plugins)

    assert 0 == done.exit_code
    assert "same prompt: 2 distinct" in done.stdout
    assert "3 of 4 samples of left.jsonl:all (75.0 %)" in done.stdout
    assert "and 1 more (--show N)" in done.stdout
    assert "left.jsonl/all/" in done.stdout


def test_the_command_prints_json(plugins: Plugins, files: tuple[str, str]) -> None:
    """The same numbers, with the ids of every example shown."""
    done = CliRunner().invoke(command, [*files, "--json"], obj=plugins)

    output = json.loads(done.stdout)
    assert 2 == output["prompt"]["distinct"]
    assert 0.75 == output["prompt"]["left"]["share"]
    assert ["a", "\u00e9"] == [e["text"] for e in output["prompt"]["examples"]]
    assert 2 == len(output["prompt"]["examples"][0]["left"])


def test_the_command_refuses_what_it_cannot_read(plugins: Plugins) -> None:
    """One line on standard error and exit code 2."""
    done = CliRunner().invoke(command, ["no.jsonl", "starter"], obj=plugins)

    assert 2 == done.exit_code
    assert "no file no.jsonl" in done.stderr


def test_long_texts_are_cut_to_one_line() -> None:
    """Line feeds become spaces and the line fits a terminal."""
    assert "a b" == shorten_line("a\n b")
    assert 70 == len(shorten_line("word " * 100))


@pytest.mark.slow
def test_toxic_chat_train_and_test_share_prompts(
    load: Callable[..., Dataset], data_root: Path
) -> None:
    """The shared prompts are those that a brute-force comparison finds."""
    left, right = (
        load(f"toxic_chat:{split}", data_root=data_root) for split in ("train", "test")
    )

    overlap = prompt_overlap(left, right)

    left_texts = [sample.judged.text.strip() for sample in left.samples]
    right_texts = [sample.judged.text.strip() for sample in right.samples]
    assert overlap.distinct > 0
    assert sum(text in set(right_texts) for text in left_texts) == overlap.left.shared
    assert sum(text in set(left_texts) for text in right_texts) == overlap.right.shared
