"""The keyword guard: it counts words, and is a floor for guards that need a model."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError
from safebench.evidence import Scores
from safebench.evidence.recording import Recording, Trace

from .base import Classifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample

WORD_LIST = Path(__file__).with_name("keywords.txt")


@dataclass(frozen=True, slots=True)
class KeywordOptions:
    """`words`: a text file, one word or phrase a line, in place of the built-in list.

    `saturation`: how many hits make the score one half.
    """

    words: str = ""
    saturation: float = 1.0

    def __post_init__(self) -> None:
        if self.saturation <= 0:
            raise ValueError(f"saturation must be above 0, got {self.saturation}")


def identity(options: KeywordOptions) -> dict[str, Any]:
    """Return what tells two word lists apart."""
    # Of the words and not of the file: comments and letter case change no score.
    digest = hashlib.sha256("\n".join(read_words(options)).encode()).hexdigest()
    model = Path(options.words).name or "built-in words"
    return {"model": model, "weights": digest, "options": asdict(options)}


def read_words(options: KeywordOptions) -> list[str]:
    """Return the words and phrases, lower-case; raises `ModelError` if none."""
    path = Path(options.words) if options.words else WORD_LIST
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"keyword: cannot read the word list {path}: {error}"
        ) from None
    words = [w for line in lines if (w := line.partition("#")[0].strip().casefold())]
    if not words:
        raise ModelError(f"keyword: no words in {path}; one word or phrase a line")
    return words


# letters, digits and the underscore of ASCII as they are, a space for all else
_RUNS = bytes(
    byte if re.match(rb"[0-9A-Za-z_]", bytes([byte])) else 32 for byte in range(256)
)
_SINGLE = re.compile(r"\w+", re.ASCII)


class WordList:
    """Words and phrases, lower-case, that are looked for in texts as whole words.

    A pattern of all of them decides. Most texts hold none, which is seen sooner from
    their runs of word characters: where a phrase stands as a whole word, each of its
    own runs is one of the text.
    """

    def __init__(self, words: Sequence[str]) -> None:
        # The longest first: of alternatives, the first that matches is taken.
        ordered = sorted(words, key=len, reverse=True)
        alternatives = "|".join(map(re.escape, ordered))
        self._pattern = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")
        single = {word for word in words if _SINGLE.fullmatch(word)}
        others = [max(_runs(w), key=len, default=b"") for w in words if w not in single]
        self._single = frozenset(word.encode() for word in single)
        self._of_others = frozenset(others)
        self._needed = self._single | self._of_others
        self._seen_by_runs = b"" not in self._needed

    def count(self, text: str) -> int:
        """Return how many of the words a case-folded text holds.

        Distinct ones, so that a text does not become worse by repeating itself.
        """
        if self._seen_by_runs:
            runs = _runs(text)
            if self._needed.isdisjoint(runs):
                return 0
            # a phrase may hold a word, which is then no hit beside it
            if text.isascii() and self._of_others.isdisjoint(runs):
                return len(self._single.intersection(runs))
        return len(set(self._pattern.findall(text)))


def _runs(text: str) -> list[bytes]:
    """Return the runs of ASCII word characters; all else parts them."""
    return text.encode("ascii", "replace").translate(_RUNS).split()


class Keyword(Classifier):
    """Scores a text by its distinct hits h: h / (h + saturation), in [0, 1)."""

    options: KeywordOptions

    @cached_property
    def words(self) -> WordList:
        """The words and phrases that are counted."""
        return WordList(read_words(self.options))

    @property
    def facts(self) -> Mapping[str, Any]:
        """The device alone: nothing else depends on the machine."""
        return {"device": "cpu"}

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return one score a sample, from its judged turn alone."""
        assert kinds == {Scores}, kinds
        count = self.words.count
        hits = [count(s.judged.text.casefold()) for s in samples]
        on_progress(len(samples))
        values = [[h / (h + self.options.saturation)] for h in hits]
        # It ranks, but is no probability: calibration metrics must not read it as one.
        meta = {"labels": ["alarming"], "scale": "score"}
        return Recording(
            evidence={Scores: Scores({"values": values}, meta=meta)},
            traces=[Trace() for _ in samples],
        )
