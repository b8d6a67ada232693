"""Where a result comes from: versions, commit and command line, and what differs.

Whatever is written beside results passes `redact_secrets` first: a run folder is made
to be given away.
"""

from __future__ import annotations

import platform
import re
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
# whole words at the end of a key: "hf_token" is a secret, "max_new_tokens" is none
_SECRET_NAMES = r"(?:token|secret|password|api_?key)"  # noqa: S105 - a pattern
SECRET_KEY = re.compile(rf"(?:^|[_.]){_SECRET_NAMES}$", re.IGNORECASE)
SECRET_PAIR = re.compile(rf"((?:^|[_.,]|--){_SECRET_NAMES}=)[^,]*", re.IGNORECASE)


def package_versions() -> dict[str, str]:
    """Return the versions that results depend on, of what is installed."""
    versions = {"python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


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


def redact_secrets(value: Any, key: str = "") -> Any:
    """Return a configuration, or a command's words, without secrets."""
    if isinstance(value, dict):
        return {k: redact_secrets(v, str(k)) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_secrets(v, key) for v in value]
    if value and SECRET_KEY.search(key):
        return "***"
    return SECRET_PAIR.sub(r"\1***", value) if isinstance(value, str) else value


def differences(stored: Any, requested: Any, where: str = "") -> Iterator[str]:
    """Yield ``key.key: X there, Y asked for`` for each leaf where two values differ."""
    if isinstance(stored, dict) and isinstance(requested, dict):
        for key in sorted(stored.keys() | requested.keys()):
            path = f"{where}.{key}" if where else key
            yield from differences(stored.get(key), requested.get(key), path)
    elif stored != requested:
        yield f"{where}: {stored!r} there, {requested!r} asked for"
