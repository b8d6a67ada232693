"""Words for safe and unsafe, built in and the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset

    Read = Callable[..., Dataset]
    Refused = Callable[..., str]
    Write = Callable[..., str]

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
    read: Read, write: Write, word: str, value: bool | None
) -> None:
    """Words, numbers and booleans mean what they say; null means unknown."""
    found = read(write(f'{{"prompt": "x", "label": {word}}}'))

    assert value is found.golds[0].label.value


def test_the_label_map_comes_first(read: Read, write: Write) -> None:
    """Words of the user's own are understood, and may overrule the built-in ones."""
    rows = [f'{{"prompt": "{w}", "label": "{w}"}}' for w in ("ok", "BAD", "benign")]
    words = {"ok": "safe", "bad": "unsafe", "benign": "unsafe"}

    found = read(write(*rows), label_map=words)

    assert [False, True, True] == [gold.label.value for gold in found.golds]


def test_a_label_map_to_nonsense_is_refused(refused: Refused, write: Write) -> None:
    """The right-hand side must be a class."""
    message = refused(write(GOOD), label_map={"ok": "fine"})

    assert "'fine' is neither safe nor unsafe" in message


def test_true_in_a_column_called_is_safe_is_refused(
    refused: Refused, read: Read, write: Write
) -> None:
    """It would mean the opposite; the label map settles it."""
    path = write('{"prompt": "x", "is_safe": true}')

    assert "--label-map true=safe" in refused(f"{path},label=is_safe")
    found = read(f"{path},label=is_safe", label_map={"true": "safe"})
    assert found.golds[0].label.value is False


def test_refusal_words_belong_to_the_refusal_task(
    refused: Refused, read: Read, write: Write
) -> None:
    """`refusal` is a label for that task alone."""
    path = write('{"prompt": "x", "response": "no", "label": "refusal"}')

    assert "unknown label 'refusal'" in refused(path)
    assert read(f"{path},task=refusal").golds[0].label.value is True
