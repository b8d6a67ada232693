"""What the steps import: which of it is missing, and wheels that were carried along.

Wheels are unpacked into a folder of their own, without what they depend on: the
environment stays as it is, and needs no network.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

# As pip calls them, and as they are imported. Readers of data sets are not among them:
# prompts are made up.
_OF_ONE_NAME = (
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy"),
    *("click", "pluggy", "rich", "filelock", "jinja2"),
)
NEEDED = {
    **{name: name for name in _OF_ONE_NAME},
    "scikit-learn": "sklearn",
    "pyyaml": "yaml",
}
# Of some steps alone: the others run without.
NEEDED_BY = {
    "members": {"accelerate": "accelerate"},
    "training": {"accelerate": "accelerate", "peft": "peft"},
}


def missing(packages: Iterable[tuple[str, str]]) -> list[str]:
    """Return the names of packages, given with their modules, that are not here."""
    return [name for name, module in packages if find_spec(module) is None]


def missing_for(step: str) -> list[str]:
    """Return what a step needs beyond the others and does not find."""
    return missing(NEEDED_BY.get(step, {}).items())


def all_packages() -> list[tuple[str, str]]:
    """Return every package that a step needs, with its module, each once."""
    by_step = (pair for needed in NEEDED_BY.values() for pair in needed.items())
    return list(dict.fromkeys([*NEEDED.items(), *by_step]))


def use_wheels(wheels: Path, target: Path, say: Callable[[str], None]) -> None:
    """Unpack the wheels of packages that are not installed, and import from there.

    One that does not fit this Python is named, and takes nothing from the others.
    """
    chosen = [
        wheel
        for wheel in sorted(wheels.glob("*.whl"))
        if not _installed(wheel.name.partition("-")[0])
    ]
    if not chosen:
        return
    refused = {wheel.name: why for wheel in chosen if (why := _unpack(wheel, target))}
    for name, why in refused.items():
        say(f"{name}: {why}")
    if unpacked := len(chosen) - len(refused):
        say(f"{unpacked} wheels of {wheels} are used")
    sys.path.append(str(target))  # behind what is installed: nothing is replaced
    importlib.invalidate_caches()


def _unpack(wheel: Path, target: Path) -> str:
    """Install one wheel into a folder; return why not, "" for success."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-index"]
    options += ["--no-deps", "--no-compile", "--target", str(target)]
    done = subprocess.run(  # noqa: S603 - this Python's own pip
        [sys.executable, "-m", "pip", "install", *options, str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.returncode:
        return ""
    lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
    return next((line for line in lines if line.startswith("ERROR")), lines[-1])


def _installed(name: str) -> bool:
    try:
        distribution(re.sub(r"[-_.]+", "-", name))
    except PackageNotFoundError:
        return False
    return True
