"""Large sets are judged part by part, by several strategies while a part is at hand.

What they say is what they say of the whole: each judgement depends on the evidence of
its sample alone (`StrategySpec.per_sample`). Where something of all samples differs
from part to part, the whole is judged after all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import SafebenchError
from safebench.evidence.trace_columns import trace_column
from safebench.strategies import Judgements
from safebench.strategies.base import MATRICES, VECTORS

from .judging import JudgedRows, judge_rows, judged_key
from .stored_bundle import StoredBundle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.evidence import EvidenceBundle
    from safebench.typing import Array

    from .evidence_set import Evaluation

# Judgements of several strategies at a time: those of all may be as large as a tree,
# and each further time reads all trees again, and derives from them what was derived.
STRATEGIES_AT_ONCE = 4  # at least
_BYTES_AT_ONCE = 2**26
_BYTES_A_JUDGEMENT = 400  # six numbers, and three of each of 14 categories
_NOTES = ("note", "decision_note", "category_note")
_COUNT = re.compile(r"\b\d[\d,]* of (the )?\d")
_OF_ALL = ("labels", "probability", "categories_decide", "threshold")


def strategies_at_once(n_samples: int) -> int:
    """Return by how many strategies so many samples are judged at a time."""
    return max(
        STRATEGIES_AT_ONCE, _BYTES_AT_ONCE // (_BYTES_A_JUDGEMENT * max(n_samples, 1))
    )


class _PartJudge:
    """Judges by one strategy, part by part."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        errors = trace_column(evaluation.evidence.traces, "error")
        self.recorded = np.flatnonzero([error is None for error in errors])
        self.error: SafebenchError | None = None
        self._rows: list[Array] = []
        self._parts: list[JudgedRows] = []

    def judge(self, rows: Array, bundle: EvidenceBundle) -> None:
        """Judge a part."""
        if self.error is not None:
            return
        try:
            judged = judge_rows(self.evaluation, rows.tolist(), bundle)
        except SafebenchError as error:  # told when it is this strategy's turn
            self.error = error
            return
        self._rows.append(rows)
        self._parts.append(judged)

    def keep(self) -> None:
        """Put what was said where `apply_strategy` looks for it."""
        result = self.error or joined(self._rows, self._parts)
        if result is not None:
            key = judged_key(self.evaluation, self.recorded)
            self.evaluation.evidence.judged[key] = result


def judge_in_parts(evaluations: Sequence[Evaluation]) -> None:
    """Judge the evidence of one large set by several strategies, read once.

    Nothing is done where the evidence is at hand whole. `apply_strategy` then returns
    what was said, or raises what a strategy raised.
    """
    bundle = evaluations[0].evidence.bundle
    if not isinstance(bundle, StoredBundle):
        return
    evaluations[0].evidence.judged.clear()
    # most often one group: evidence on request alone may have failures of its own
    groups: dict[bytes, list[_PartJudge]] = {}
    for judge in map(_PartJudge, _with_fallbacks(evaluations)):
        if len(judge.recorded):
            groups.setdefault(judge.recorded.tobytes(), []).append(judge)
    for judges in groups.values():
        for rows, part in bundle.parts(judges[0].recorded):
            for judge in judges:
                judge.judge(rows, part)
        for judge in judges:
            judge.keep()


def _with_fallbacks(evaluations: Sequence[Evaluation]) -> Iterator[Evaluation]:
    """Yield evaluations, and those of strategies whose decisions stand in."""
    seen = set()
    for evaluation in evaluations:
        fallback = evaluation.strategy.decision_fallback
        others = (evaluation.with_strategy(fallback),) if fallback else ()
        for asked in (evaluation, *others):
            key = (id(asked.strategy), id(asked.evidence.traces))
            if key not in seen:
                seen.add(key)
                yield asked


def joined(rows: Sequence[Array], parts: Sequence[JudgedRows]) -> JudgedRows | None:
    """Return what was said of all samples, in the order of their rows.

    None if the parts do not agree about all of them.
    """
    if not parts:
        return None
    order = np.argsort(np.concatenate(rows), kind="stable")
    said = [part.judgements for part in parts]
    columns: dict[str, Any] = {}
    for name in (*VECTORS, *MATRICES):
        values = [getattr(judgements, name) for judgements in said]
        if any(value is None for value in values) != all(v is None for v in values):
            return None
        columns[name] = None if values[0] is None else np.concatenate(values)[order]
    for name in _OF_ALL:
        first = getattr(said[0], name)
        if any(getattr(judgements, name) != first for judgements in said):
            return None
        columns[name] = first
    sizes = [judgements.size for judgements in said]
    for name in _NOTES:
        note = joined_note([getattr(j, name) for j in said], sizes)
        if note is None:
            return None
        columns[name] = note
    errors = [error for judgements in said for error in judgements.errors]
    unread = [reason for part in parts for reason in part.unread]
    places = order.tolist()
    judgements = Judgements(
        size=len(places), errors=[errors[place] for place in places], **columns
    )
    return JudgedRows(judgements, [unread[place] for place in places])


def joined_note(notes: Sequence[str], sizes: Sequence[int]) -> str | None:
    """Return the note on all samples of the notes on parts, None if it is not known.

    "3 of 40" of a part of 40 samples is a count, which is added up. A note that has the
    number of a part's samples elsewhere may speak of the part, and so may any other
    count: of the answers to its samples.
    """
    told = [(n, size) for n, size in zip(notes, sizes, strict=True) if n]
    counts = [_count_pattern(size).findall(note) for note, size in told]
    texts = {_count_pattern(size).sub("{} of {}", note) for note, size in told}
    if any(re.search(rf"\b{size}\b", text) for text in texts for size in {*sizes}):
        return None
    if any(_COUNT.search(text) for text in texts):
        return None
    if not any(counts):
        return notes[0] if len(set(notes)) == 1 else None
    if len(texts) != 1 or any(len(found) != 1 for found in counts):
        return None
    total = sum(int(found[0]) for found in counts)
    return texts.pop().replace("{} of {}", f"{total} of {sum(sizes)}")


def _count_pattern(size: int) -> re.Pattern[str]:
    return re.compile(rf"\b(\d+) of {size}\b")
