"""Names of columns: options, missing columns, repeated columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    ErrorMessage = Callable[..., str]
    WriteFile = Callable[..., str]


def test_columns_are_named_by_options(load: Load, write_file: WriteFile) -> None:
    """`prompt=` and `label=` say which columns hold what."""
    path = write_file('{"question": "x", "verdict": "harmful", "prompt": 3}')

    dataset = load(f"{path},prompt=question,label=verdict")

    assert "x" == dataset.samples[0].judged.text
    assert dataset.ground_truth[0].label.value is True


def test_a_missing_column_names_the_nearest_and_the_option(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """The message says what to append to the command."""
    message = error_message(write_file('{"prompts": "x", "label": 0}'))

    assert "no column 'prompt'; did you mean 'prompts'?" in message
    assert "(columns: prompts, label; append ,prompt=COLUMN to the name)" in message


def test_a_common_synonym_of_a_column_is_suggested(
    error_message: ErrorMessage, load: Load, write_file: WriteFile
) -> None:
    """The message holds what to append, and with it the file is read."""
    path = write_file('{"text": "x", "toxic": 1}')

    first = error_message(path)
    second = error_message(f"{path},prompt=text")

    assert "no column 'prompt'; is it 'text'?" in first
    assert "append ,prompt=text to the name" in first
    assert "append ,label=toxic to the name" in second
    assert load(f"{path},prompt=text,label=toxic").ground_truth[0].label.value is True


def test_a_task_that_judges_responses_needs_their_column(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """One line for the whole file, with the name that the column usually has."""
    path = write_file(*['{"prompt": "x", "answer": "y", "label": 0}'] * 20)

    message = error_message(f"{path},task=response_harm")

    assert "no response, which response_harm judges" in message
    assert "no column 'response'; is it 'answer'?" in message
    assert 1 == len(message.splitlines())


def test_a_column_that_no_row_has_is_one_line(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """A wrong header is not repeated for every row."""
    path = write_file("prompt,labels", *["x,0"] * 20, name="set.csv")

    message = error_message(path)

    assert f"{path}: no column 'label'; did you mean 'labels'?" in message
    assert 1 == len(message.splitlines())


def test_a_column_that_occurs_twice_is_refused(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """Which of the two was meant is not guessed."""
    path = write_file("prompt,label,label", "x,0,1", name="set.csv")

    assert f"{path}:1: column 'label' occurs twice" == error_message(path)
