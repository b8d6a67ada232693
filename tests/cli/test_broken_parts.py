"""A component whose code cannot be imported is one line, wherever it is asked for."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.errors import ComponentError
from safebench.plugins import ENTRY_POINT_GROUP, Plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    Safebench = Callable[..., Result]

PARTS = Path(__file__).parents[1] / "distributions" / "broken_parts"
LACKING = "ModuleNotFoundError: No module named 'no_such_module_anywhere'"


@pytest.fixture
def safebench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Safebench:
    """Return the command line with the broken parts, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(PARTS))
    stranger = EntryPoint("broken_parts", "broken_parts.plugin", ENTRY_POINT_GROUP)
    plugins = Plugins([*entry_points(group=ENTRY_POINT_GROUP), stranger])

    def run(*args: str) -> Result:
        return CliRunner().invoke(cli, args, obj=plugins)

    return run


@pytest.mark.parametrize(
    ("args", "target", "reason"),
    [
        (["train", "no_options"], "broken_parts.lacking:Options", LACKING),
        (["train", "no_options", "--help"], "broken_parts.lacking:Options", LACKING),
        (["train", "no_attribute"], "broken_parts.plugin:Options", "AttributeError: "),
        (
            ["train", "no_code"],
            "broken_parts.failing:fit",
            "RuntimeError: the driver is too old",
        ),
        (["run", "-c", "no_guard"], "broken_parts.lacking:Guard", LACKING),
        (["score", "-c", "no_guard", "x"], "broken_parts.lacking:Guard", LACKING),
    ],
)
def test_what_cannot_be_imported_is_named_with_the_reason(
    safebench: Safebench, args: list[str], target: str, reason: str
) -> None:
    """Exit code 2 and no traceback."""
    result = safebench(*args)

    assert 2 == result.exit_code, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"Error: cannot import {target}: {reason}")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "args",
    [["train", "no_code"], ["run", "-c", "no_guard"], ["score", "-c", "no_guard", "x"]],
)
def test_debug_keeps_the_cause(safebench: Safebench, args: list[str]) -> None:
    """With --debug the import error is there to be read, behind the message."""
    result = safebench(*args, "--debug")

    assert isinstance(result.exception, RuntimeError)
    mistake = result.exception.__cause__
    assert isinstance(mistake, ComponentError)
    assert isinstance(mistake.__cause__, (ModuleNotFoundError, RuntimeError))


def test_other_trainers_are_listed_beside_a_broken_one(safebench: Safebench) -> None:
    """The listing says what is wrong with the one, and shows the others whole."""
    result = safebench("list", "trainers", "--json")

    listed = {r["name"]: r for r in map(json.loads, result.stdout.splitlines())}
    assert 0 == result.exit_code, result.output
    assert LACKING in listed["no_options"]["error"]
    assert "error" not in listed["no_code"]
