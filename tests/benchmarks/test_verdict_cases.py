"""The script that compares engine and strategies with enumerated table models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
ORACLES = Path(os.environ.get("SAFEBENCH_ORACLES", ROOT.parent / "shared" / "oracles"))
FILE = ORACLES / "verdict_cases.json"

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason="no verdict_cases.json: set SAFEBENCH_ORACLES"
)


def compare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    script = ROOT / "benchmarks" / "verdict_cases.py"
    command = [sys.executable, script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def named(found: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the quantities that the last line names as wrong."""
    return found.stdout.splitlines()[-1].rpartition(": ")[2].split(", ")


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """Write the first case of the file with its expectations changed."""

    def write(change: Callable[[dict[str, Any]], None]) -> Path:
        content = json.loads(FILE.read_text())
        content["cases"] = content["cases"][:1]
        change(content["cases"][0]["expected"])
        path = tmp_path / "cases.json"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.mark.slow
def test_every_case_is_reproduced() -> None:
    """All quantities of all cases are met to 1e-9, and all bounds contain."""
    found = compare(FILE)

    assert "" == found.stderr
    assert "30 cases at eps 0, 0.001, 0.01; above 1e-09: none" in found.stdout
    assert 0 == found.returncode
    for quantity in ("F_3 in bounds", "c_1", "first_token", "joint_score", "outcomes"):
        assert f"\n{quantity} " in found.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "quantity",
    ["positive", "first_token", "token_probability", "joint_score", "verdict_entropy"],
)
def test_a_wrong_value_is_found(quantity: str, changed: Any) -> None:
    """A value that is off by 1e-6 is named, with exit code 1."""
    found = compare(changed(lambda e: e.update({quantity: e[quantity] + 1e-6})))

    assert 1 == found.returncode
    assert {"positive": "marginal_any score"}.get(quantity, quantity) in named(found)


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["F_2", "c_1", "A"])
def test_a_wrong_label_is_found(quantity: str, changed: Any) -> None:
    """So is a single label's value."""
    found = compare(changed(lambda e: e[quantity].update(S2=e[quantity]["S2"] + 1e-6)))

    assert 1 == found.returncode
    assert quantity in named(found)


@pytest.mark.slow
def test_a_wrong_outcome_is_found(changed: Any) -> None:
    """So are verdicts that should not be there."""
    found = compare(changed(lambda e: e["outcomes"].pop()))

    assert 1 == found.returncode
    assert ["outcomes"] == named(found)


@pytest.mark.slow
def test_no_file_is_a_usage_error() -> None:
    """Without a file it says how it is used."""
    assert "usage" in compare().stderr
