"""Texts that two datasets share, and what share of each dataset they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from safebench.records import normalise

from .loader import first_prompt, prompt_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
