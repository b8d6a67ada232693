"""The keyword guard counts what a pattern of all its words finds, only faster."""

from __future__ import annotations

import re
from random import Random

import pytest

from safebench.classifiers.keyword import KeywordOptions, WordList, read_words

LISTS = {
    "built-in": read_words(KeywordOptions()),
    "phrases": ["kill", "kill myself", "myself kill", "ki", "kill-all", "x_1"],
    "accents": ["töten", "kill", "é", "straße", "bomb é bomb"],
    "no letters": ["$$$", "kill", "炸弹", "k!ll"],
}
PIECES = [
    *("kill", "myself", "KILL", "ki", "all", "x_1", "töten", "TÖTEN", "é", "straße"),
    *(
        "STRASSE",
        "炸弹",
        "$$$",
        "k!ll",
        "bomb",
        "child",
        "porn",
        "\N{LATIN SMALL LETTER LONG S}elf-harm",
        "\N{KELVIN SIGN}ill",
    ),
    *(
        " ",
        " ",
        " ",
        "-",
        "\n",
        "\r\n",
        "\t",
        "\u2028",
        "\x00",
        "“",
        "ﬁ",
        "_",
        "9",
        "\ud800",
    ),
]


def counted_by_pattern(words: list[str], text: str) -> int:
    """Return how many distinct whole words a regular expression finds."""
    ordered = sorted(words, key=len, reverse=True)
    alternatives = "|".join(map(re.escape, ordered))
    return len(set(re.findall(rf"(?<!\w)(?:{alternatives})(?!\w)", text)))


@pytest.mark.parametrize("name", LISTS)
def test_words_are_counted_as_a_pattern_finds_them(name: str) -> None:
    """Words in words, phrases that share words, and letters of any script."""
    words, random = LISTS[name], Random(0)
    counter, total = WordList(words), 0
    for _ in range(1500):
        pieces = random.choices([*PIECES, *words], k=random.randrange(8))
        text = "".join(pieces).casefold()
        expected = counted_by_pattern(words, text)
        assert counter.count(text) == expected, repr(text)
        total += expected
    assert total > 300  # else nothing was compared
