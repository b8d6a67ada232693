"""What a label means: words of many data sets, names stored with a column, numbers.

A number says which class it is only by agreement (1 is what the task looks for). So a
stored name or the user's ``--label-map`` comes first, and where both are missing and
the column's own name points the other way (``is_safe``), the user is asked.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Label words, after `normalise_label`. Positive is what the task looks for.
POSITIVE_LABELS = ("unsafe", "harmful", "toxic", "malicious", "1", "true")
NEGATIVE_LABELS = (
    *("safe", "unharmful", "harmless", "benign", "non-toxic", "nontoxic"),
    *("0", "false"),
)
NUMBERS = frozenset({"1", "0", "true", "false"})
TASK_LABELS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "refusal": (("refusal", "refused"), ("compliance", "complied")),
    "jailbreak": (("jailbreak",), ()),
    "injection": (("injection",), ()),
    "groundedness": (("ungrounded", "hallucinated"), ("grounded", "supported")),
}
UNKNOWN_LABELS = ("unknown", "null", "none")  # what --label-map may say
# Written where somebody had no label: too likely a typo or a class to be guessed.
PLACEHOLDERS = frozenset(
    {*UNKNOWN_LABELS, "-1", "nan", "n/a", "na", "-", "?", "unlabeled", "unlabelled"}
)
# In a column of such a name true and 1 may be the negative class.
NEGATIVE_COLUMN_WORDS = frozenset(
    {
        *NEGATIVE_LABELS,
        *("acceptable", "accepted", "allowed", "appropriate", "approved", "civil"),
        *("clean", "compliant", "complies", "ethical", "fine", "good", "innocuous"),
        *("legit", "legitimate", "moral", "neutral", "ok", "okay", "pass", "passed"),
        *("permitted", "polite", "respectful"),
    }
)
NEGATIVE_COLUMN_WORDS_OF_TASK = {
    "refusal": frozenset({"compliance", "complied", "complies", "comply", "answered"}),
    "groundedness": frozenset(
        {"grounded", "supported", "faithful", "factual", "entailed", "correct"}
    ),
}
# In a column of such a name 1 is what the task looks for, as readers expect. A name
# that is in none of these lists, of another language say, gives no reason to think so.
POSITIVE_COLUMN_STEMS = (
    *("unsafe", "harm", "toxic", "malicious", "hate", "abus", "offens", "violat"),
    *("attack", "jailbreak", "inject", "refus", "adversarial", "danger", "hazard"),
    *("threat", "unethical", "illegal", "block", "flag", "reject", "spam", "bad"),
    *("ungrounded", "hallucin", "unsupported", "risk", "insult", "obscen", "positive"),
)
NEUTRAL_COLUMN_STEMS = (
    *("label", "target", "class", "gold", "truth", "annotation", "verdict", "rating"),
    *("category", "judg", "score", "answer", "output", "result"),
)
NEGATIONS = frozenset({"not", "non", "no", "never", "without"})
# Columns that hold the names of the numbers in another one, as SetFit's sets have them.
COMPANION_SUFFIXES = ("_text", "_name", "_str", "_string")
# Below, a likely typo: `unsaf` for unsafe (0.91), but not `hate` for safe (0.5).
TYPO_SIMILARITY = 0.8
_MAX_WORDS = 1000  # different labels whose meanings are remembered


class LabelParser:
    """Turns labels into classes for one task; `label_map` (word -> word) wins.

    `names` are those stored with the column, by index: a key of `label_map` may be an
    index of them. Raises `OptionError` if the map leads to a word without a meaning.
    """

    def __init__(
        self,
        task: str,
        label_map: Mapping[str, str],
        column: str,
        names: Sequence[str] = (),
    ) -> None:
        positive, negative = TASK_LABELS.get(task, ((), ()))
        self.task = task
        self.column = column
        self.meanings: dict[str, bool | None]
        self.meanings = dict.fromkeys((*POSITIVE_LABELS, *positive), True)
        self.meanings |= dict.fromkeys((*NEGATIVE_LABELS, *negative), False)
        mapped = self._mapped(label_map, names)
        self.mapped = frozenset(mapped)
        # 1 in a column `is_safe` is the opposite of 1 in `unsafe`: never guess.
        self.ambiguous = (
            NUMBERS - mapped.keys()
            if _true_may_be_negative(column, task)
            else frozenset()
        )
        # Last, so that the user's words stand over ours.
        self.meanings |= mapped
        self._parsed: dict[str, bool | None] = {}

    def _mapped(
        self, label_map: Mapping[str, str], names: Sequence[str]
    ) -> dict[str, bool | None]:
        """Return the user's words with their meanings."""
        words = [normalise_label(name) for name in names]
        by_index = {str(i): word for i, word in enumerate(words)}
        mapped: dict[str, bool | None] = {}
        for key, value in label_map.items():
            word, meaning = normalise_label(key), self._meaning(key, value)
            # the user counts the classes of a column whose rows hold their names here
            if word not in words:
                word = by_index.get(word, word)
            # A name and its number may both be given: they are one class.
            if mapped.setdefault(word, meaning) != meaning:
                raise OptionError(f"--label-map: {word!r} is given two meanings")
        return mapped

    def _meaning(self, word: str, meaning: str) -> bool | None:
        key = normalise_label(meaning)
        if key in UNKNOWN_LABELS or not key:
            return None
        try:
            return self.meanings[key]
        except KeyError:
            raise OptionError(
                f"--label-map {word}={meaning}: {meaning!r} is neither safe nor unsafe "
                "nor unknown"
            ) from None

    def parse(self, value: object) -> bool | None:
        """Return True for the positive class, None for null and for an empty cell.

        Raises `ValueError` for a word that is unknown or ambiguous.
        """
        # few words stand for labels, and each stands in many rows
        if not isinstance(value, str):
            return self._parse(value)
        if value not in self._parsed:
            meaning = self._parse(value)
            if len(self._parsed) >= _MAX_WORDS:
                return meaning
            self._parsed[value] = meaning
        return self._parsed[value]

    def _parse(self, value: object) -> bool | None:
        word = normalise_label(value)
        if not word and "" not in self.meanings:
            return None
        if word in self.ambiguous:
            positive, negative = class_words(self.task)
            raise ValueError(
                f"is {word!r} in column {self.column!r} {negative} or {positive}? "
                f"say --label-map {word}={negative} or {word}={positive}"
            )
        if word not in self.meanings:
            raise ValueError(f"unknown label {value!r:.60}{self._hint(word)}")
        return self.meanings[word]

    def _hint(self, word: str) -> str:
        if word in PLACEHOLDERS or re.fullmatch(r"-\d+(\.\d+)?", word):
            return (
                "; it may mark a row without a label: say "
                f"--label-map {word}=unknown, safe or unsafe"
            )
        likely = _likely_word(word, self.meanings)
        if likely:
            return f"; did you mean {likely!r}?"
        positive, negative = class_words(self.task)
        return f"; say --label-map {word}={negative}|{positive}"

    def unclear_names(self, names: Iterable[str]) -> str:
        """Return a message about stored names that have no meaning here, or ""."""
        words = [normalise_label(name) for name in names]
        unclear = [word for word in words if word and word not in self.meanings]
        if not unclear:
            return ""
        positive, negative = class_words(self.task)
        maps = " ".join(f"--label-map {word}={negative}|{positive}" for word in unclear)
        return (
            f"column {self.column!r} stores the label names {', '.join(words)}, and "
            f"which class {' and '.join(map(repr, unclear))} "
            f"{'is' if len(unclear) == 1 else 'are'} is not known: say {maps}"
        )

    def assumption(self, values: Iterable[object]) -> str:
        """Return what is taken for granted about the numbers of a column, or "".

        Where its name is no word that is known: 1 is what the task looks for.
        """
        if _meaning_is_named(self.column, self.task):
            return ""
        numbers = NUMBERS - self.ambiguous - self.mapped
        words = {normalise_label(value) for value in values} & numbers
        if not words:
            return ""
        positive, negative = class_words(self.task)
        one, zero = ("true", "false") if words <= {"true", "false"} else ("1", "0")
        return (
            f"{one} in column {self.column!r} is taken for {positive}: if it is "
            f"{negative}, say --label-map {one}={negative} "
            f"--label-map {zero}={positive}"
        )

    def contradiction(self, rows: Iterable[Mapping[str, Any]]) -> str:
        """Return a message about a number beside its name in another column, or "".

        ``label`` 0 beside ``label_text`` unsafe: the name would be right.
        """
        companions = [f"{self.column}{suffix}" for suffix in COMPANION_SUFFIXES]
        for row in rows:
            number = normalise_label(row.get(self.column))
            if number not in NUMBERS or number in self.ambiguous:
                continue
            for companion in companions:
                name = row.get(companion)
                word = normalise_label(name)
                known = isinstance(name, str) and word not in NUMBERS
                named = self.meanings.get(word) if known else None
                if named is not None and named != self.meanings[number]:
                    return (
                        f"{self.column} {number} stands beside {companion} {name!r}, "
                        f"its opposite: append ,label={companion} to the name, or say "
                        f"--label-map {number}={word}"
                    )
        return ""


