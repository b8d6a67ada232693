"""Which column holds what, and columns that are missing or doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset

    Read = Callable[..., Dataset]
    Refused = Callable[..., str]
    Write = Callable[..., str]


def test_columns_are_named_by_options(read: Read, write: Write) -> None:
    """`prompt=` and `label=` say which columns hold what."""
    path = write('{"question": "x", "verdict": "harmful", "prompt": 3}')

    found = read(f"{path},prompt=question,label=verdict")

    assert "x" == found.samples[0].judged.text
    assert found.golds[0].label.value is True


def test_a_missing_column_names_the_nearest_and_the_option(
    refused: Refused, write: Write
) -> None:
    """The message is enough to mend the command."""
    message = refused(write('{"prompts": "x", "label": 0}'))

    assert "no column 'prompt'; did you mean 'prompts'?" in message
    assert "(columns: prompts, label; append ,prompt=COLUMN to the name)" in message


def test_a_column_of_another_usual_name_is_suggested(
    refused: Refused, read: Read, write: Write
) -> None:
    """The message holds what to append, and with it the file is read."""
    path = write('{"text": "x", "toxic": 1}')

    first = refused(path)
    second = refused(f"{path},prompt=text")

    assert "no column 'prompt'; is it 'text'?" in first
    assert "append ,prompt=text to the name" in first
    assert "append ,label=toxic to the name" in second
    assert read(f"{path},prompt=text,label=toxic").golds[0].label.value is True


def test_a_task_that_judges_responses_wants_their_column(
    refused: Refused, write: Write
) -> None:
    """One line for the whole file, with the name that the column usually has."""
    path = write(*['{"prompt": "x", "answer": "y", "label": 0}'] * 20)

    message = refused(f"{path},task=response_harm")

    assert "no response, which response_harm judges" in message
    assert "no column 'response'; is it 'answer'?" in message
    assert 1 == len(message.splitlines())


def test_a_column_that_no_row_has_is_one_line(refused: Refused, write: Write) -> None:
    """A wrong header is not repeated for every row."""
    path = write("prompt,labels", *["x,0"] * 20, name="set.csv")

    message = refused(path)

    assert f"{path}: no column 'label'; did you mean 'labels'?" in message
    assert 1 == len(message.splitlines())


def test_a_column_that_occurs_twice_is_refused(refused: Refused, write: Write) -> None:
    """Which of the two was meant is not guessed."""
    path = write("prompt,label,label", "x,0,1", name="set.csv")

    assert f"{path}:1: column 'label' occurs twice" == refused(path)
