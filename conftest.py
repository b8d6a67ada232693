"""What holds for all tests: those of the core, and those of the plugins."""

from __future__ import annotations

import gc
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a terminal says of itself to programs: tables have the width, and the colours,
# that tests compare.
OF_TERMINALS = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE")
# Objects made before garbage is looked for; Python's own 700 cost a tenth of all tests.
MANY_OBJECTS = 20_000


def pytest_configure() -> None:
    """Take away what tests would depend on, before a module of theirs is imported."""
    for name in OF_TERMINALS:
        os.environ.pop(name, None)
    # An environment for the engines of models has no more than pytest.
    if find_spec("hypothesis"):
        _take_the_same_examples()


def _take_the_same_examples() -> None:
    """Let Hypothesis draw the same in each run, in any time.

    Other examples, each within 200 ms by the clock, would fail by chance.
    """
    from hypothesis import HealthCheck, settings  # noqa: PLC0415 - may be missing

    settings.register_profile(
        "safebench",
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("safebench")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among tests and libraries: all of them stay.

    Each look at all of them would take a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(MANY_OBJECTS, 10, 10)
        gc.enable()
