"""Finding a dataset file, and messages about one that does not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    ErrorMessage = Callable[..., str]
    WriteFile = Callable[..., str]

GOOD = '{"prompt": "hello", "label": "safe"}'


def test_no_rows(error_message: ErrorMessage, write_file: WriteFile) -> None:
    """An empty file is named."""
    path = write_file("")

    assert f"no rows in {path}" == error_message(path)


def test_a_csv_with_a_header_alone_has_no_rows(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """A header is no row."""
    path = write_file("prompt,label", name="set.csv")

    assert f"no rows in {path}" == error_message(path)


def test_a_missing_file_names_the_nearest(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """One line with the name that was probably meant."""
    path = write_file(GOOD, name="prompts.jsonl")
    missing = path.replace("prompts", "promtps")

    message = error_message(missing)

    assert f"no file {missing}; did you mean 'prompts.jsonl'?" == message


def test_a_missing_file_without_a_near_name_lists_the_folder(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """What is there is listed."""
    path = write_file(GOOD, name="a.csv")
    missing = path.replace("a.csv", "zzzzzzzz.jsonl")

    assert error_message(missing).endswith("there is: a.csv")


def test_a_missing_folder_is_named(error_message: ErrorMessage, tmp_path: Path) -> None:
    """The folder, not the file, is what is missing."""
    message = error_message(f"{tmp_path}/nowhere/set.jsonl")

    assert message.endswith(f"there is no folder {tmp_path}/nowhere")


def test_a_folder_is_no_dataset(error_message: ErrorMessage, tmp_path: Path) -> None:
    """A folder is refused with what to name instead."""
    assert "ends in .jsonl, .json, .csv, .tsv or .parquet" in error_message(
        str(tmp_path)
    )


def test_another_suffix_is_refused(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """A text file that exists is no dataset."""
    assert "ends in .jsonl, .json, .csv, .tsv or .parquet" in error_message(
        write_file("x", name="set.txt")
    )


def test_a_mistyped_suffix_is_answered_with_the_file(
    error_message: ErrorMessage,
    write_file: WriteFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name with a suffix was meant as a file, not as one of the known sets."""
    write_file(GOOD, name="prompts.jsonl")
    monkeypatch.chdir(tmp_path)

    message = error_message("prompts.jsnl")

    assert message.endswith("(perhaps with .gz); did you mean 'prompts.jsonl'?")
    assert 1 == len(message.splitlines())


def test_an_unknown_option_names_the_nearest(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """A misspelt option key is refused."""
    message = error_message(f"{write_file(GOOD)},lable=x")

    assert "no option 'lable'; did you mean 'label'?" in message
