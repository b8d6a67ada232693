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


TEXT = {"type": "text", "text": "kill"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([TEXT], "kill"),
        ([TEXT, {"type": "text", "text": "a process"}], "kill\na process"),
        ([{"type": "input_text", "text": "kill"}], "kill"),
        (["kill"], "kill"),
        ([{"text": "kill"}], "kill"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_content_in_parts_is_their_text(
    load: Load, write_file: WriteFile, content: object, text: str, as_text: bool
) -> None:
    """In messages, and in messages written as text in a cell."""
    messages: object = [{"role": "user", "content": content}]
    if as_text:
        messages = json.dumps(messages, indent=1)

    dataset = load(write_file(json.dumps({"messages": messages, "label": 1})))

    assert (Turn("user", text),) == dataset.samples[0].turns


def test_prompt_and_response_may_be_in_parts(load: Load, write_file: WriteFile) -> None:
    """Some sets store the parts without a role."""
    row = {"prompt": [TEXT], "response": [{**TEXT, "text": "no"}] * 2, "label": 1}

    dataset = load(write_file(json.dumps(row)))

    expected = (Turn("user", "kill"), Turn("assistant", "no\nno"))
    assert expected == dataset.samples[0].turns


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"role": "user", "content": [TEXT, {"type": "image_url"}]}, "'image_url'"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "'input_audio'"),
        ({"role": "user", "content": [{**TEXT, "type": "image_url"}]}, "only text"),
        ({"role": "user", "content": [{"type": "text"}]}, "without its text"),
        ({"role": "user", "content": [3]}, "is no text"),
        ({"role": "user", "content": []}, "role and content"),
        (
            {"role": "assistant", "content": None, "tool_calls": [1]},
            "tool_calls are no",
        ),
        ({"role": "assistant", "content": "x", "tool_calls": [1]}, "tool_calls are no"),
        ({"role": "human", "content": "x"}, "did you mean 'user'?"),
        ({"role": "gpt", "content": "x"}, "did you mean 'assistant'?"),
        ({"role": "developer", "content": "x"}, "did you mean 'system'?"),
        ({"role": "function", "content": "x"}, "did you mean 'tool'?"),
        ({"role": None, "content": "x"}, "unknown role None"),
        ({"from": "human", "value": "x"}, "name them role and content"),
    ],
)
def test_what_is_no_text_is_refused_rather_than_left_out(
    error_message: ErrorMessage,
    write_file: WriteFile,
    message: dict[str, object],
    problem: str,
) -> None:
    """A verdict on half a conversation would look like one on all of it."""
    messages = [{"role": "user", "content": "hi"}, message]
    path = write_file(json.dumps({"messages": messages, "label": 0}))

    assert problem in error_message(path)


@pytest.mark.parametrize(
    "roles",
    [
        ["system", "user"],
        ["user", "assistant", "tool", "user"],
        ["system", "user", "assistant", "tool", "assistant"],
        ["user", "assistant", "tool", "tool", "assistant", "user", "assistant"],
    ],
)
def test_system_and_tool_turns_are_part_of_the_conversation(
    load: Load, write_file: WriteFile, roles: list[str]
) -> None:
    """The judged turn is the last user's, or the answer; an empty call is none."""
    messages = [
        {"role": role, "content": f"text {i}", "tool_calls": None}
        for i, role in enumerate(roles)
    ]

    sample = load(write_file(json.dumps({"messages": messages, "label": 1}))).samples[0]

    assert roles == [turn.role for turn in sample.turns]
    is_answered = roles[-1] == "assistant"
    assert ("assistant" if is_answered else "user") == sample.judged.role
    assert f"text {len(roles) - 1}" == sample.judged.text


@pytest.mark.parametrize("response", [3, ["no"], {"role": "assistant"}, True])
def test_a_response_that_is_no_text_is_refused(
    error_message: ErrorMessage, write_file: WriteFile, response: object
) -> None:
    """Left out, the prompt would be judged in its place."""
    path = write_file(json.dumps({"prompt": "x", "response": response, "label": 0}))

    assert "'response' is not text" in error_message(path)


def test_a_prompt_of_messages_is_answered_with_the_option(
    error_message: ErrorMessage, load: Load, write_file: WriteFile
) -> None:
    """Many sets call the column of messages prompt."""
    row = {"prompt": [{"role": "user", "content": "kill"}], "label": 0}
    path = write_file(json.dumps(row))

    assert "append ,messages=prompt to the name" in error_message(path)
    dataset = load(f"{path},messages=prompt")
    assert "kill" == dataset.samples[0].judged.text
