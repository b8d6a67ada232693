"""The registered recipe: what is trained, what is measured, and what decides."""

from __future__ import annotations

import hashlib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from tiny_guard.second.compare import Contest

REPOSITORY = Path(__file__).resolve().parents[4]
REGISTERED = REPOSITORY / "benchmarks" / "registered" / "embedded_guard.yaml"


@dataclass(frozen=True, slots=True)
class TeacherRecipe:
    """How the teachers are fitted.

    `folds` cross-fitted parts; the encoder learns its last `trained_layers` layers for
    `epochs` passes with `rate`, of texts cut to `characters`.
    """

    folds: int
    trained_layers: int
    epochs: int
    batch: int
    rate: float
    characters: int
    word_c: float


@dataclass(frozen=True, slots=True)
class StudentRecipe:
    """How each student is trained: two stages of steps, and what its target is.

    `label_weight` is the label's share of the target, the teacher has the rest;
    `limits` are tokens of a prompt in the two stages, `variants` texts without a label,
    `contexts` natural ones. It starts from the guard `start` of the package.
    """

    seeds: tuple[int, ...]
    steps: int
    long_steps: int
    rate: float
    long_rate: float
    label_weight: float
    limits: tuple[int, int]
    variants: int
    contexts: int
    start: str = "tiny-guard"


@dataclass(frozen=True, slots=True)
class PoolRecipe:
    """How many further texts without a label are made or drawn of each kind, at most.

    `swapped` are short prompts with words for which one of `neighbours` near ones
    stands, `spans` runs of words out of prompts; the others are written by people. With
    them the student's middle states learn what the encoder sees and each teacher says.
    """

    swapped: int
    neighbours: int
    spans: int
    tweets: int
    dialogue: int
    instructions: int
    sentences: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """The whole registration; `sha256` is of the file's bytes."""

    name: str
    similarity: float
    sets: dict[str, tuple[str, ...]]
    teacher: TeacherRecipe
    student: StudentRecipe
    sha256: str
    contest: Contest = field(default_factory=Contest)
    pool: PoolRecipe | None = None


def read_recipe(path: Path = REGISTERED) -> Recipe:
    """Read a registration; ValueError where a field is missing or not known."""
    content = path.read_bytes()
    record: dict[str, Any] = yaml.safe_load(content)
    needed = ("name", "similarity", "sets", "teacher", "student")
    if missing := [name for name in needed if name not in record]:
        raise ValueError(f"{path.name}: no {', '.join(missing)}")
    return Recipe(
        name=record["name"],
        similarity=float(record["similarity"]),
        sets={name: tuple(parts) for name, parts in record["sets"].items()},
        teacher=_part(TeacherRecipe, record["teacher"]),
        student=_part(StudentRecipe, record["student"]),
        sha256=hashlib.sha256(content).hexdigest(),
        pool=_part(PoolRecipe, record["pool"]) if "pool" in record else None,
        contest=Contest(record["name"], tuple(record.get("before", ("tiny-guard",)))),
    )


def _part(kind: Any, record: dict[str, Any]) -> Any:
    """Make a part of the recipe, lists as tuples; fields with a default may lack."""
    names = {one.name for one in fields(kind)}
    needed = {one.name for one in fields(kind) if one.default is MISSING}
    if not needed <= set(record) <= names:
        differing = sorted((set(record) - names) | (needed - set(record)))
        raise ValueError(f"{kind.__name__}: fields missing or not known: {differing}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    return kind(**values)
