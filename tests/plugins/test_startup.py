"""Starting costs little: nothing heavy is imported before it is needed."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "peft",
    "accelerate",
    "sklearn",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "rich",
    "yaml",
}
PROBE = """
import sys, runpy
sys.argv = ["safebench", *{args!r}]
try:
    runpy.run_module("safebench", run_name="__main__")
except SystemExit:
    pass
sys.stderr.write("LOADED " + " ".join(sys.modules))
"""


def cpu_seconds(*command: str, runs: int = 7, cwd: Path | None = None) -> float:
    """Return the least CPU time of some runs of a command, user and system."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *command], check=True, capture_output=True, cwd=cwd
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    return min(once() for _ in range(runs))


@pytest.mark.slow
@pytest.mark.parametrize("args", [["list-plugins"], ["--help"], ["run", "--help"]])
def test_listing_and_help_import_nothing_heavy(args: list[str]) -> None:
    """No numeric or model library is loaded to say what there is."""
    result = subprocess.run(
        [sys.executable, "-c", PROBE.format(args=args)],
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = set(result.stderr.rpartition("LOADED ")[2].split())
    assert "safebench.plugins" in loaded
    assert set() == HEAVY & loaded


@pytest.mark.slow
def test_a_run_does_without_the_distributions_of_scipy(tmp_path: Path) -> None:
    """Their module takes a third of a small run."""
    result = subprocess.run(
        [sys.executable, "-c", PROBE.format(args=["run", "-c", "keyword"])],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )

    loaded = set(result.stderr.rpartition("LOADED ")[2].split())
    assert "scipy.special" in loaded
    assert "scipy.stats" not in loaded


@pytest.mark.slow
@pytest.mark.parametrize("command", [["list-plugins"], ["--help"]])
def test_start_costs_at_most_eight_imports_of_click(command: list[str]) -> None:
    """CPU time is measured against the command-line library alone."""
    click_alone = cpu_seconds("-c", "import click")

    ours = cpu_seconds("-m", "safebench", *command)

    assert ours <= 8 * click_alone, f"{ours / click_alone:.1f} times"


@pytest.mark.slow
def test_a_keyword_run_takes_less_than_a_second_in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command to the table, libraries already imported; CPU time."""
    monkeypatch.chdir(tmp_path)
    command = ["run", "-c", "keyword"]
    plugins = Plugins()
    assert 0 == CliRunner().invoke(cli, command, obj=plugins).exit_code

    before = time.process_time()
    result = CliRunner().invoke(cli, [*command, "--out", "again"], obj=plugins)

    assert 0 == result.exit_code, result.output
    assert 1.0 > time.process_time() - before


@pytest.mark.slow
def test_a_keyword_run_takes_less_than_three_seconds_as_a_command(
    tmp_path: Path,
) -> None:
    """CPU time of the whole process, imports included."""
    command = ["-m", "safebench", "run", "-c", "keyword"]

    assert 3.0 > cpu_seconds(*command, runs=3, cwd=tmp_path)
