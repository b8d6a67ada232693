"""What decides the rows of a hub set that is read from a local copy.

Columns of such a set may be kept only if nothing else decides them: its files, all of
them, in every folder that might be read for it, and the libraries that read them.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .request import DatasetRequest

_READERS = (
    "safebench.datasets.public",
    "safebench.datasets.declared",
    "safebench.datasets.hub",
)
_LIBRARIES = ("datasets", "pyarrow", "pandas", "huggingface_hub")
# Data files of another place: what lies there may change, and nobody would notice.
_ELSEWHERE = re.compile(rb"://|\.\./|\.\.\\")
_DESCRIBING = (".md", ".json", ".yaml", ".yml")
_NOT_OF_ROWS = ("origin",)  # fields of a spec


def copy_facts(request: DatasetRequest) -> dict[str, Any] | None:
    """Return what decides the rows, as JSON values; None where that is not known.

    For what the hub itself gives, for readers of plugins, and for a copy whose
    description leads out of its folder.
    """
    module = request.spec.load.partition(":")[0]
    if module not in _READERS or request.data_root is None:
        return None
    files = {}
    for folder in _folders(request, request.data_root):
        for path in _files(folder):
            name = path.relative_to(request.data_root).as_posix()
            files[name] = _digest(path)
            if path.suffix.casefold() in _DESCRIBING and _leads_out(path, folder):
                return None
    if not files:
        return None
    spec = {f.name: repr(getattr(request.spec, f.name)) for f in fields(request.spec)}
    return {
        "files": files,
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "recipes": _digest(Path(__file__).parents[1] / "recipes.py"),
        "revision": request.revision,
        "set": {k: v for k, v in sorted(spec.items()) if k not in _NOT_OF_ROWS},
        "source": request.source,
    }


def _folders(request: DatasetRequest, root: Path) -> list[Path]:
    """Return the folders in which the set may lie: of its name, of any organisation."""
    recipe = request.spec.recipe
    homes = recipe.homes if recipe is not None else ()
    ids = (request.source, request.spec.hub_id, *(home.hub_id for home in homes))
    names = {hub_id.rpartition("/")[2].casefold() for hub_id in ids if hub_id}
    return sorted(path for path in root.glob("*/*") if path.name.casefold() in names)


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, through links, too."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file():
                yield path


def _leads_out(path: Path, folder: Path) -> bool:
    """Tell whether what describes the set may name files of another place.

    A README does so in its head alone, and data in JSON may speak of anything.
    """
    if path.parent != folder:
        return False
    content = path.read_bytes()
    if path.suffix.casefold() == ".md":
        head = re.match(rb"\s*---\s*\n(.*?)\n---\s*(\n|$)", content, re.DOTALL)
        lines = b"" if head is None else head[1]
        return b"data_files" in lines and bool(_ELSEWHERE.search(lines))
    if path.suffix.casefold() == ".json" and "info" not in path.name:
        return False
    return b"data_files" in content and bool(_ELSEWHERE.search(content))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
