"""The interface of trainers: a `Training` in, a `Trained` with its measures out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safebench.forwarding import old_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from safebench.records import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training, ready to start: options, data, and the artifact's folder `out`.

    `options` is an instance of the trainer's options dataclass. `train`, `val` and
    `test` share no group; every sample ends with the judged turn. Trainers that use
    transformers pass `arguments` to its `TrainingArguments`. With `resume`, finished
    work in `out` is kept and interrupted work continues. `say` prints a line. `data`
    describes the sources, as in the manifest. `singles` are responses labelled alone,
    none of which shares a group with `val` or `test`; None where none were given.
    """

    name: str
    options: Any
    out: Path
    train: Dataset
    val: Dataset
    test: Dataset
    seed: int = 0
    resume: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    say: Callable[[str], None] = print
    data: Mapping[str, Any] = field(default_factory=dict)
    singles: Dataset | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A metric of a trained model `who` (a member, the ensemble) on a split, `part`.

    `value` is None where the metric is undefined. `low` and `high` are the 95 %
    interval by `method`; all three may be None. `n` counts the rows (or pairs).
    """

    who: str
    part: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    method: str | None = None
    n: int | None = None
    note: str = ""


@old_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a trainer returns: measures to show, and its own keys of the manifest.

    `classifier` is the name under which `safebench run -c NAME --model OUT` loads the
    artifact. `manifest` holds what the classifier needs for that (members, label map,
    max_length, calibration, ...). `incomplete` says that the training did less than was
    asked for, such as fewer members: the command exits with code 1.
    """

    classifier: str
    manifest: Mapping[str, Any]
    measures: list[Measure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    incomplete: bool = False
