"""Rows that cannot be read: each is named, or skipped and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    ErrorMessage = Callable[..., str]
    WriteFile = Callable[..., str]

GOOD = '{"prompt": "hello", "label": "safe"}'
BAD = '{"prompt": "kill", "label": "unsafe"}'


def test_every_bad_row_is_named_in_one_message(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """Seven mistakes in seven lines: all are listed with file and line."""
    path = write_file(
        GOOD,
        "{broken",
        '{"prompt": "  ", "label": "safe"}',
        '{"prompt": "x", "label": "unsaef"}',
        '{"label": "safe"}',
        '{"prompt": "x"}',
        "[1, 2]",
        '{"prompt": 5, "label": "safe"}',
    )

    lines = error_message(path).splitlines()

    assert lines[0].startswith(f"{path}: 7 rows cannot be read")
    assert "--on-bad-row skip" in lines[0]
    expected = [
        (2, "not JSON"),
        (3, "empty prompt"),
        (4, "unknown label 'unsaef'; did you mean 'unsafe'?"),
        (5, "no column 'prompt'"),
        (6, "no column 'label'"),
        (7, "not a JSON object"),
        (8, "'prompt' is not text: 5"),
    ]
    for line, (number, problem) in zip(lines[1:], expected, strict=True):
        assert line.startswith(f"  {path}:{number}: {problem}")


def test_one_bad_row_makes_one_line(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """A single mistake needs no list."""
    path = write_file(GOOD, BAD, '{"prompt": "", "label": "safe"}')

    message = error_message(path)

    assert 1 == len(message.splitlines())
    assert message.startswith(f"{path}:3: empty prompt")


def test_only_the_first_ten_bad_rows_are_listed(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """Twelve bad rows: ten lines, then how many more."""
    lines = error_message(write_file(*["{"] * 12)).splitlines()

    assert 12 == len(lines)
    assert "  and 2 more" == lines[-1]


def test_bad_rows_are_skipped_and_counted_if_asked(
    resolve: Callable[..., object], write_file: WriteFile
) -> None:
    """The good rows stay, the count says how many went, and they are listed."""
    from safebench.datasets.loader import load_dataset

    messages: list[str] = []
    path = write_file(GOOD, "{", '{"prompt": "", "label": "safe"}')
    dataset = load_dataset(resolve(path, on_bad_row="skip"), messages.append)

    assert 1 == len(dataset)
    assert {"skipped": 2} == dataset.counts
    assert f"{path}:2: not JSON" in messages[0]
    assert f"{path}:3: empty prompt" in messages[0]


def test_a_file_with_bad_rows_alone_is_refused_even_when_skipping(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """Nothing is left to judge."""
    message = error_message(write_file("{", "{"), on_bad_row="skip")

    assert message.startswith("no usable rows in")


def test_a_repeated_id_names_both_lines(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """The second use of an id is the bad row."""
    row = '{"id": "a", "prompt": "x", "label": 0}'
    path = write_file(row, GOOD, row)

    message = error_message(path)

    assert message.startswith(f"{path}:3: id 'a' repeats {path}:1")


@pytest.mark.parametrize(("form", "place"), [("[{}]", "[{}]"), ("{}", ":{}")])
def test_bad_rows_are_listed_in_the_order_of_the_file(
    error_message: ErrorMessage, write_file: WriteFile, form: str, place: str
) -> None:
    """By number, not by letters, whether parsing or the content failed."""
    rows = ['{"prompt": "x", "label": 0}'] * 12
    rows[2] = rows[9] = '{"prompt": "x", "label": "maybe"}'
    rows[10] = rows[0] = "3"
    separator = ", " if form == "[{}]" else "\n"
    path = write_file(form.replace("{}", separator.join(rows)), name="set.json")

    lines = error_message(path).splitlines()[1:]

    numbers = [0, 2, 9, 10] if form == "[{}]" else [1, 3, 10, 11]
    places = [f"  {path}{place.format(number)}: " for number in numbers]
    assert [True] * 4 == [
        line.startswith(where) for line, where in zip(lines, places, strict=True)
    ]
