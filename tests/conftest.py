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
            timeout=240,
        )

    def safebench(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command line with the distributions on its path."""
        return self.python("-m", "safebench", *args, **env)


def build_wheels(source: Path, into: Path) -> list[Path]:
    """Build a distribution's wheel with its own backend."""
    code = f"from hatchling.build import build_wheel; build_wheel({str(into)!r})"
    subprocess.run(
        [sys.executable, "-c", code], cwd=source, check=True, capture_output=True
    )
    return sorted(into.glob("*.whl"))


@pytest.fixture(scope="session")
def built() -> dict[Path, list[Path]]:
    """Return the wheels of tests' distributions that were built by now."""
    return {}


@pytest.fixture
def install(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    built: dict[Path, list[Path]],
) -> Callable[..., Installed]:
    """Return a function that installs distributions: tests' by name, or a folder.

    Those of the tests are built once: nothing changes them.
    """

    def wheels_of(source: Path) -> list[Path]:
        if source not in built:
            wheels = build_wheels(source, tmp_path_factory.mktemp("wheels"))
            if not source.is_relative_to(TESTS):
                return wheels
            built[source] = wheels
        return built[source]

    def _install(*sources: str | Path) -> Installed:
        site = tmp_path / "site"
        site.mkdir(exist_ok=True)
        for source in sources:
            # an absolute path stands for itself
            for wheel in wheels_of(TESTS / "distributions" / source):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(site)
        return Installed(site, tmp_path)

    return _install
