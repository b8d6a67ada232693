"""Find and read a profile: by its name, as a user's file, or in another package."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.config_file import YAML_SUFFIXES, OptionFile
from safebench.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable


@dataclass(frozen=True)
class ProfileFile:
    """The content of a profile. `name` is its file's stem, `where` is for messages."""

    name: str
    where: str
    content: Mapping[str, Any]

    @cached_property
    def hash(self) -> str:
        """SHA-256 over keys and values: comments and their order change nothing."""
        text = json.dumps(self.content, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def profile_names(folder: str) -> list[str]:
    """Return the names of the profiles in a folder, ``package:folder``."""
    return sorted(_shipped(folder))


def read_profile(reference: str, folder: str) -> ProfileFile:
    """Return the profile that a user names, with `folder` for bare names.

    `reference` is the NAME of a file in `folder` (``package:folder``), the path of a
    YAML or JSON file, or ``package:file.yaml``. Raises `OptionError` for what is not
    there, with the nearest name, and for what is no mapping.
    """
    package, colon, path = reference.partition(":")
    # one letter before a colon is a drive of Windows
    if colon and len(package) > 1 and not Path(reference).exists():
        return _read_resource(package, path, reference)
    if _looks_like_path(reference):
        file = Path(reference).expanduser()
        return ProfileFile(file.stem, str(file), OptionFile.read(file).content)
    shipped = _shipped(folder)
    if reference not in shipped:
        raise OptionError(
            f"profile: no {reference!r} here{did_you_mean(reference, shipped)}; a file "
            f"is named by its path, as in ./mine.yaml\n  there is: "
            f"{', '.join(sorted(shipped)) or 'none'}"
        )
    return _read(shipped[reference], reference)


def _looks_like_path(reference: str) -> bool:
    return any(c in reference for c in "/\\") or reference.endswith(YAML_SUFFIXES)


def _shipped(folder: str) -> dict[str, Traversable]:
    """Return the files of ``package:folder`` by their stems."""
    package, _, path = folder.partition(":")
    root = files(package).joinpath(path) if path else files(package)
    return {
        entry.name.rpartition(".")[0]: entry
        for entry in root.iterdir()
        if entry.name.endswith(YAML_SUFFIXES)
    }


def _read_resource(package: str, path: str, reference: str) -> ProfileFile:
    """Return a profile in an installed package; `OptionError` if it is not there."""
    try:
        resource = files(package).joinpath(path)
    except (ImportError, ValueError, TypeError):
        raise OptionError(
            f"profile {reference}: no package {package!r} is installed"
        ) from None
    if not resource.is_file():
        parent = files(package).joinpath(path.rpartition("/")[0])
        beside = [p.name for p in parent.iterdir()] if parent.is_dir() else []
        name = path.rpartition("/")[2]
        raise OptionError(
            f"profile {reference}: no file {path} in {package}"
            f"{did_you_mean(name, beside)}"
        )
    return _read(resource, reference)


def _read(resource: Traversable, where: str) -> ProfileFile:
    with as_file(resource) as file:
        return ProfileFile(file.stem, where, OptionFile.read(file).content)
