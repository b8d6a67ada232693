"""Text from datasets is made safe to look at."""

from __future__ import annotations

import pytest

from safebench.sanitize import escape_controls, escape_prints, sanitize


def test_characters_that_hide_or_steer_are_spelt_out() -> None:
    """Controls, directions, zero width, halves of characters; the rest stays."""
    assert "a\\nb\\tc" == sanitize("a\nb\tc")
    assert "<U+202E><U+200B><U+0007><U+2028>" == sanitize("\u202e\u200b\x07\u2028")
    assert "<U+D800>" == sanitize("\ud800")
    assert "Grüße 你好 👍" == sanitize("Grüße 你好 👍")
    assert "abc ... (+1,997 characters)" == sanitize("abc" + "d" * 1997, 3)


STEERING = [
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b31m",
    "\u202egnp",
    "\u2066x",
    "\ufeff",
    "a\rb",
    "a\x08b",
    "\x7f",
    "\x90q\x9c",
    "\u2028",
    "\udc9b",
    "\U000e0041",
]


@pytest.mark.parametrize("text", STEERING)
def test_messages_spell_out_what_steers(text: str) -> None:
    """Lines and tabs stay; nothing that a terminal obeys is left."""
    shown = escape_controls(f"one\n\ttwo {text}")

    assert shown.startswith("one\n\ttwo ")
    assert shown.removeprefix("one\n\t").isprintable()
    assert "<U+" in shown


def test_styles_of_our_own_stay() -> None:
    """Colours and weights do; the same letters in a sequence of another kind do not."""
    styled = "\x1b[1;31mred\x1b[0m"

    assert styled == escape_controls(styled, keep_styles=True)
    assert "<U+001B>[1;31mred<U+001B>[0m" == escape_controls(styled)
    for other in ("\x1b[2J", "\x1b]0;m\x07", "\x1b[?25l", "\x9b1m", "\x1b[1;31"):
        shown = escape_controls(styled + other, keep_styles=True)
        assert shown.startswith(styled)
        assert shown.removeprefix(styled).isprintable()


@pytest.mark.parametrize(
    ("text", "shown", "on_terminal"),
    [
        ("plain\n\ttext é\n", "plain\n\ttext é\n", None),
        ("\r 50%|##  |\r", "\r 50%|##  |\r", None),
        (
            "\x1b[31;1mred\x1b[0m",
            "<U+001B>[31;1mred<U+001B>[0m",
            "\x1b[31;1mred\x1b[0m",
        ),
        ("\r\x1b[2K 3/4", "\r<U+001B>[2K 3/4", "\r\x1b[2K 3/4"),
        ("bar\x1b[A\r", "bar\r", None),
        ("\x1b[9A", "<U+001B>[9A", None),
        ("\x1b]0;title\x07", "<U+001B>]0;title<U+0007>", None),
        ("\x1b]52;c;aGk=\x1b\\", "<U+001B>]52;c;aGk=<U+001B>\\", None),
        ("\x9b2J\x1bc\x08", "<U+009B>2J<U+001B>c<U+0008>", None),
        ("a\u202eb\u2066c\u200b", "a<U+202E>b<U+2066>c<U+200B>", None),
        ("\x1b[6n\x1b[?1049h", "<U+001B>[6n<U+001B>[?1049h", None),
        ("\x1b[" + "1;" * 99 + "m", "<U+001B>[" + "1;" * 99 + "m", None),
    ],
)
def test_prints_of_plugins_keep_bars_of_progress_and_no_more(
    text: str, shown: str, on_terminal: str | None
) -> None:
    """Into a file, and on a terminal where that is more; twice is once."""
    expected = shown if on_terminal is None else on_terminal

    assert shown == escape_prints(text)
    assert expected == escape_prints(text, terminal=True)
    assert shown == escape_prints(shown)
