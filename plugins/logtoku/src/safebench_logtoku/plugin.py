"""The plugin's declaration: the strategy `logtoku`, as an inert spec."""

from __future__ import annotations

from safebench import StrategySpec, hookimpl
from safebench.evidence import GreedyPath

_PACKAGE = "safebench_logtoku"


@hookimpl
def safebench_strategies() -> list[StrategySpec]:
    """Offer LogTokU, which reads raw logits of the written verdict."""
    return [
        StrategySpec(
            name="logtoku",
            summary="how little evidence the logits hold for the written tokens",
            load=f"{_PACKAGE}.strategy:logtoku",
            options=f"{_PACKAGE}.strategy:LogTokUOptions",
            needs={GreedyPath: frozenset({"logits"})},
            emits=frozenset({"categories", "uncertainty"}),
            decision_fallback="greedy",
            per_sample=True,
            replacements={
                "compat=original": "original_logtoku",
                "compat=seed": "original_logtoku",  # as it was spelled in 0.1
            },
            record={"eps": "min", "max_new_tokens": "max"},
            ignores={"top_p": "the greedy verdict is read, and nothing sampled"},
        )
    ]
