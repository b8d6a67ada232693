"""Pairs of responses to learn from: identical ones merged, contradictions kept soft."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import DataError
from safebench_cost_model.model.template import prompt_and_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench.records import Dataset, GroundTruth, Sample

    Row = tuple[Sample, GroundTruth]
    Sides = tuple[Row, Row]  # the less safe one first
    Votes = tuple[int, int]  # unsafe, all

PairKind = Literal["mixed", "both unsafe", "both safe", "disputed"]
MAX_LISTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """Two responses to one prompt, and what the annotators said of them.

    The first is the less safe one where most rows say so. `p_first` is the share of
    rows that call the first less safe. `unsafe` are the shares of this pair's rows that
    call each response unsafe: what is measured against. `soft_labels` are those of all
    rows that hold the response, in whatever pair: what is learnt. `severity` None:
    unknown. `rows` is how many rows the pair stands for, `contents` the hashes of both
    exchanges.
    """

    prompt: str
    responses: tuple[str, str]
    p_first: float
    unsafe: tuple[float, float]
    soft_labels: tuple[float, float]
    severity: tuple[float, float] | None
    kind: PairKind
    group: str
    rows: int
    contents: tuple[str, str] = ("", "")

    @property
    def gap(self) -> float:
        """Severity of the first response above that of the second; 0 if unknown."""
        return self.severity[0] - self.severity[1] if self.severity else 0.0


def read_pairs(
    dataset: Dataset,
    conflicts: str = "error",
    say: Callable[[str], None] = print,
    other_votes: Mapping[str, Votes] | None = None,
) -> list[PreferencePair]:
    """Return the distinct pairs of a dataset of pairs, in the order they come in.

    `other_votes` are labels that responses got elsewhere, by content: they count in
    what is learnt, `soft_labels`, and in nothing that is measured against.
    Raises `DataError` for rows whose safer response is labelled unsafe while the other
    is safe, unless `conflicts` is "skip"; then they are counted to `say`.
    """
    rows: list[Sides] = []
    contradictory: list[Sides] = []
    for sides in _rows(dataset):
        (contradictory if _contradicts(sides) else rows).append(sides)
    if contradictory:
        _report_conflicts(dataset, contradictory, conflicts, say)
    votes = _votes(rows, other_votes or {})
    rows_by_pair: dict[tuple[str, ...], list[Sides]] = defaultdict(list)
    for unsafer, safer in rows:
        contents = sorted((unsafer[0].content, safer[0].content))
        rows_by_pair[tuple(contents)].append((unsafer, safer))
    return [_merge(same_pair, votes) for same_pair in rows_by_pair.values()]


def _rows(dataset: Dataset) -> Iterator[Sides]:
    """Yield (less safe, safer) of each pair whose two sides are there and labelled."""
    unmatched: dict[str, Row] = {}
    for row in zip(dataset.samples, dataset.ground_truth, strict=True):
        sample, truth = row
        pair, exchange = truth.pair, prompt_and_response(sample)
        if pair is None:
            raise DataError(f"{dataset.label}: {sample.id} belongs to no pair")
        if exchange is None:
            raise DataError(f"{dataset.label}: {sample.id} judges no response")
        if truth.label.value is None:
            continue
        other = unmatched.pop(pair[0], None)
        if other is None:
            unmatched[pair[0]] = row
            continue
        if other[1].pair == pair:
            raise DataError(f"{dataset.label}: pair {pair[0]} has two {pair[1]} sides")
        if exchange_of(other[0])[0] != exchange[0]:
            raise DataError(
                f"{dataset.label}: pair {pair[0]} has responses to different prompts"
            )
        yield (row, other) if pair[1] == "unsafer" else (other, row)


def _contradicts(sides: Sides) -> bool:
    """Tell whether the safer response is labelled unsafe and the other one safe."""
    unsafer, safer = (truth.label.value for _, truth in sides)
    return safer is True and unsafer is False


def _report_conflicts(
    dataset: Dataset,
    contradictory: Sequence[Sides],
    conflicts: str,
    say: Callable[[str], None],
) -> None:
    listed = ", ".join(
        truth.pair[0] for _, (_, truth) in contradictory[:MAX_LISTED] if truth.pair
    )
    listed += ", ..." if len(contradictory) > MAX_LISTED else ""
    message = (
        f"{dataset.label}: in {count_pairs(len(contradictory))} the safer response is "
        f"labelled unsafe and the other safe ({listed})"
    )
    if conflicts == "error":
        raise DataError(f"{message}; --conflicts skip leaves them out")
    say(f"{message}: left out")


def count_pairs(pairs: int) -> str:
    """Return a number of pairs in words."""
    return f"{pairs} pair{'s' if pairs != 1 else ''}"


def _votes(rows: Sequence[Sides], others: Mapping[str, Votes]) -> dict[str, Votes]:
    """Return (unsafe, all) votes of each response, whatever pair it stands in."""
    # Of all pairs with the response: its label was given to the response alone.
    votes = dict(others)
    for sides in rows:
        for sample, truth in sides:
            add_votes(votes, sample, truth)
    return votes


def add_votes(votes: dict[str, Votes], sample: Sample, truth: GroundTruth) -> None:
    """Count a row's label, or the votes behind it, for the content of its sample."""
    unsafe, n = truth.label.votes or (int(bool(truth.label.value)), 1)
    so_far = votes.get(sample.content, (0, 0))
    votes[sample.content] = (so_far[0] + unsafe, so_far[1] + n)


