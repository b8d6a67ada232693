"""Specs of the strategies that `compat=original` chooses; imports nothing heavy."""

from __future__ import annotations

from safebench import StrategySpec
from safebench.evidence import SeedTree

_PACKAGE = __package__
_RECORD_OPTIONS = ("top_p", "eps", "max_new_tokens")


def _spec(name: str, *, threshold: float = 0.5, tuned: bool = False) -> StrategySpec:
    """Describe the function `name` of `compat.strategies`."""
    return StrategySpec(
        name=f"original_{name}",
        aliases=(f"seed_{name}",),  # its name in 0.1
        summary=f"{name} as first published: literal, tuned on the labels it scores",
        load=f"{_PACKAGE}.strategies:{name}",
        options=f"{_PACKAGE}.strategies:OriginalOptions",
        needs=frozenset({SeedTree}),
        emits=frozenset({"score", "categories"}),
        threshold=threshold,
        record={"top_p": "max", "eps": "min", "max_new_tokens": "max"},
        recorder_option_names={key: f"original_{key}" for key in _RECORD_OPTIONS},
        oracle_tuner=f"{_PACKAGE}.strategies:tune_{name}" if tuned else "",
        threshold_from="test (original)",
    )


# The first implementation compares sums of probabilities with 0.2, and does not say
# why; the three that name one label or two have a threshold that is chosen on the test
# labels.
SPECS: list[StrategySpec] = [
    _spec("greedy"),
    _spec("token_probability", threshold=0.2),
    _spec("marginal_fixed", threshold=0.2),
    _spec("marginal_any", threshold=0.2),
    _spec("probability_uncertainty", tuned=True),
    _spec("entropy_uncertainty", tuned=True),
    _spec("logtoku", tuned=True),
]
