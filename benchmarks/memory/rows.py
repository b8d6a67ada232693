"""Write a file of labelled prompts of any size: ``python rows.py N FILE [--plain]``.

Texts are of words drawn at random, with the lengths of prompts to assistants (40
characters to 2,000, a median near 160), all unlike one another, each with an id and a
group of its own. With --plain there are neither labels nor groups: a log.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = (
    "the a of to and in that it is was for on with as his they be at one have this from"
    " by hot word but what some can out other were all there when up use your how said"
    " each she which do their time if will way about many then them write would like so"
    " these her long make thing see him two has look more day could go come did number"
    " sound no most people my over know water than call first who may down side been"
    " now find garden letter recipe budget planet travel summary explain python table"
    " music winter doctor river engine market window bridge history poem village market"
    " café"
)
ALARMING = ("bomb", "kill", "poison", "hack", "weapon", "malware", "steal")
UNSAFE_SHARE = 0.3


def rows(n: int, seed: int = 0, *, plain: bool = False) -> Iterator[dict[str, str]]:
    """Yield `n` rows; equal arguments give equal rows."""
    random = Random(seed)  # noqa: S311 - equal rows each time, and no secret
    words_known = WORDS.split()
    for number in range(n):
        unsafe = random.random() < UNSAFE_SHARE
        length = min(400, max(7, round(random.lognormvariate(3.4, 0.8))))
        words = random.choices(words_known, k=length)
        if random.random() < (0.6 if unsafe else 0.05):
            words[random.randrange(length)] = random.choice(ALARMING)
        row = {"id": f"row-{number:07d}", "prompt": " ".join(words) + f" {number}?"}
        if not plain:
            row |= {"label": "unsafe" if unsafe else "safe", "group": f"g-{number:07d}"}
        yield row


def main(n: int, path: Path, *, plain: bool) -> None:
    """Write the file."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows(n, plain=plain):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), plain="--plain" in sys.argv)
