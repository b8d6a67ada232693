"""JSON that no terminal misreads, and that every reader reads as it was."""

from __future__ import annotations

import json
import unicodedata

from safebench.sanitize import json_text

STEERING = "\x1b[2J \x9b31m \u202eevil\u2066 \u200b \ud800 \U000e0041 \u2028"


def test_what_steers_a_terminal_is_escaped() -> None:
    """No control, format, surrogate or line separator is in the line."""
    line = json_text({"raw": STEERING, STEERING: 1})

    kinds = {unicodedata.category(char) for char in line}
    assert set() == kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_the_record_comes_back_as_it_was() -> None:
    """Escapes are JSON's own, characters beyond the first plane included."""
    record = {"raw": STEERING, "n": [1, None, 0.5], "text": 'Grüße \\ "q" 漢字 🙂'}

    assert record == json.loads(json_text(record))
    assert record == json.loads(json_text(record, "ascii"))


def test_letters_stay_readable() -> None:
    """What prints is not escaped, unless the encoding is not Unicode."""
    assert '{"text": "Grüße 漢字 🙂"}' == json_text({"text": "Grüße 漢字 🙂"})
    assert json_text({"text": "Grüße"}, "latin-1").isascii()
