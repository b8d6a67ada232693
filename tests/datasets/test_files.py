"""Which file a dataset's name means, and what is said of one that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    Refused = Callable[..., str]
    Write = Callable[..., str]

GOOD = '{"prompt": "hello", "label": "safe"}'


def test_no_rows(refused: Refused, write: Write) -> None:
    """An empty file is named."""
    path = write("")

    assert f"no rows in {path}" == refused(path)


def test_a_csv_with_a_header_alone_has_no_rows(refused: Refused, write: Write) -> None:
    """A header is no row."""
    path = write("prompt,label", name="set.csv")

    assert f"no rows in {path}" == refused(path)


def test_a_missing_file_names_the_nearest(refused: Refused, write: Write) -> None:
    """One line with the name that was probably meant."""
    path = write(GOOD, name="prompts.jsonl")
    asked = path.replace("prompts", "promtps")

    message = refused(asked)

    assert f"no file {asked}; did you mean 'prompts.jsonl'?" == message


def test_a_missing_file_without_a_near_name_lists_the_folder(
    refused: Refused, write: Write
) -> None:
    """What is there is listed."""
    path = write(GOOD, name="a.csv")
    asked = path.replace("a.csv", "zzzzzzzz.jsonl")

    assert refused(asked).endswith("there is: a.csv")


def test_a_missing_folder_is_named(refused: Refused, tmp_path: Path) -> None:
    """The folder, not the file, is what is missing."""
    message = refused(f"{tmp_path}/nowhere/set.jsonl")

    assert message.endswith(f"there is no folder {tmp_path}/nowhere")


def test_a_folder_is_no_dataset(refused: Refused, tmp_path: Path) -> None:
    """A folder is refused with what to name instead."""
    assert "ends in .jsonl or .csv" in refused(str(tmp_path))


def test_another_suffix_is_refused(refused: Refused, write: Write) -> None:
    """A text file that exists is no dataset."""
    assert "ends in .jsonl or .csv" in refused(write("x", name="set.txt"))


def test_a_mistyped_suffix_is_answered_with_the_file(
    refused: Refused, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with a suffix was meant as a file, not as one of the known sets."""
    write(GOOD, name="prompts.jsonl")
    monkeypatch.chdir(tmp_path)

    message = refused("prompts.jsnl")

    assert message.endswith("ends in .jsonl or .csv; did you mean 'prompts.jsonl'?")
    assert 1 == len(message.splitlines())


def test_an_unknown_option_names_the_nearest(refused: Refused, write: Write) -> None:
    """A misspelt option key is refused."""
    message = refused(f"{write(GOOD)},lable=x")

    assert "no option 'lable'; did you mean 'label'?" in message
