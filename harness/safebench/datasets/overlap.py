"""Texts that datasets share, and what share of each dataset they are.

Of two datasets `prompt_overlap` and `conversation_overlap` return the shared texts; of
more, such as those of a pack, `pairwise_overlap` counts exact and near copies.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from safebench.records import normalise

from .loader import first_prompt, prompt_hash
from .near_duplicates import near_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench.records import Dataset, Sample

TEXT_WIDTH = 70


@dataclass(frozen=True, slots=True)
class OverlapSide:
    """One of two datasets: its size, and how many of its samples the other has, too."""

    name: str
    samples: int
    shared: int

    @property
    def share(self) -> float:
        """Shared samples as a fraction of all."""
        return self.shared / self.samples if self.samples else 0.0


@dataclass(frozen=True, slots=True)
class SharedText:
    """A text that occurs in both datasets, with the ids of its samples."""

    text: str
    left: tuple[str, ...]
    right: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two datasets share when compared by `by`, prompt or conversation."""

    by: str
    left: OverlapSide
    right: OverlapSide
    common: tuple[SharedText, ...]

    @property
    def distinct(self) -> int:
        """Number of shared texts, each counted once however many samples have it."""
        return len(self.common)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOverlap:
    """Samples of two datasets whose prompt the other has, exactly or nearly.

    A sample with an exact copy is not counted as near. `same_source` is for sets that
    are the same rows with other labels, and share everything by construction.
    """

    left: str
    right: str
    left_samples: int
    right_samples: int
    left_exact: int
    right_exact: int
    left_near: int
    right_near: int
    same_source: bool = False

    @property
    def shares_any(self) -> bool:
        """Tell whether the two have any prompt in common."""
        return bool(self.left_exact or self.left_near)


def pairwise_overlap(
    datasets: Sequence[Dataset], similarity: float | None, sources: Sequence[object]
) -> list[PairOverlap]:
    """Return the overlap of every two datasets, in their order.

    Prompts are near if they are at least so similar (see `.near_duplicates`); with None
    nothing is. Datasets of one source, where it is known (not None), are marked.
    """
    rows_of = [_rows_by_prompt(dataset) for dataset in datasets]
    near = _near_prompts(datasets, rows_of, similarity) if similarity else {}
    return [
        _pair_overlap(datasets, rows_of, near, (left, right), sources)
        for left, right in combinations(range(len(datasets)), 2)
    ]


def _pair_overlap(
    datasets: Sequence[Dataset],
    rows_of: Sequence[Mapping[str, int]],
    near: Mapping[tuple[int, int], set[str]],
    pair: tuple[int, int],
    sources: Sequence[object],
) -> PairOverlap:
    exact = rows_of[pair[0]].keys() & rows_of[pair[1]].keys()

    def n_near(side: int, other: int) -> int:
        alike = near.get((side, other), set()) - exact
        return sum(rows_of[side][key] for key in alike)

    left, right = pair
    return PairOverlap(
        left=datasets[left].label,
        right=datasets[right].label,
        left_samples=len(datasets[left]),
        right_samples=len(datasets[right]),
        left_exact=sum(rows_of[left][key] for key in exact),
        right_exact=sum(rows_of[right][key] for key in exact),
        left_near=n_near(left, right),
        right_near=n_near(right, left),
        same_source=sources[left] is not None and sources[left] == sources[right],
    )


def _rows_by_prompt(dataset: Dataset) -> dict[str, int]:
    """Return the number of samples by the hash of their prompt."""
    rows: dict[str, int] = defaultdict(int)
    for sample in dataset.samples:
        rows[prompt_hash(sample.turns)] += 1
    return dict(rows)


def _near_prompts(
    datasets: Sequence[Dataset],
    rows_of: Sequence[Mapping[str, int]],
    similarity: float,
) -> dict[tuple[int, int], set[str]]:
    """Return by (dataset, other) the prompts of the first that are near the other's."""
    texts: dict[str, str] = {}
    for dataset in datasets:
        for sample in dataset.samples:
            texts.setdefault(prompt_hash(sample.turns), first_prompt(sample.turns))
    keys = list(texts)
    members = [
        frozenset(i for i, rows in enumerate(rows_of) if key in rows) for key in keys
    ]
    near: dict[tuple[int, int], set[str]] = defaultdict(set)
    for i, j, _ in near_pairs([*texts.values()], members, similarity):
        for a in members[i]:
            for b in members[j]:
                if a != b:
                    near[a, b].add(keys[i])
                    near[b, a].add(keys[j])
    return near


def prompt_overlap(left: Dataset, right: Dataset) -> Overlap:
    """Compare first user turns, normalised (Unicode form, outer space, line ends)."""
    return _compare("prompt", left, right, lambda sample: prompt_hash(sample.turns))


