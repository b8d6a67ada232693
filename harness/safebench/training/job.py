"""What a trainer is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from safebench.records import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training, ready to start: options, parts of the data, the artifact's folder.

    `options` is an instance of the trainer's options dataclass. `train`, `val` and
    `test` share no group; every sample ends with the judged turn. `arguments` are
    passed through to `transformers.TrainingArguments` by trainers that use it. With
    `resume` what is finished in `out` is kept and what was interrupted goes on. `say`
    prints a line. `data` describes where the rows came from, as in the manifest.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number about what was trained: `who` (a member, the ensemble) on a `part`.

    `low` and `high` are the 95 % interval by `method`; all three may be None.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a trainer gives back: measures to show, its own part of the manifest.

    `classifier` is the name under which `safebench run -c NAME --model OUT` finds the
    artifact again. `manifest` holds what the classifier needs to load it (members,
    label map, pool, max_length, calibration, ...). `short` says that the training
    ended, but short of what was asked: exit code 1.
    """

    classifier: str
    manifest: Mapping[str, Any]
    measures: list[Measure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    short: bool = False
