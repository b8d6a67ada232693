"""What a dataset holds: labels, categories, languages, lengths and irregularities.

Everything is counted over the samples that a run would judge. What the source does not
say is None or counted as unknown, and never as the negative class.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.policies import load_policy

from .labels import TASK_LABELS
from .loader import IRREGULARITIES
from .public import RATINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from safebench.records import Dataset, GroundTruth, Sample

# what the classes of a task are called here; the first is what the task looks for
CLASS_NAMES = {
    task: (positive[0], negative[0] if negative else f"no {positive[0]}")
    for task, (positive, negative) in TASK_LABELS.items()
} | {"prompt_harm": ("unsafe", "safe"), "response_harm": ("unsafe", "safe")}
MAX_VALUES = 12  # of a column that are counted by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Characters of the texts of a dataset: least, quartiles (observed), most, sum."""

    least: int
    lower_quartile: int
    median: int
    upper_quartile: int
    most: int
    total: int

    @classmethod
    def of(cls, texts: Iterable[str]) -> Lengths:
        """Return the lengths of one or more texts.

        A quartile is the least length that a quarter (half, three quarters) of the
        texts do not exceed, so that it is the length of one of them.
        """
        lengths = sorted(map(len, texts))
        lower, middle, upper = (
            lengths[-(-len(lengths) * part // 4) - 1] for part in (1, 2, 3)
        )
        return cls(
            least=lengths[0],
            lower_quartile=lower,
            median=middle,
            upper_quartile=upper,
            most=lengths[-1],
            total=sum(lengths),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryCount:
    """How many samples have a category, have it not, and of how many nobody knows."""

    code: str
    name: str | None
    true: int
    false: int
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnCount:
    """A column for slices: rows that have a value, and how many values there are.

    `values` are the commonest with their rows; None where nearly all rows differ, as
    ids and free texts do.
    """

    name: str
    known: int
    distinct: int
    values: dict[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a dataset holds.

    `labels` counts the classes of `task` and ``unknown``; `languages` those that rows
    name; `turns` samples by their number of turns, `judged_roles` by the role of the
    judged turn. `missing` counts rows without a label, without categories, without a
    language. `irregular` has the counts of `Dataset.counts`.
    """

    name: str
    task: str
    policy: str | None
    revision: str
    rows: int
    labels: dict[str, int]
    categories: tuple[CategoryCount, ...]
    languages: dict[str, int]
    judged_characters: Lengths
    all_characters: Lengths
    turns: dict[int, int]
    judged_roles: dict[str, int]
    documents: int
    groups: int
    largest_group: int
    missing: dict[str, int]
    irregular: dict[str, int]
    columns: tuple[ColumnCount, ...]


def describe_dataset(dataset: Dataset) -> Description:
    """Return what a dataset holds."""
    samples, truths = dataset.samples, dataset.ground_truth
    groups = Counter(sample.group for sample in samples)
    languages = Counter(s.language for s in samples if s.language is not None)
    n_with_documents = sum(bool(sample.documents) for sample in samples)
    return Description(
        name=dataset.label,
        task=dataset.task,
        policy=dataset.policy,
        revision=dataset.revision,
        rows=len(dataset),
        labels=_labels(dataset.task, truths),
        categories=_categories(dataset.policy, truths),
        languages=dict(languages.most_common()),
        judged_characters=Lengths.of(sample.judged.text for sample in samples),
        all_characters=Lengths.of(_whole_text(sample) for sample in samples),
        turns=dict(sorted(Counter(len(s.turns) for s in samples).items())),
        judged_roles=dict(Counter(s.judged.role for s in samples).most_common()),
        documents=n_with_documents,
        groups=len(groups),
        largest_group=max(groups.values()),
        missing={
            "label": sum(truth.label.value is None for truth in truths),
            "categories": sum(truth.categories is None for truth in truths),
            "language": len(samples) - languages.total(),
        },
        irregular={name: dataset.counts.get(name, 0) for name in IRREGULARITIES},
        columns=tuple(_columns(samples, truths)),
    )


def _whole_text(sample: Sample) -> str:
    return "".join((*(turn.text for turn in sample.turns), *sample.documents))


def class_name(task: str, value: bool | None) -> str:
    """Return what a label means for a task: unsafe, compliance, ... or unknown."""
    if value is None:
        return "unknown"
    return CLASS_NAMES[task][0 if value else 1]


def _labels(task: str, truths: Sequence[GroundTruth]) -> dict[str, int]:
    counts = Counter(truth.label.value for truth in truths)
    return {class_name(task, value): counts[value] for value in (True, False, None)}


def _categories(
    policy_id: str | None, truths: Sequence[GroundTruth]
) -> tuple[CategoryCount, ...]:
    """Return a count for each code of the policy, and for others that rows name."""
    if all(truth.categories is None for truth in truths):
        return ()
    policy = load_policy(policy_id) if policy_id else None
    names = {c.code: c.name for c in policy.categories} if policy else {}
    annotated = [truth for truth in truths if truth.categories is not None]
    codes = dict.fromkeys((*names, *sorted(_named_codes(annotated))))
    positive = Counter(code for t in annotated for code in t.categories or ())
    known = {code: len(annotated) for code in codes}
    for truth in annotated:
        # None: of every category it is known whether it applies
        if truth.known is not None:
            for code in codes:
                known[code] -= code not in truth.known | (truth.categories or set())
    return tuple(
        CategoryCount(
            code=code,
            name=names.get(code),
            true=positive[code],
            false=known[code] - positive[code],
            unknown=len(truths) - known[code],
        )
        for code in codes
    )


def _named_codes(truths: Iterable[GroundTruth]) -> set[str]:
    return {code for truth in truths for code in truth.categories or ()}


def _columns(
    samples: Sequence[Sample], truths: Sequence[GroundTruth]
) -> Iterable[ColumnCount]:
    """Yield a count for each column that comes along with samples or their truth."""
    rows: list[Mapping[str, Any]] = [
        {"transform": sample.transform} | sample.meta | truth.meta
        for sample, truth in zip(samples, truths, strict=True)
    ]
    names = dict.fromkeys(name for row in rows for name in row if name != RATINGS)
    for name in names:
        values = [_text(row.get(name)) for row in rows if row.get(name) is not None]
        if not values:
            if name != "transform":
                yield ColumnCount(name=name, known=0, distinct=0, values={})
            continue
        counts = Counter(values)
        # about one value a row says nothing in a count
        few = len(counts) <= max(MAX_VALUES, len(values) // 4)
        common = dict(counts.most_common(MAX_VALUES)) if few else None
        yield ColumnCount(
            name=name, known=len(values), distinct=len(counts), values=common
        )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value)


def head_rows(
    dataset: Dataset, n: int, shown: Callable[[str], str] | None
) -> list[dict[str, Any]]:
    """Return the first rows as JSON values; `shown` is applied to their texts.

    Without it texts are left out, and their lengths stand for them.
    """
    pairs = zip(dataset.samples[:n], dataset.ground_truth, strict=False)
    return [_head_row(sample, truth, shown) for sample, truth in pairs]


def _head_row(
    sample: Sample, truth: GroundTruth, shown: Callable[[str], str] | None
) -> dict[str, Any]:
    turns = [
        {
            "role": turn.role,
            "characters": len(turn.text),
            "judged": turn is sample.judged,
        }
        | ({} if shown is None else {"text": shown(turn.text)})
        for turn in sample.turns
    ]
    categories, known = truth.categories, truth.known
    return {
        "id": sample.id,
        "group": sample.group,
        "label": class_name(sample.task, truth.label.value),
        "categories": None if categories is None else sorted(categories),
        "categories_known": None if known is None else sorted(known),
        "language": sample.language,
        "documents": [
            {"characters": len(text)} | ({} if shown is None else {"text": shown(text)})
            for text in sample.documents
        ],
        "turns": turns,
        "columns": {**sample.meta, **truth.meta},
    }
