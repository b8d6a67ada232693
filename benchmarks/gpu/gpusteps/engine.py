"""The engine beside plain `generate`, and beside one call a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardspeed.compare import Comparison, Plan

if TYPE_CHECKING:
    from .setup import Setup


def measure(setup: Setup) -> dict[str, Any]:
    """Return the rows and ratios of benchmarks/speed/run.py, methods a to d."""
    setting = setup.guard(256)
    plan = Plan(rounds=setup.pick(2, 1), slow=setup.pick(6, 1), methods="abcd")
    return Comparison(setting, plan).run()
