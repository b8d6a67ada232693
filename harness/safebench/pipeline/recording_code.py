"""The code that records: a hash of each file of a plugin's package.

It is stored beside the evidence and not in its key: an edit of a comment must not throw
away hours of recording, but it must not go unnoticed either that other code recorded
what a run reads.
"""

from __future__ import annotations

import ast
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.specs import ClassifierSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from safebench.plugins import Plugin

CORE = "safebench"
MAX_DATA_BYTES = 2**20  # larger files are weights: the plugin's `identity` hashes those
# Beginnings of notes that recording again would end.
OTHER_CODE = "recorded by other code"
OTHER_FILES = "recorded with other files"
MAX_SHOWN = 3  # files named in one message


def recording_code(spec: ClassifierSpec, plugin: Plugin) -> dict[str, Any] | None:
    """Return what identifies the code behind a classifier, as JSON.

    `plugin` is the distribution's name, `files` has the SHA-256 (16 hex digits) of
    each file of the package, by its path there: modules, word lists, templates. What
    only strategies, metrics, trainers or cards import is left out: it records nothing.
    None if there is no such package on disk.
    """
    module = spec.load.partition(":")[0]
    package = module.partition(".")[0]
    folder, files = _package_files(package, module)
    if not files:
        return None
    others = {
        target.partition(":")[0]
        for component in plugin.components
        if not isinstance(component, ClassifierSpec)
        for target in (component.load, component.options)
    }
    recording = {
        target.partition(":")[0]
        for component in plugin.components
        if isinstance(component, ClassifierSpec)
        for target in (component.load, component.options, component.identity)
    }
    modules = {_module_name(package, folder, p): p for p in files if p.suffix == ".py"}
    left_out = _only_reached_from(others - recording, recording, modules)
    return {
        "plugin": plugin.distribution,
        "files": {
            path.relative_to(folder).as_posix(): _hash(path)
            for path in files
            if path not in left_out
        },
    }


def differing_files(stored: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Return the files that were changed, added or removed between two codes."""
    before, now = stored.get("files"), current["files"]
    if not isinstance(before, dict):
        return []
    return sorted(
        name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
    )


def other_code_notes(stored: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Return what to know of evidence that `stored` recorded, where it is not today's.

    `model_files` are hashes of the files of a model that its key does not hold; a code
    of before they were stored says nothing of them.
    """
    notes = []
    code, code_today = ({**c, "model_files": None} for c in (stored, current))
    if code != code_today:
        notes.append(format_other_code(stored, current))
    before, now = stored.get("model_files"), current.get("model_files", {})
    if isinstance(before, dict) and before != now:
        changed = {n for n in before.keys() | now.keys() if before.get(n) != now.get(n)}
        notes.append(f"{OTHER_FILES} of the model ({_listed(sorted(changed))})")
    return notes


def format_other_code(stored: dict[str, Any], current: dict[str, Any]) -> str:
    """Return ``recorded by other code of PLUGIN (guard.py)`` for tables."""
    files = differing_files(stored, current)
    where = f" ({_listed(files)})" if files else ""
    return f"{OTHER_CODE} of {current['plugin']}{where}"


def _listed(files: list[str]) -> str:
    names = ", ".join(files[:MAX_SHOWN])
    if len(files) > MAX_SHOWN:
        names += f" and {len(files) - MAX_SHOWN} more"
    return names


def _package_files(package: str, module: str) -> tuple[Path, list[Path]]:
    """Return a package's folder and its files; of a module that is none, its own."""
    try:
        found = find_spec(package)  # of a top-level name: nothing is imported
    except (ImportError, ValueError):
        found = None
    if found is None:
        return Path(), []
    if not found.submodule_search_locations:
        path = Path(found.origin or "")
        return path.parent, [path] if path.is_file() else []
    folder = Path(next(iter(found.submodule_search_locations)))
    if package == CORE:  # all of safebench is more than what records
        folder = folder.joinpath(*module.split(".")[1:-1])
    return folder, sorted(_files_below(folder))


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if hidden or path.suffix == ".pyc" or not path.is_file():
            continue
        if path.suffix == ".py" or path.stat().st_size <= MAX_DATA_BYTES:
            yield path


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _module_name(package: str, folder: Path, path: Path) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    if parts == (package,):  # a module that is no package
        return package
    names = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join((package, *names))


def _only_reached_from(
    others: Iterable[str], recording: Iterable[str], modules: dict[str, Path]
) -> set[Path]:
    """Return the modules that `others` import and nothing else does.

    Imports are read from the text, those within functions too.
    """
    if not any(name in modules for name in others):
        return set()
    imports = {name: _imports(name, path) for name, path in modules.items()}
    aside = _closure(others, imports)
    kept = _closure((set(modules) - aside) | set(recording), imports)
    return {modules[name] for name in aside - kept}


def _closure(start: Iterable[str], imports: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    pending = [name for name in start if name in imports]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += [other for other in imports[name] if other in imports]
    return reached


def _imports(name: str, path: Path) -> set[str]:
    """Return the modules that a module may import, by all names that could be one."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(parents) if node.level else ""
            target = ".".join(filter(None, (base, node.module)))
            found |= {target, *(f"{target}.{alias.name}" for alias in node.names)}
    return found