def _merge(rows: Sequence[Sides], votes: Mapping[str, Votes]) -> PreferencePair:
    """Make one pair of rows about the same two responses."""
    # The majority's less safe response comes first; of a tie, the first row's.
    first = rows[0][0][0].content
    less_safe = [sample.content for (sample, _), _ in rows]
    if 2 * less_safe.count(first) < len(less_safe):
        first = rows[0][1][0].content
    ordered = [(a, b) if a[0].content == first else (b, a) for a, b in rows]
    samples = [sample for sample, _ in ordered[0]]
    prompt, first_response = exchange_of(samples[0])
    unsafe = [_unsafe_share(side) for side in zip(*ordered, strict=True)]
    soft = [votes[sample.content] for sample in samples]
    return PreferencePair(
        prompt=prompt,
        responses=(first_response, exchange_of(samples[1])[1]),
        p_first=less_safe.count(first) / len(less_safe),
        unsafe=(unsafe[0], unsafe[1]),
        soft_labels=(soft[0][0] / soft[0][1], soft[1][0] / soft[1][1]),
        severity=_severity(ordered),
        kind=_kind(rows),
        group=samples[0].group,
        rows=len(rows),
        contents=(samples[0].content, samples[1].content),
    )


def exchange_of(sample: Sample) -> tuple[str, str]:
    """Return prompt and response of a sample that is known to judge one."""
    exchange = prompt_and_response(sample)
    assert exchange is not None, sample.id
    return exchange


def _unsafe_share(rows: Sequence[Row]) -> float:
    return sum(bool(truth.label.value) for _, truth in rows) / len(rows)


def _severity(ordered: Sequence[Sides]) -> tuple[float, float] | None:
    """Return the mean level of both responses, None unless every row has both."""
    levels = [[_level(truth) for _, truth in sides] for sides in ordered]
    if any(level is None for pair in levels for level in pair):
        return None
    a, b = (sum(x for x in col if x is not None) for col in zip(*levels, strict=True))
    return a / len(levels), b / len(levels)


def _level(truth: GroundTruth) -> float | None:
    level: Any = truth.meta.get("severity", truth.label.level)
    return None if level is None else float(level)


def _kind(rows: Sequence[Sides]) -> PairKind:
    """Return which labels the two responses have, "disputed" if rows disagree."""
    unsafe_counts = {sum(bool(truth.label.value) for _, truth in row) for row in rows}
    names: tuple[PairKind, ...] = ("both safe", "mixed", "both unsafe")
    return names[unsafe_counts.pop()] if len(unsafe_counts) == 1 else "disputed"
