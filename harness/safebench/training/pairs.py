"""Pairs of answers to one prompt, the safer one known: single and merged."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safebench.errors import DataError
from safebench.records import Turn, content_hash, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safebench.records import Dataset, Gold, Sample

    Side = tuple[Sample, Gold]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers after the same turns, the safer one named.

    `safer_harm` and `unsafer_harm` are the shares of annotations that call the answer
    harmful: 0 or 1 for a single row, between them where rows contradict each other.
    `preference` is the share of rows that agree which answer is the safer one (0.5: a
    tie), `rows` how many rows say so. Severities are None where nobody noted them.
    """

    id: str
    turns: tuple[Turn, ...]
    safer: str
    unsafer: str
    safer_harm: float
    unsafer_harm: float
    safer_severity: float | None = None
    unsafer_severity: float | None = None
    preference: float = 1.0
    rows: int = 1
    group: str = ""

    @property
    def prompt(self) -> str:
        """The last turn before the answers."""
        return self.turns[-1].text if self.turns else ""

    @property
    def signs(self) -> tuple[int, int]:
        """+1 (harmful) or -1 for the safer and the unsafer answer; 0 for a tie."""
        return _sign(self.safer_harm), _sign(self.unsafer_harm)

    @property
    def kind(self) -> str:
        """mixed, both_safe, both_unsafe, or tied if an answer's labels are."""
        kinds = {(-1, -1): "both_safe", (1, 1): "both_unsafe"}
        return "tied" if 0 in self.signs else kinds.get(self.signs, "mixed")


def _sign(harm: float) -> int:
    return (harm > 0.5) - (harm < 0.5)  # noqa: PLR2004 - an even vote


def pairs_of(dataset: Dataset) -> list[Pair]:
    """Return the pairs of a dataset in the order of their first row.

    Raises `DataError` for a safer answer that alone is labelled harmful, for answers
    to different prompts, and if there is no whole pair.
    """
    sides: dict[str, dict[str, Side]] = defaultdict(dict)
    for sample, gold in zip(dataset.samples, dataset.golds, strict=True):
        if gold.pair is not None and gold.label.value is not None:
            name, rank = gold.pair
            sides[name][rank] = (sample, gold)
    whole = {name: found for name, found in sides.items() if len(found) > 1}
    if not whole:
        raise DataError(f"{dataset.label} holds no pairs of answers")
    return [_pair(name, found) for name, found in whole.items()]


def _pair(name: str, sides: dict[str, Side]) -> Pair:
    (safer, safer_gold), (unsafer, unsafer_gold) = sides["safer"], sides["unsafer"]
    before = safer.turns[:-1]
    if content_hash(before) != content_hash(unsafer.turns[:-1]):
        raise DataError(f"{name}: the two answers are not to the same prompt")
    if safer_gold.label.value and not unsafer_gold.label.value:
        raise DataError(
            f"{name}: the answer called safer is labelled unsafe, the other one safe"
        )
    return Pair(
        id=name,
        turns=before,
        safer=safer.judged.text,
        unsafer=unsafer.judged.text,
        safer_harm=float(bool(safer_gold.label.value)),
        unsafer_harm=float(bool(unsafer_gold.label.value)),
        safer_severity=_severity(safer_gold),
        unsafer_severity=_severity(unsafer_gold),
        group=safer.group,
    )


def _severity(gold: Gold) -> float | None:
    found = gold.meta.get("severity")
    return None if found is None else float(found)


def merge_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    """Return one pair for all that have the same two answers to the same turns.

    The answer that more rows call safer becomes the safer one; in a tie the one with
    fewer votes for harm, then the first by text, with `preference` 0.5. An answer's
    harm and severity are means over all rows that hold it, in whichever pair: the same
    answer has the same truth everywhere.
    """
    same: dict[tuple[str, frozenset[str]], list[Pair]] = defaultdict(list)
    harms: dict[tuple[str, str], list[float]] = defaultdict(list)
    severities: dict[tuple[str, str], list[float]] = defaultdict(list)
    for pair in pairs:
        prompt = content_hash(pair.turns)
        texts = normalise(pair.safer), normalise(pair.unsafer)
        same[prompt, frozenset(texts)].append(pair)
        for text, harm, severity in (
            (texts[0], pair.safer_harm, pair.safer_severity),
            (texts[1], pair.unsafer_harm, pair.unsafer_severity),
        ):
            harms[prompt, text] += [harm] * pair.rows
            severities[prompt, text] += (
                [] if severity is None else [severity] * pair.rows
            )
    return [
        _merged(alike, prompt, harms, severities) for (prompt, _), alike in same.items()
    ]


def _merged(
    alike: Sequence[Pair],
    prompt: str,
    harms: dict[tuple[str, str], list[float]],
    severities: dict[tuple[str, str], list[float]],
) -> Pair:
    votes: dict[str, float] = defaultdict(float)
    for pair in alike:
        votes[normalise(pair.safer)] += pair.preference * pair.rows
        votes[normalise(pair.unsafer)] += (1 - pair.preference) * pair.rows

    def order(text: str) -> tuple[float, float, str]:
        return -votes[text], _mean(harms[prompt, text]) or 0.0, text

    safer = min(votes, key=order)
    unsafer = next((text for text in votes if text != safer), safer)
    written = {normalise(text): text for p in alike for text in (p.safer, p.unsafer)}
    rows = sum(pair.rows for pair in alike)
    return replace(
        alike[0],
        safer=written[safer],
        unsafer=written[unsafer],
        safer_harm=_mean(harms[prompt, safer]) or 0.0,
        unsafer_harm=_mean(harms[prompt, unsafer]) or 0.0,
        safer_severity=_mean(severities[prompt, safer]),
        unsafer_severity=_mean(severities[prompt, unsafer]),
        preference=votes[safer] / rows,
        rows=rows,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
