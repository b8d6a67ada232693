"""What comes along with samples, to slice results by: language, attack, turns, ..."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from .public import RATINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from safebench.records import GroundTruth, Sample

# longer texts tell samples apart and make no slices; prompts must not be stored
MAX_STORED_CHARACTERS = 80


def sample_columns(sample: Sample, truth: GroundTruth) -> dict[str, Any]:
    """Return what came along with a sample; an empty cell of a column is None.

    `transform` names the attack, paraphrase or translation that a sample is, and
    `turns` counts those of its conversation.
    """
    known = {"language": sample.language, "transform": sample.transform}
    return {
        **sample.meta,
        **{name: value for name, value in truth.meta.items() if name != RATINGS},
        **{name: value for name, value in known.items() if value is not None},
        "turns": len(sample.turns),
    }


def stored_columns(
    pairs: Iterable[tuple[Sample, GroundTruth]], *, without_turns: bool
) -> Iterator[dict[str, Any]]:
    """Yield the columns of each sample of a dataset that predictions are stored with.

    Numbers, flags and short texts. `turns` are left out where all samples have as many.
    """
    left_out = {"turns"} if without_turns else set()
    for sample, truth in pairs:
        yield _stored(sample_columns(sample, truth), left_out)


def _stored(row: Mapping[str, Any], left_out: set[str]) -> dict[str, Any]:
    return {
        name: value
        for name, value in row.items()
        if name not in left_out and is_short(value)
    }


def is_short(value: object) -> bool:
    """Tell whether a value may be stored beside predictions."""
    if isinstance(value, str):
        return len(value) <= MAX_STORED_CHARACTERS
    if isinstance(value, float):
        return isfinite(value)  # JSON has no other numbers
    return value is None or isinstance(value, (bool, int))
