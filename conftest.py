"""What holds for all tests: those of the core, and those of the plugins."""

from __future__ import annotations

import gc
import importlib
import os
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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among tests and libraries: all of them stay.

    Each look at all of them would take a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        # It looks at who refers to what, which is not said of what is left alone.
        importlib.import_module("hypothesis")
        gc.freeze()
        gc.set_threshold(MANY_OBJECTS, 10, 10)
        gc.enable()
