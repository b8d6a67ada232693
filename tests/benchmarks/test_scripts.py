"""Every benchmark can be started: what it imports is there, and it says its usage."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_without_arguments_it_says_how_it_is_called(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything that it imports is there, and its usage names it."""
    monkeypatch.setattr(sys, "argv", [script.name])

    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script), run_name="__main__")

    told = f"{left.value.code} {capsys.readouterr().err}"
    assert "usage: " in told
    assert script.name in told
