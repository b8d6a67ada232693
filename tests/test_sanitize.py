"""Text from datasets is made safe to look at."""

from __future__ import annotations

from safebench.sanitize import sanitize


def test_characters_that_hide_or_steer_are_spelt_out() -> None:
    """Controls, directions, zero width, halves of characters; the rest stays."""
    assert "a\\nb\\tc" == sanitize("a\nb\tc")
    assert "<U+202E><U+200B><U+0007><U+2028>" == sanitize("\u202e\u200b\x07\u2028")
    assert "<U+D800>" == sanitize("\ud800")
    assert "Grüße 你好 👍" == sanitize("Grüße 你好 👍")
    assert "abc ... (+1,997 characters)" == sanitize("abc" + "d" * 1997, 3)
