"""Strategy parameters that hold for one model alone: `models` of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError, nearest

from .overrides import strategy_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from safebench.specs import StrategySpec

    Parameters = Mapping[str, Mapping[str, Any]]


def overrides(
    models: Parameters, names: Sequence[str], readers: Sequence[StrategySpec]
) -> dict[str, Any]:
    """Return the parameters under the first of a model's `names` that is there.

    Raises `OptionError` for a parameter that no chosen strategy takes.
    """
    name = next((name for name in names if name in models), None)
    if name is None:
        return {}
    known = {key for reader in readers for key in strategy_keys(reader)}
    for key in models[name]:
        if key not in known:
            raise OptionError(
                f"models.{name}: no chosen strategy takes {key!r}{nearest(key, known)}"
            )
    return dict(models[name])


def meant_for(spec: StrategySpec, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return those parameters that a strategy takes."""
    keys = strategy_keys(spec)
    return {key: value for key, value in parameters.items() if key in keys}


def unused(models: Parameters, running: Collection[tuple[str, str]]) -> Iterator[str]:
    """Say which entries belong to no (model, label) that runs: one may be misspelt."""
    known = {name for names in running for name in names}
    for name in models:
        if name not in known:
            there = ", ".join(dict.fromkeys(model for model, _ in running))
            yield f"models.{name} is not used: what runs is {there}"
