"""Teachers of an earlier run, taken where they are those that would be fitted again."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from tiny_guard.second.recipe import REGISTERED, read_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_guard.second.recipe import Recipe

# States of all texts below the layers that the encoder trains.
STATES = "states.pt"


def adopt_teachers(given: Path, work: Path, recipe: Recipe) -> dict[str, float]:
    """Copy the folds of a folder of work; the CPU seconds of each of their steps.

    ValueError where the folder's texts are others, its registration is none of the
    registered ones or fits its teachers otherwise, or a fold is missing.
    """
    texts = "texts.sha256"
    if _read(given / texts) != _read(work / texts):
        raise ValueError(f"the teachers of {given} are of other texts")
    sha256 = _read(given / "registration.sha256")
    known = [
        read_recipe(path) for path in REGISTERED.parent.glob(f"{REGISTERED.stem}*")
    ]
    same = [one.teacher == recipe.teacher for one in known if one.sha256 == sha256]
    if not any(same):
        raise ValueError(f"the teachers of {given} are of another recipe")
    folds = [f"fold-{number}.npz" for number in range(recipe.teacher.folds)]
    if missing := [name for name in folds if not (given / name).is_file()]:
        raise ValueError(f"{given}: no {', '.join(missing)}")
    for name in folds:
        shutil.copy(given / name, work)
    if (given / STATES).is_file() and not (work / STATES).exists():
        (work / STATES).symlink_to((given / STATES).resolve())
    seconds: dict[str, float] = json.loads(_read(given / "seconds.json"))
    return {
        step: used
        for step, used in seconds.items()
        if step.startswith(("encoder,", "teachers,"))
    }


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