def _meaning_is_named(column: str, task: str) -> bool:
    """Tell whether a column's name says that its 1 may be taken for positive."""
    positive, _ = TASK_LABELS.get(task, ((), ()))
    stems = (*POSITIVE_COLUMN_STEMS, *NEUTRAL_COLUMN_STEMS, *positive)
    # at the start of a word: `inoffensive` is the opposite
    words = _column_words(column)
    return words == ["y"] or any(
        word.startswith(stems) or word.removeprefix("is").startswith(stems)
        for word in words
    )


def _column_words(column: str) -> list[str]:
    """Return the words of a column's name: ``isToxic`` and ``is_toxic`` are two."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).casefold()
    return re.findall(r"[a-z]+", spaced)


def class_words(task: str) -> tuple[str, str]:
    """Return a word for the positive and one for the negative class of a task."""
    positive, negative = TASK_LABELS.get(task, ((), ()))
    return next(iter(positive), "unsafe"), next(iter(negative), "safe")


def normalise_label(value: object) -> str:
    """Return a label as a lower-case word, whatever type its column has.

    Null is "". A whole number is written without its zeros: columns with gaps become
    floats in pandas, parquet and spreadsheets, so that 1.0 and the text "1.0" mean 1.
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN is unlike itself
        return ""
    word = str(value).strip().casefold()
    if whole := re.fullmatch(r"\+?(-?\d+)[.,]0*|\+(\d+)", word):
        word = whole[1] or whole[2]
    return "0" if word == "-0" else word


def _likely_word(word: str, known: Iterable[str]) -> str:
    """Return the known word that a typo means, or "".

    A wrong guess here inverts a label. So nothing is guessed for numbers, and not
    across a prefix: `unharmless` is near `harmless` and its opposite.
    """
    words = [k for k in known if k and k[:2] == word[:2] and k[0].isalpha()]
    close = get_close_matches(word, words, n=1, cutoff=TYPO_SIMILARITY)
    return close[0] if close else ""


def _true_may_be_negative(column: str, task: str) -> bool:
    """Tell whether a column is named like ``is_safe``: there, true is negative."""
    name = column.casefold()
    if "safe" in name.replace("unsafe", ""):
        return True
    words = _column_words(column)
    negative = NEGATIVE_COLUMN_WORDS | NEGATIVE_COLUMN_WORDS_OF_TASK.get(
        task, frozenset()
    )
    negated = {f"{no}{word}" for no in ("non", "not") for word in POSITIVE_LABELS}
    return any(
        word in NEGATIONS or {word, word.removeprefix("is")} & (negative | negated)
        for word in words
    )
