"""Rows with a response or with messages: the task, the turns and the judged one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from safebench.records import Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset

    Read = Callable[..., Dataset]
    Refused = Callable[..., str]
    Write = Callable[..., str]

GOOD = '{"prompt": "hello", "label": "safe"}'


def test_a_response_makes_the_task_response_harm(read: Read, write: Write) -> None:
    """The answer is the judged turn, and an empty answer is counted, not refused."""
    path = write(
        '{"prompt": "x", "response": "no", "label": "safe"}',
        '{"prompt": "y", "response": "", "label": "safe"}',
    )

    found = read(path)

    assert "response_harm" == found.task
    assert (Turn("user", "x"), Turn("assistant", "no")) == found.samples[0].turns
    assert Turn("assistant", "no") == found.samples[0].judged
    assert {"empty_responses": 1} == found.counts


def test_rows_with_and_without_a_response_are_refused_together(
    refused: Refused, read: Read, write: Write
) -> None:
    """One file has one task; both kinds of rows are named."""
    path = write('{"prompt": "x", "response": "no", "label": "safe"}', GOOD)

    message = refused(path)

    assert f"first {path}:1" in message
    assert f"first {path}:2" in message
    assert "task=prompt_harm" in message
    found = read(f"{path},task=prompt_harm")
    assert ["user", "user"] == [sample.judged.role for sample in found.samples]


def test_messages_are_a_conversation(read: Read, write: Write) -> None:
    """Roles and contents become turns; the judged one depends on the task."""
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "kill"},
    ]
    path = write(json.dumps({"messages": messages, "label": 1}))

    found = read(path)

    assert "prompt_harm" == found.task
    assert ["system", "user", "assistant", "user"] == [
        turn.role for turn in found.samples[0].turns
    ]
    answered = [*messages, {"role": "assistant", "content": "no"}]
    path = write(json.dumps({"messages": answered, "label": 1}))
    assert "response_harm" == read(path).task
    judged = read(f"{path},task=prompt_harm").samples[0]
    assert ("user", "kill") == (judged.judged.role, judged.judged.text)
    assert read(path).samples[0].content == judged.content


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
    refused: Refused, write: Write, messages: str, problem: str
) -> None:
    """Each way to get a conversation wrong has its message."""
    path = write(f'{{"messages": {messages}, "label": 0}}')

    assert f"{path}:1: {problem}" in refused(path)
