"""The odd guards, installed for a test, and the command line with them."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.plugins import ENTRY_POINT_GROUP, Plugins

if TYPE_CHECKING:
    from collections.abc import Callable

GUARDS = Path(__file__).parents[1] / "distributions" / "odd_guards"


@pytest.fixture
def odd_guards(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return what is installed, and the odd guards."""
    monkeypatch.syspath_prepend(str(GUARDS))
    entry_point = EntryPoint("odd_guards", "odd_guards.plugin", ENTRY_POINT_GROUP)
    return Plugins([*entry_points(group=ENTRY_POINT_GROUP), entry_point])


@pytest.fixture
def score(odd_guards: Plugins) -> Callable[..., Result]:
    """Return ``safebench score`` as a function of its arguments."""

    def run(*args: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, ["score", *args], obj=odd_guards, input=stdin)

    return run
