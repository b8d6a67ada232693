"""Rows with a response or with messages: the task, the turns and the judged one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from safebench.records import Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    ErrorMessage = Callable[..., str]
    WriteFile = Callable[..., str]

GOOD = '{"prompt": "hello", "label": "safe"}'


def test_a_response_makes_the_task_response_harm(
    load: Load, write_file: WriteFile
) -> None:
    """The answer is the judged turn, and an empty answer is counted, not refused."""
    path = write_file(
        '{"prompt": "x", "response": "no", "label": "safe"}',
        '{"prompt": "y", "response": "", "label": "safe"}',
    )

    dataset = load(path)

    assert "response_harm" == dataset.task
    assert (Turn("user", "x"), Turn("assistant", "no")) == dataset.samples[0].turns
    assert Turn("assistant", "no") == dataset.samples[0].judged
    assert {"empty_responses": 1} == dataset.counts


def test_rows_with_and_without_a_response_are_refused_together(
    error_message: ErrorMessage, load: Load, write_file: WriteFile
) -> None:
    """One file has one task; both kinds of rows are named."""
    path = write_file('{"prompt": "x", "response": "no", "label": "safe"}', GOOD)

    message = error_message(path)

    assert f"first {path}:1" in message
    assert f"first {path}:2" in message
    assert "task=prompt_harm" in message
    dataset = load(f"{path},task=prompt_harm")
    assert ["user", "user"] == [sample.judged.role for sample in dataset.samples]


def test_messages_are_a_conversation(load: Load, write_file: WriteFile) -> None:
    """Roles and contents become turns; the judged one depends on the task."""
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "kill"},
    ]
    path = write_file(json.dumps({"messages": messages, "label": 1}))

    dataset = load(path)

    assert "prompt_harm" == dataset.task
    assert ["system", "user", "assistant", "user"] == [
        turn.role for turn in dataset.samples[0].turns
    ]
    answered = [*messages, {"role": "assistant", "content": "no"}]
    path = write_file(json.dumps({"messages": answered, "label": 1}))
    assert "response_harm" == load(path).task
    prompt_only = load(f"{path},task=prompt_harm").samples[0]
    assert ("user", "kill") == (prompt_only.judged.role, prompt_only.judged.text)
    assert load(path).samples[0].content == prompt_only.content


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        (
            '[{"role": "usr", "content": "x"}]',
            "unknown role 'usr'; did you mean 'user'?",
        ),
        ('[{"role": "user"}]', "a message needs role and content"),
        ('"hello"', "messages are no list"),
        ('[{"role": "system", "content": "x"}]', "empty prompt"),
    ],
)
def test_bad_messages_are_named(
    error_message: ErrorMessage, write_file: WriteFile, messages: str, problem: str
) -> None:
    """Each way to get a conversation wrong has its message."""
    path = write_file(f'{{"messages": {messages}, "label": 0}}')

    assert f"{path}:1: {problem}" in error_message(path)
