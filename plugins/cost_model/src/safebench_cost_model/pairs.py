"""Pairs of responses to learn from: identical ones merged, contradictions kept soft."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import DataError

from .template import exchange_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.records import Dataset, Gold, Sample

    Row = tuple[Sample, Gold]

Kind = Literal["mixed", "both unsafe", "both safe", "disputed"]
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two responses to one prompt, and what the annotators said of them.

    The first is the less safe one where most rows say so. `p_first` is the share of
    rows that call the first less safe. `unsafe` are the shares of this pair's rows that
    call each response unsafe: what is measured against. `soft` are those of all rows
    that hold the response, in whatever pair: what is learnt. `severity` None: unknown.
    """

    prompt: str
    responses: tuple[str, str]
    p_first: float
    unsafe: tuple[float, float]
    soft: tuple[float, float]
    severity: tuple[float, float] | None
    kind: Kind
    group: str
    rows: int

    @property
    def gap(self) -> float:
        """Severity of the first response above that of the second; 0 if unknown."""
        return self.severity[0] - self.severity[1] if self.severity else 0.0


def read_pairs(
    dataset: Dataset, conflicts: str = "error", say: Callable[[str], None] = print
) -> list[Pair]:
    """Return the distinct pairs of a dataset of pairs, in the order they come in.

    Raises `DataError` for rows whose safer response is labelled unsafe while the other
    is safe, unless `conflicts` is "skip"; then they are counted to `say`.
    """
    rows = list(_rows(dataset))
    good = [row for row in rows if not _contradicts(row)]
    if len(good) < len(rows):
        _report(dataset, [row for row in rows if _contradicts(row)], conflicts, say)
    votes = _votes(good)
    merged: dict[tuple[str, ...], list[tuple[Row, Row]]] = defaultdict(list)
    for unsafer, safer in good:
        contents = sorted((unsafer[0].content, safer[0].content))
        merged[tuple(contents)].append((unsafer, safer))
    return [_pair(alike, votes) for alike in merged.values()]


def _rows(dataset: Dataset) -> Iterator[tuple[Row, Row]]:
    """Yield (less safe, safer) of each pair whose two sides are there and labelled."""
    waiting: dict[str, Row] = {}
    for row in zip(dataset.samples, dataset.golds, strict=True):
        sample, gold = row
        pair, exchange = gold.pair, exchange_of(sample)
        if pair is None:
            raise DataError(f"{dataset.label}: {sample.id} belongs to no pair")
        if exchange is None:
            raise DataError(f"{dataset.label}: {sample.id} judges no response")
        if gold.label.value is None:
            continue
        other = waiting.pop(pair[0], None)
        if other is None:
            waiting[pair[0]] = row
            continue
        if other[1].pair == pair:
            raise DataError(f"{dataset.label}: pair {pair[0]} has two {pair[1]} sides")
        if _texts(other[0])[0] != exchange[0]:
            raise DataError(
                f"{dataset.label}: pair {pair[0]} has responses to different prompts"
            )
        yield (row, other) if pair[1] == "unsafer" else (other, row)


def _contradicts(row: tuple[Row, Row]) -> bool:
    unsafer, safer = (side[1].label.value for side in row)
    return safer is True and unsafer is False


def _report(
    dataset: Dataset,
    bad: Sequence[tuple[Row, Row]],
    conflicts: str,
    say: Callable[[str], None],
) -> None:
    shown = ", ".join(safer[1].pair[0] for _, safer in bad[:SHOWN] if safer[1].pair)
    shown += ", ..." if len(bad) > SHOWN else ""
    message = (
        f"{dataset.label}: in {counted(len(bad))} the safer response is labelled "
        f"unsafe and the other safe ({shown})"
    )
    if conflicts == "error":
        raise DataError(f"{message}; --conflicts skip leaves them out")
    say(f"{message}: left out")


def counted(pairs: int) -> str:
    """Return a number of pairs in words."""
    return f"{pairs} pair{'s' if pairs != 1 else ''}"


def _votes(rows: Sequence[tuple[Row, Row]]) -> dict[str, tuple[int, int]]:
    """Return (unsafe, all) votes of each response, whatever pair it stands in."""
    votes: dict[str, tuple[int, int]] = {}
    for row in rows:
        for sample, gold in row:
            yes, n = gold.label.votes or (int(bool(gold.label.value)), 1)
            before = votes.get(sample.content, (0, 0))
            votes[sample.content] = (before[0] + yes, before[1] + n)
    return votes


def _pair(alike: Sequence[tuple[Row, Row]], votes: dict[str, tuple[int, int]]) -> Pair:
    """Make one pair of rows about the same two responses."""
    first = alike[0][0][0].content  # of a tie, the first row's
    worse = [unsafer[0].content for unsafer, _ in alike]
    if 2 * worse.count(first) < len(worse):
        first = alike[0][1][0].content
    sides = [
        (a, b) if a[0].content == first else (b, a) for a, b in alike
    ]  # (rows, 2), the first response first
    samples = [side[0] for side in sides[0]]
    prompt, answer = _texts(samples[0])
    shares = [_share(side) for side in zip(*sides, strict=True)]
    soft = [votes[sample.content] for sample in samples]
    return Pair(
        prompt=prompt,
        responses=(answer, _texts(samples[1])[1]),
        p_first=worse.count(first) / len(worse),
        unsafe=(shares[0], shares[1]),
        soft=(soft[0][0] / soft[0][1], soft[1][0] / soft[1][1]),
        severity=_severity(sides),
        kind=_kind(alike),
        group=samples[0].group,
        rows=len(alike),
    )


def _texts(sample: Sample) -> tuple[str, str]:
    found = exchange_of(sample)
    assert found is not None, sample.id
    return found


def _share(rows: Sequence[Row]) -> float:
    return sum(bool(gold.label.value) for _, gold in rows) / len(rows)


def _severity(sides: Sequence[tuple[Row, Row]]) -> tuple[float, float] | None:
    """Return the mean level of both responses, None unless every row has both."""
    levels = [[_level(gold) for _, gold in side] for side in sides]
    if any(level is None for side in levels for level in side):
        return None
    a, b = (sum(x for x in col if x is not None) for col in zip(*levels, strict=True))
    return a / len(levels), b / len(levels)


def _level(gold: Gold) -> float | None:
    found: Any = gold.meta.get("severity", gold.label.level)
    return None if found is None else float(found)


def _kind(alike: Sequence[tuple[Row, Row]]) -> Kind:
    """Return which signs the two responses have, "disputed" if rows disagree."""
    kinds = {sum(bool(gold.label.value) for _, gold in row) for row in alike}
    names: tuple[Kind, ...] = ("both safe", "mixed", "both unsafe")
    return names[kinds.pop()] if len(kinds) == 1 else "disputed"
