"""Meta data of evidence: what each kind promises beside its arrays.

A strategy relies on it, so that what is missing would end in an error of the strategy.
It is the classifier's: it is looked at before a strategy reads, and before it is
stored.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .kinds import Cost, MemberLogits, Scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Evidence

SCALES = ("probability", "score", "ordinal")
LINKS = ("softmax", "sigmoid")


def meta_problem(batch: Evidence) -> str | None:
    """Return what is wrong with the meta data of evidence, in a few words, or None."""
    if not isinstance(batch.meta, dict):
        return f"meta is a {type(batch.meta).__name__}, not a dict"
    for kind, check in _CHECKS.items():
        if isinstance(batch, kind):
            try:
                check(batch)
            except _ProblemError as problem:
                return str(problem)
    return None


class _ProblemError(Exception):
    """Meta data that are not as the kind of evidence describes them."""


def _check_scores(batch: Evidence) -> None:
    meta = batch.meta
    labels = _names(meta, "labels", batch["values"].shape[1])
    _one_of(meta, "scale", SCALES)
    threshold = meta.get("threshold")
    if threshold is not None and not _is_finite(threshold):
        _refuse(f"meta['threshold'] is {threshold!r:.40}, neither a number nor None")
    for task, label in _mapping(meta, "tasks").items():
        if label not in labels:
            _refuse(f"meta['tasks'][{task!r}] is {label!r:.40}, none of the labels")
    for label, code in _mapping(meta, "categories").items():
        if label not in labels or not isinstance(code, str):
            _refuse(f"meta['categories'] maps {label!r:.40} to {code!r:.40}")


def _check_members(batch: Evidence) -> None:
    meta = batch.meta
    n_members, n_classes = batch["logits"].shape[1:]
    # None is required: strategies of their own read other classes by other rules.
    classes = _names(meta, "classes", n_classes) if "classes" in meta else []
    if "members" in meta:
        _names(meta, "members", n_members)
    if "link" in meta:
        _one_of(meta, "link", LINKS)
    for name, task in _mapping(meta, "tasks").items():
        pair = isinstance(task, (list, tuple)) and len(task) == 2  # noqa: PLR2004
        if name not in classes or not pair or task[1] not in (1, -1):
            _refuse(f"meta['tasks'] maps {name!r:.40} to {task!r:.40}")
    for task, signs in _mapping(meta, "readings").items():
        known = isinstance(signs, (list, tuple)) and set(signs) <= {-1, 0, 1}
        if not known or len(signs) != n_classes:
            _refuse(f"meta['readings'][{task!r}] is {signs!r:.40}")


def _check_cost(batch: Evidence) -> None:
    """Refuse constants by which a probability would be none, or fall with the cost."""
    bias, temperature = batch.meta.get("bias"), batch.meta.get("temperature")
    if bias is None or temperature is None:
        return
    if not _is_finite(bias):
        _refuse(f"meta['bias'] is {bias!r:.40}, no number")
    if not _is_finite(temperature) or temperature <= 0:
        _refuse(f"meta['temperature'] is {temperature!r:.40}, no number above 0")


_CHECKS: dict[type[Evidence], Callable[[Evidence], None]] = {
    Scores: _check_scores,
    MemberLogits: _check_members,
    Cost: _check_cost,
}


def _refuse(problem: str) -> None:
    raise _ProblemError(problem)


def _names(meta: dict[str, Any], name: str, expected: int) -> list[str]:
    """Return a list of different texts, one for each column of an array."""
    value = meta.get(name)
    if value is None:
        _refuse(f"meta has no {name!r}")
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(item, str) for item in value
    ):
        _refuse(f"meta[{name!r}] is {value!r:.40}, no list of texts")
    names: list[str] = list(value or ())
    if len(names) != expected:
        _refuse(f"meta[{name!r}] has {len(names)} names for {expected} columns")
    if len(set(names)) < len(names):
        _refuse(f"meta[{name!r}] has a name twice")
    return names


def _one_of(meta: dict[str, Any], name: str, allowed: tuple[str, ...]) -> None:
    if name not in meta:
        _refuse(f"meta has no {name!r}: {', '.join(allowed)} would work")
    if meta[name] not in allowed:
        _refuse(f"meta[{name!r}] is {meta[name]!r:.40}, none of {', '.join(allowed)}")


def _mapping(meta: dict[str, Any], name: str) -> dict[str, Any]:
    value = meta.get(name)
    if value is not None and not isinstance(value, dict):
        _refuse(f"meta[{name!r}] is {value!r:.40}, no dict")
    return value or {}


def _is_finite(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)
