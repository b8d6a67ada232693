"""What a strategy may return: the right number of judgements, and possible values.

Nothing is repaired. A probability of two that is clipped to one would be published as
if somebody had meant it.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from safebench.errors import PluginError
from safebench.evidence.arrays import TOLERANCE, outside_unit
from safebench.strategies import Judgements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.evidence import EvidenceBundle
    from safebench.specs import StrategySpec

VECTORS = (
    "score",
    "lower",
    "upper",
    "uncertainty",
    "uncertainty_lower",
    "uncertainty_upper",
    "decision",
)
MATRICES = ("categories", "category_lower", "category_upper")
# on the scale of the score; an uncertainty has a scale of its own
_ON_SCORE_SCALE = ("score", "lower", "upper", *MATRICES)
_BOUNDS = (
    ("lower", "upper"),
    ("category_lower", "category_upper"),
    ("uncertainty_lower", "uncertainty_upper"),
)


def check_judgements(spec: StrategySpec, judgements: Any, size: int) -> None:
    """Raise `PluginError` unless these are judgements of `size` samples."""
    if not isinstance(judgements, Judgements):
        returned = "None" if judgements is None else f"a {type(judgements).__name__}"
        _refuse(spec, f"returned no judgements but {returned}")
    if judgements.size != size:
        _refuse(spec, f"returned {judgements.size} of {size} judgements")
    _check_words(spec, judgements)
    for name in VECTORS:
        _check_column(spec, name, getattr(judgements, name), (size,))
    for name in MATRICES:
        shape = (size, len(judgements.labels))
        _check_column(spec, name, getattr(judgements, name), shape)
    _check_values(spec, judgements)


def _check_words(spec: StrategySpec, judgements: Judgements) -> None:
    """Refuse errors, labels and a note that are no texts."""
    errors, labels = judgements.errors, judgements.labels
    if not isinstance(errors, (list, tuple)) or len(errors) != judgements.size:
        _refuse(spec, f"errors are no list of {judgements.size}")
    for error in errors:
        if error is not None and not isinstance(error, str):
            _refuse(
                spec, f"an error is a {type(error).__name__}, neither text nor None"
            )
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        _refuse(spec, "labels are no list of texts")
    if len(set(labels)) < len(labels):
        _refuse(spec, "a label stands twice among the labels")
    if not isinstance(judgements.note, str):
        _refuse(spec, f"the note is a {type(judgements.note).__name__}")


def _check_column(
    spec: StrategySpec, name: str, column: Any, shape: tuple[int, ...]
) -> None:
    if column is None:
        return
    if not isinstance(column, np.ndarray) or isinstance(column, np.ma.MaskedArray):
        _refuse(spec, f"{name} is a {type(column).__name__}, not a numpy array")
    if column.shape != shape:
        _refuse(spec, f"{name} has shape {column.shape}, not {shape}")
    if column.dtype.kind not in "biuf":
        _refuse(spec, f"{name} is an array of {column.dtype}, not of real numbers")


def _check_values(spec: StrategySpec, judgements: Judgements) -> None:
    """Refuse probabilities outside [0, 1], decisions that are none, crossed bounds."""
    judged = np.array([error is None for error in judgements.errors], dtype=bool)
    if judgements.decision is not None:
        decided = judgements.decision[judged]
        wrong = decided[~(np.isnan(decided) | (decided == 0) | (decided == 1))]
        if wrong.size:
            _refuse(spec, f"a decision is {wrong[0]:.6g}, neither 0 nor 1")
    if "probability" in spec.emits and judgements.probability:
        for name in _ON_SCORE_SCALE:
            column = getattr(judgements, name)
            found = None if column is None else outside_unit(column[judged])
            if found is not None:
                _refuse(spec, f"{name} holds a probability of {found}")
    for low_name, high_name in _BOUNDS:
        low, high = getattr(judgements, low_name), getattr(judgements, high_name)
        if low is None or high is None:
            continue
        crossed = low[judged] > high[judged] + TOLERANCE * (1 + abs(high[judged]))
        if crossed.any():
            _refuse(spec, f"{low_name} is above {high_name}")


def _refuse(spec: StrategySpec, what: str) -> NoReturn:
    raise PluginError(f"{spec.described}: {what}")


@contextmanager
def unchanged(spec: StrategySpec, bundle: EvidenceBundle) -> Iterator[None]:
    """Put evidence back as it was if a strategy changes it, and refuse the strategy.

    The arrays are read-only; their names and the meta data are Python's.
    """
    before = {
        kind: (dict(batch.arrays), dict(batch.offsets), deepcopy(batch.meta))
        for kind, batch in bundle.items()
    }
    changed = []
    try:
        yield
    finally:
        for kind, batch in bundle.items():
            if kind not in before:
                continue  # derived meanwhile
            arrays, offsets, meta = before[kind]
            now = (batch.arrays, batch.offsets)
            same = all(map(_same_arrays, now, (arrays, offsets)))
            if not same or batch.meta != meta:
                changed.append(kind.__name__)
            batch.arrays, batch.offsets, batch.meta = arrays, offsets, meta
    if changed:
        _refuse(spec, f"changed the evidence that it reads ({', '.join(changed)})")


def _same_arrays(now: Any, before: dict[str, Any]) -> bool:
    return (
        isinstance(now, dict)
        and now.keys() == before.keys()
        and all(now[name] is before[name] for name in before)
    )
