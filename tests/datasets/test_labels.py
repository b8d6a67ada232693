"""Label words: built-in ones, the user's map, and ambiguous ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    ErrorMessage = Callable[..., str]
    WriteFile = Callable[..., str]

GOOD = '{"prompt": "hello", "label": "safe"}'


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ('"safe"', False),
        ('"Unsafe "', True),
        ('"harmful"', True),
        ('"unharmful"', False),
        ('"benign"', False),
        ('"toxic"', True),
        ("0", False),
        ("1", True),
        ("1.0", True),
        ('"1"', True),
        ("true", True),
        ("false", False),
        ('"TRUE"', True),
        ("null", None),
    ],
)
def test_common_label_words_are_understood(
    load: Load, write_file: WriteFile, word: str, value: bool | None
) -> None:
    """Words, numbers and booleans mean what they say; null means unknown."""
    dataset = load(write_file(f'{{"prompt": "x", "label": {word}}}'))

    assert value is dataset.ground_truth[0].label.value


def test_the_label_map_comes_first(load: Load, write_file: WriteFile) -> None:
    """Words of the user's own are understood, and may overrule the built-in ones."""
    rows = [f'{{"prompt": "{w}", "label": "{w}"}}' for w in ("ok", "BAD", "benign")]
    words = {"ok": "safe", "bad": "unsafe", "benign": "unsafe"}

    dataset = load(write_file(*rows), label_map=words)

    assert [False, True, True] == [truth.label.value for truth in dataset.ground_truth]


def test_a_label_map_to_nonsense_is_refused(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """The right-hand side must be a class."""
    message = error_message(write_file(GOOD), label_map={"ok": "fine"})

    assert "'fine' is neither safe nor unsafe" in message


def test_true_in_a_column_called_is_safe_is_refused(
    error_message: ErrorMessage, load: Load, write_file: WriteFile
) -> None:
    """It would mean the opposite; the label map settles it."""
    path = write_file('{"prompt": "x", "is_safe": true}')

    assert "--label-map true=safe" in error_message(f"{path},label=is_safe")
    dataset = load(f"{path},label=is_safe", label_map={"true": "safe"})
    assert dataset.ground_truth[0].label.value is False


def test_refusal_words_belong_to_the_refusal_task(
    error_message: ErrorMessage, load: Load, write_file: WriteFile
) -> None:
    """`refusal` is a label for that task alone."""
    path = write_file('{"prompt": "x", "response": "no", "label": "refusal"}')

    assert "unknown label 'refusal'" in error_message(path)
    assert load(f"{path},task=refusal").ground_truth[0].label.value is True
