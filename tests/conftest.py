"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parent


class Installed:
    """A folder of installed test distributions, and the CLI run with it."""

    def __init__(self, site: Path, cwd: Path) -> None:
        self.site = site
        self.cwd = cwd

    def python(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the distributions on its path."""
        return subprocess.run(
            [sys.executable, *args],
            env=os.environ
            | {"PYTHONPATH": str(self.site), "OMP_NUM_THREADS": "1"}
            | env,
            cwd=self.cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def safebench(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command line with the distributions on its path."""
        return self.python("-m", "safebench", *args, **env)


def build_and_unpack(source: Path, site: Path, scratch: Path) -> None:
    """Build a distribution's wheel with its own backend and unpack it into `site`."""
    code = f"from hatchling.build import build_wheel; build_wheel({str(scratch)!r})"
    subprocess.run(
        [sys.executable, "-c", code], cwd=source, check=True, capture_output=True
    )
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        wheel.unlink()


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., Installed]:
    """Return a function that installs distributions: tests' by name, or a folder."""

    def _install(*sources: str | Path) -> Installed:
        site, scratch = tmp_path / "site", tmp_path / "wheels"
        scratch.mkdir(exist_ok=True)
        site.mkdir(exist_ok=True)
        for source in sources:
            # an absolute path stands for itself
            build_and_unpack(TESTS / "distributions" / source, site, scratch)
        return Installed(site, tmp_path)

    return _install
