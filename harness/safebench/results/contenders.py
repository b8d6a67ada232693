"""Find what two names on a command line stand for, and pair their predictions."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from safebench.errors import RunFolderError, UnknownNameError, nearest

from .runs import RUNS
from .stored import FOLDER, stored_predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .stored import Stored

_SHOWN = 20


def contenders(
    a: str, b: str, runs: Sequence[str | Path] = (), root: Path = RUNS
) -> list[tuple[Stored, Stored]]:
    """Return pairs of files on the same dataset, of what `a` and of what `b` names.

    A name is CLASSIFIER/STRATEGY or one of both, where that says it, in one of `runs`
    (without any: all below `root`); or a run folder, alone or before such a name.
    Several strategies on both sides are paired by their labels. Raises
    UnknownNameError and RunFolderError.
    """
    first, second = (_named(name, runs, root) for name in (a, b))
    pairs = _paired(first, second)
    if not pairs:
        raise UnknownNameError(_cannot_pair(a, first, b, second))
    shared = [
        (one, other)
        for left, right in pairs
        for one in left
        for other in right
        if one.dataset == other.dataset and one.path != other.path
    ]
    if not shared:
        raise RunFolderError(_nothing_shared(a, first, b, second))
    return shared


def _named(name: str, runs: Sequence[str | Path], root: Path) -> list[Stored]:
    """Return the files that a name stands for: at least one."""
    folder, rest = _split(name, root)
    if folder is not None:
        found = stored_predictions(folder)
    else:
        folders = [_folder(Path(run), root) for run in runs] or _below(root)
        found, rest = [f for run in folders for f in stored_predictions(run)], name
    ways: tuple[Callable[[Stored], str], ...] = (
        lambda each: each.label,
        lambda each: each.strategy,
        lambda each: each.classifier,
    )
    for way in ways:
        kept = [each for each in found if way(each).casefold() == rest.casefold()]
        if kept:
            return _of_one_run(name, kept)
    if not rest:
        return found
    known = {way(each): None for way in ways for each in found}
    raise UnknownNameError(
        f"no predictions {name!r}{nearest(rest, known)}\n  there is: {_listed(found)}"
    )


def _split(name: str, root: Path) -> tuple[Path | None, str]:
    """Return the run folder that a name starts with, and the rest."""
    path = Path(name)
    for folder in (path, *path.parents):
        for found in (folder, root / folder):
            if (found / FOLDER).is_dir():
                rest = path.relative_to(folder)
                return found, "" if rest == Path() else rest.as_posix()
    return None, name


def _folder(path: Path, root: Path) -> Path:
    """Return a run folder that has predictions, or refuse with the nearest name."""
    for found in (path, root / path):
        if (found / FOLDER).is_dir():
            return found
    there = [each.name for each in _below(root)]
    hint = nearest(path.name, there) or "; `safebench run` makes one"
    raise RunFolderError(f"no predictions in {str(path)!r}{hint}")


def _below(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob(f"*/{FOLDER}"))


def _of_one_run(name: str, found: list[Stored]) -> list[Stored]:
    runs = sorted({str(each.run) for each in found})
    if len(runs) > 1:
        names = ", ".join(f"{run}/{name}" for run in runs[:_SHOWN])
        raise UnknownNameError(f"{name!r} is in {len(runs)} runs; say {names}")
    return found


def _paired(
    first: list[Stored], second: list[Stored]
) -> list[tuple[list[Stored], list[Stored]]]:
    """Pair two combinations, or several by the labels that they share."""
    ways: tuple[Callable[[Stored], str], ...] = (
        lambda _: "",
        lambda each: each.strategy,
        lambda each: each.label,
    )
    for way in ways:
        left, right = _by(first, way), _by(second, way)
        alone = all(
            len({each.label for each in files}) == 1
            for side in (left, right)
            for files in side.values()
        )
        if alone and (both := [key for key in left if key in right]):
            return [(left[key], right[key]) for key in both]
    return []


def _by(files: list[Stored], way: Callable[[Stored], str]) -> dict[str, list[Stored]]:
    found: dict[str, list[Stored]] = defaultdict(list)
    for each in files:
        found[way(each)].append(each)
    return found


def _cannot_pair(a: str, first: list[Stored], b: str, second: list[Stored]) -> str:
    return (
        f"{a!r} and {b!r} do not say which two to compare: name CLASSIFIER/STRATEGY\n"
        f"  {a!r} holds: {_listed(first)}\n  {b!r} holds: {_listed(second)}"
    )


def _nothing_shared(a: str, first: list[Stored], b: str, second: list[Stored]) -> str:
    if {each.dataset for each in first} & {each.dataset for each in second}:
        return f"{a!r} and {b!r} are the same predictions: name two that differ"
    on = [
        ", ".join(sorted({each.dataset for each in side})) for side in (first, second)
    ]
    return f"no dataset that both ran on: {a!r} has {on[0]}; {b!r} has {on[1]}"


def _listed(found: list[Stored]) -> str:
    names = list(dict.fromkeys(each.label for each in found))
    more = f", ... and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more
