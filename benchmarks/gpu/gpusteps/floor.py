"""The full and the lean record, in times of one prefill a prompt."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from guardspeed import tree_recording
from guardspeed.meter import Reading, measured

from safebench_llamaguard_marginal import GuardOptions
from safebench_llamaguard_marginal.runner import explore_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from guardspeed.setting import Setting

    from safebench.verdict_tree import TreeExplorer

    from .setup import Setup

RECORDS = ("full", "lean")


def measure(setup: Setup) -> dict[str, Any]:
    """Return seconds, passes and ratios; a ratio is taken within each round."""
    setting = setup.guard(512)
    engines = {record: _engine(setting, record) for record in RECORDS}
    drafted = {name: _draft(engine) for name, engine in engines.items()}
    work: dict[str, Callable[[], Any]] = {
        "prefill": lambda: tree_recording.prefill(engines["full"], setting),
        "full": lambda: tree_recording.record(engines["full"], setting),
        "lean": lambda: tree_recording.record(engines["lean"], setting),
    }
    for warm_up in setup.pick([*work.values()], []):
        warm_up()
    rounds = [_round(setting, work) for _ in range(setup.pick(3, 1))]
    return {
        "prompts": len(setting.prompts),
        "rounds": len(rounds),
        "drafted_tokens": drafted,
        **{name: _summary(name, rounds) for name in work},
    }


def _engine(setting: Setting, record: str) -> TreeExplorer:
    """Return the engine as the classifier sets it up."""
    options = GuardOptions(record=record)  # type: ignore[arg-type]
    return tree_recording.explorer(setting, explore_options(options))


def _draft(engine: TreeExplorer) -> int:
    """Run canonical verdicts along, as draft=auto does; return tokens a prompt."""
    openers = engine.vocabulary.automaton.grammar.openers
    return engine.enable_draft(max(openers, key=len))


def _round(setting: Setting, work: dict[str, Callable[[], Any]]) -> dict[str, Reading]:
    readings = {}
    for name, run in work.items():
        with torch.inference_mode(), measured(setting.network) as readings[name]:
            run()
    return readings


def _summary(name: str, rounds: list[dict[str, Reading]]) -> dict[str, float]:
    ratios = [r[name].seconds / r["prefill"].seconds for r in rounds]
    return {
        "seconds": median(r[name].seconds for r in rounds),
        "passes": rounds[-1][name].passes,
        "tokens": rounds[-1][name].tokens,
        "ratio": median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }
