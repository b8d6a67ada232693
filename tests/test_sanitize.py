"""Text from datasets is made safe to look at."""

from __future__ import annotations

import pytest

from safebench.sanitize import escape_controls, sanitize


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
