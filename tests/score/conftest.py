"""The odd guards, installed for a test, and the command line with them."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.plugins import GROUP, Plugins

if TYPE_CHECKING:
    from collections.abc import Callable

GUARDS = Path(__file__).parents[1] / "distributions" / "odd_guards"


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return what is installed, and the odd guards."""
    monkeypatch.syspath_prepend(str(GUARDS))
    stranger = EntryPoint("odd_guards", "odd_guards.plugin", GROUP)
    return Plugins([*entry_points(group=GROUP), stranger])


@pytest.fixture
def score(odd: Plugins) -> Callable[..., Result]:
    """Return ``safebench score`` as a function of its arguments."""

    def run(*args: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, ["score", *args], obj=odd, input=stdin)

    return run
