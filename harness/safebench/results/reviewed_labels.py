"""Labels as reviewers left them: wrong ones turned round, unclear ones left out.

Marks of run folders are applied to stored predictions in memory; nothing that is stored
is changed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import OptionError

from .outcomes import to_outcome
from .review_marks import read_marks, verdicts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from safebench.specs import MetricSpec
    from safebench.typing import Array

    from .predictions import StoredPredictions
    from .review_marks import ReviewedSample, Verdict

    Verdicts = Mapping[ReviewedSample, Verdict]

OF_CATEGORIES = "marks are about whole labels, and say nothing of categories"
OF_PAIRS = "marks are about single samples, and say nothing of pairs and severities"
OF_BOUNDS = "these bounds are not read back from stored predictions"
_NOT_LABELS = (
    ({"categories", "category_scores"}, OF_CATEGORIES),
    ({"pairs", "severity", "votes"}, OF_PAIRS),
    ({"category_bounds", "uncertainty_bounds"}, OF_BOUNDS),
)


class ReviewedLabels:
    """The marks of run folders, by set and task in `of_set`.

    They are about a set's labels, and not about a run: those of all folders are used
    for each of them. Raises DataError for a damaged file of marks.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(dict.fromkeys(folders))
        self.of_set: dict[tuple[str, str], dict[ReviewedSample, Verdict]]
        self.of_set = defaultdict(dict)
        marks = (mark for folder in self.folders for mark in read_marks(folder))
        for sample, verdict in verdicts(marks).items():
            self.of_set[sample.set_name, sample.task][sample] = verdict

    def require_one_of(self, sets: Iterable[tuple[str, str]]) -> None:
        """Raise OptionError where none of the sets, by name and task, has a mark."""
        if self.of_set.keys() & set(sets):
            return
        if self.of_set:
            there = ", ".join(f"{name} ({task})" for name, task in self.of_set)
            raise OptionError(
                f"no label of these results was reviewed: marks are of {there}"
            )
        where = ", ".join(folder.as_posix() for folder in self.folders)
        raise OptionError(
            f"no label was reviewed in {where}: `safebench serve` shows each sample "
            "with a form for it"
        )

    def apply(self, stored: StoredPredictions) -> AppliedMarks:
        """Return what the marks of its set do to predictions; nothing without any."""
        marked = self.of_set.get((stored.dataset, stored.task), {})
        return apply_marks(stored, marked, held_out=())


@dataclass(frozen=True, slots=True)
class AppliedMarks:
    """Marks on the n predictions of a file, and those that are about none of them.

    `flipped` and `unclear` (n,) bool say which labels are turned round or left out,
    `reviewed` (n,) bool which have a mark.
    """

    reviewed: Array
    flipped: Array
    unclear: Array
    counts: dict[str, int]

    @property
    def changes_any(self) -> bool:
        """Whether a label is turned round or left out."""
        return bool((self.flipped | self.unclear).any())

    def change(self, stored: StoredPredictions) -> StoredPredictions:
        """Return the predictions with the labels as they were reviewed."""
        if not self.changes_any:
            return stored
        kept = np.flatnonzero(~self.unclear)
        return replace(stored, y=stored.y ^ self.flipped).select(kept)


def apply_marks(
    stored: StoredPredictions, marked: Verdicts, held_out: Collection[str]
) -> AppliedMarks:
    """Find the samples of marks; `held_out` are the ids of the calibration part.

    A mark is void where the text or the label of its sample has changed since.
    """
    place = {id_: row for row, id_ in enumerate(stored.ids)}
    columns = {name: np.zeros(stored.n, dtype=bool) for name in _COLUMNS}
    counts: Counter[str] = Counter()
    for sample, verdict in marked.items():
        row = place.get(sample.id)
        if row is None:
            counts["held_out" if sample.id in held_out else "vanished"] += 1
        elif stored.content[row] != sample.content or stored.y[row] != verdict.label:
            counts["changed"] += 1
        else:
            counts[verdict.mark] += 1
            counts["disagree"] += verdict.disagree
            columns["reviewed"][row] = True
            columns["flipped"][row] = verdict.mark == "wrong"
            columns["unclear"][row] = verdict.mark == "unclear"
    return AppliedMarks(**columns, counts=dict(counts))


_COLUMNS = ("reviewed", "flipped", "unclear")


def review_facts(stored: StoredPredictions, applied: AppliedMarks) -> dict[str, Any]:
    """Return what a reader must know: counts, and how samples came to be reviewed.

    `errors` counts wrong decisions as stored, failed samples included; None where
    nothing was decided.
    """
    counts = applied.counts
    facts: dict[str, Any] = {
        "n_reviewed": int(applied.reviewed.sum()),
        **{f"n_{name}": counts.get(name, 0) for name in ("right", "wrong", "unclear")},
        **{f"n_{name}": counts.get(name, 0) for name in _SAID},
    }
    outcome = to_outcome(stored)
    errors = (
        outcome.failed if outcome.decision is None else outcome.decision != outcome.y
    )
    known = outcome.decision is not None
    for name, which in (("errors", errors), ("others", ~errors)):
        facts[name] = int(which.sum()) if known else None
        facts[f"{name}_reviewed"] = (
            int((which & applied.reviewed).sum()) if known else None
        )
    return facts


_SAID = ("disagree", "held_out", "vanished", "changed")


def why_not_of_labels(spec: MetricSpec) -> str:
    """Return why marks on labels cannot say a metric, "" if they can."""
    return next((why for needs, why in _NOT_LABELS if spec.needs & needs), "")
