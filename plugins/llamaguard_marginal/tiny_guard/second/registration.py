"""Checks that a registration came before its result, and is the one of a folder."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def check_same(work: Path, what: str, sha256: str) -> None:
    """ValueError where the folder holds the work of another `what` than this one."""
    mark = work / f"{what}.sha256"
    if mark.is_file() and mark.read_text(encoding="utf-8") != sha256:
        raise ValueError(f"{work} holds work of another {what}; take a new folder")
    mark.write_text(sha256, encoding="utf-8")


def registration_commit(path: Path) -> str:
    """Find the commit of a registration; ValueError unless it is committed as it is."""
    commit = _git(path, "log", "-1", "--format=%H", "--", path.name)
    if not commit or _git(path, "status", "--porcelain", "--", path.name):
        raise ValueError(f"{path.name} is not committed as it is: nothing is measured")
    return commit


def _git(path: Path, *command: str) -> str:
    """Return what git says in the folder of a file; nothing where it fails."""
    line = ["git", "-C", str(path.resolve().parent), *command]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603
    return "" if done.returncode else done.stdout.strip()
