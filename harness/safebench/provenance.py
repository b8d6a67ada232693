"""Where a result comes from: versions, commit and command line, and what differs."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

REPORTED_PACKAGES = (
    "safebench",
    "numpy",
    "scikit-learn",
    "datasets",
    "torch",
    "transformers",
    "peft",
    "accelerate",
)


def package_versions() -> dict[str, str]:
    """Return the versions that results depend on, of what is installed."""
    return {"python": platform.python_version(), **_installed_versions()}


@cache  # each version is looked up in a package's metadata, for every strategy of a run
def _installed_versions() -> dict[str, str]:
    versions = {}
    for package in REPORTED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def provenance_fields() -> dict[str, Any]:
    """Return the fields of a result row that say what it was computed with."""
    return {"versions": package_versions(), "commit": source_commit()}


@cache
def source_commit() -> str | None:
    """Return the commit of a source checkout, or None for an installed package."""
    here = Path(__file__).resolve().parent
    # no further up: a site-packages folder may lie in a repository of its user
    if not any((parent / ".git").exists() for parent in here.parents[:4]):
        return None
    try:
        result = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],  # noqa: S607 - the user's git
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def command_line() -> list[str]:
    """Return the command as typed, the program by its short name."""
    return ["safebench", *sys.argv[1:]]


def differences(stored: Any, requested: Any, where: str = "") -> Iterator[str]:
    """Yield ``key.key: X there, Y asked for`` for each leaf where two values differ."""
    if isinstance(stored, dict) and isinstance(requested, dict):
        for key in sorted(stored.keys() | requested.keys()):
            path = f"{where}.{key}" if where else key
            yield from differences(stored.get(key), requested.get(key), path)
    elif stored != requested:
        yield f"{where}: {stored!r} there, {requested!r} asked for"