def conversation_overlap(left: Dataset, right: Dataset) -> Overlap:
    """Compare whole conversations, roles included."""
    return _compare("conversation", left, right, lambda sample: sample.content)


def _compare(
    by: str, left: Dataset, right: Dataset, key: Callable[[Sample], str]
) -> Overlap:
    left_samples, right_samples = (
        _samples_by_key(left, key),
        _samples_by_key(right, key),
    )
    shared = [k for k in left_samples if k in right_samples]
    common = tuple(
        SharedText(
            normalise(first_prompt(left_samples[k][0].turns)),
            tuple(sample.id for sample in left_samples[k]),
            tuple(sample.id for sample in right_samples[k]),
        )
        for k in shared
    )
    return Overlap(
        by,
        _overlap_side(left, left_samples, shared),
        _overlap_side(right, right_samples, shared),
        common,
    )


def _samples_by_key(
    dataset: Dataset, key: Callable[[Sample], str]
) -> Mapping[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {}
    for sample in dataset.samples:
        samples.setdefault(key(sample), []).append(sample)
    return samples


def _overlap_side(
    dataset: Dataset, index: Mapping[str, list[Sample]], shared: list[str]
) -> OverlapSide:
    return OverlapSide(
        dataset.label, len(dataset), sum(len(index[key]) for key in shared)
    )


def to_json(overlap: Overlap, show: int) -> dict[str, Any]:
    """Return JSON values: counts, shares, and the first `show` texts with their ids."""
    return {
        "by": overlap.by,
        "distinct": overlap.distinct,
        "left": asdict(overlap.left) | {"share": overlap.left.share},
        "right": asdict(overlap.right) | {"share": overlap.right.share},
        "examples": [asdict(common) for common in overlap.common[:show]],
    }


def to_text(overlap: Overlap, show: int) -> str:
    """Return a summary for a terminal, with the first `show` shared texts."""
    lines = [f"same {overlap.by}: {overlap.distinct:,} distinct"]
    lines += [
        f"  {side.shared:,} of {side.samples:,} samples of {side.name} "
        f"({100 * side.share:.1f} %)"
        for side in (overlap.left, overlap.right)
    ]
    for common in overlap.common[:show]:
        lines.append(f"  {shorten_line(common.text)}")
        lines.append(f"    {_format_ids(common.left)}  =  {_format_ids(common.right)}")
    if 0 < show < overlap.distinct:
        lines.append(f"  and {overlap.distinct - show:,} more (--show N)")
    return "\n".join(lines)


def shorten_line(text: str) -> str:
    """Return a text on one line of at most `TEXT_WIDTH` characters."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_WIDTH else f"{line[: TEXT_WIDTH - 3]}..."


def _format_ids(ids: tuple[str, ...]) -> str:
    more = f" (+{len(ids) - 1})" if len(ids) > 1 else ""
    return f"{ids[0]}{more}"


def pairs_to_text(pairs: Sequence[PairOverlap], similarity: float | None) -> str:
    """Return the pairs that share prompts, for a terminal, and how many do not."""
    sharing = [pair for pair in pairs if pair.shares_any]
    lines = []
    for pair in sharing:
        source = " (one source, other labels)" if pair.same_source else ""
        lines.append(f"{pair.left} and {pair.right}{source}")
        lines.append(
            _side_line(pair.left, pair.left_samples, pair.left_exact, pair.left_near)
        )
        lines.append(
            _side_line(
                pair.right, pair.right_samples, pair.right_exact, pair.right_near
            )
        )
    if not sharing:
        lines.append(f"none of {len(pairs)} pairs shares a prompt")
    elif n_apart := len(pairs) - len(sharing):
        lines.append(f"other pairs, which share no prompt: {n_apart}")
    if similarity:
        lines.append(
            f"near: at least {similarity:g} of the five-character sequences of two "
            "prompts are in both (Jaccard); case, punctuation and spaces do not count"
        )
    return "\n".join(lines)


def near_to_text(pair: PairOverlap, similarity: float) -> str:
    """Return how many samples of two datasets have a near copy, for a terminal."""
    return "\n".join(
        (
            f"near prompts (similarity from {similarity:g}), exact ones left out:",
            f"  {pair.left_near:,} of {pair.left_samples:,} samples of {pair.left}",
            f"  {pair.right_near:,} of {pair.right_samples:,} samples of {pair.right}",
        )
    )


def _side_line(name: str, samples: int, exact: int, near: int) -> str:
    share = 100 * (exact + near) / samples
    return (
        f"  {exact:,} exact and {near:,} near of {samples:,} samples of {name} "
        f"({share:.1f} %)"
    )


def pairs_to_json(pairs: Sequence[PairOverlap]) -> Iterator[dict[str, Any]]:
    """Yield JSON values of every pair, those that share nothing included."""
    return map(asdict, pairs)
