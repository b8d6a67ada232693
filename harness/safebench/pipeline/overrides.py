"""Options given beside their component: ``--set``, and `models` of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError, did_you_mean

from .config import SHORTCUT_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from safebench.specs import ClassifierSpec, StrategySpec

    from .config import RunConfig
    from .selection import Selected

    ModelOptions = Mapping[str, Mapping[str, Any]]


def strategy_option_names(strategy: Selected[StrategySpec]) -> list[str]:
    """Return the keys a strategy accepts: options, threshold, recorded and ignored."""
    spec = strategy.spec
    return [*strategy.schema.names, "threshold", *spec.record, *spec.ignores]


class OptionOverrides:
    """``--set [LABEL.]key=value``, by the label of the component that takes it.

    Raises `OptionError` for a key that no component takes, and for one that several
    take if no label says which.
    """

    def __init__(
        self,
        config: RunConfig,
        classifiers: Sequence[Selected[ClassifierSpec]],
        strategies: Sequence[Selected[StrategySpec]],
    ) -> None:
        self._by_label: dict[str, dict[str, Any]] = {}
        # A record option (eps) belongs to the classifier here, though a strategy
        # accepts it too: otherwise every `--set eps=` would be ambiguous.
        keys = {c.label: c.schema.names for c in classifiers}
        for strategy in strategies:
            keys.setdefault(strategy.label, [*strategy.schema.names, "threshold"])
        for key, value in config.set.items():
            self._add(key, value, keys)
        for key in SHORTCUT_OPTIONS:
            if getattr(config, key) is not None:
                self._add_shortcut(key, getattr(config, key), classifiers)

    def for_label(self, label: str) -> Mapping[str, Any]:
        """Return the options that override those of a component."""
        return self._by_label.get(label, {})

    def _add(self, text: str, value: Any, keys: Mapping[str, Collection[str]]) -> None:
        label, dot, key = text.rpartition(".")
        if dot and label not in keys:
            raise OptionError(
                f"--set {text}: no {label!r} here{did_you_mean(label, keys)}"
            )
        labels = [label] if dot else [name for name in keys if key in keys[name]]
        if not labels:
            known = sorted({name for names in keys.values() for name in names})
            raise OptionError(
                f"--set {text}: nothing takes {key!r}{did_you_mean(key, known)}\n"
                f"  options: {', '.join(known)}"
            )
        if len(labels) > 1:
            choices = " or ".join(f"{name}.{key}" for name in labels)
            raise OptionError(f"--set {text}: which one? say {choices}")
        self._by_label.setdefault(labels[0], {})[key] = value

    def _add_shortcut(
        self, key: str, value: str, classifiers: Sequence[Selected[ClassifierSpec]]
    ) -> None:
        """Set ``--device`` and the like for every classifier that takes it."""
        taking = [c.label for c in classifiers if key in c.schema.names]
        if not taking:
            classifiers[0].schema.check_names([key])
        for label in taking:
            self._by_label.setdefault(label, {})[key] = value


def model_overrides(
    models: ModelOptions,
    names: Sequence[str],
    strategies: Sequence[Selected[StrategySpec]],
) -> dict[str, Any]:
    """Return the strategy options under the first of a model's `names` that is there.

    Raises `OptionError` for an option that no chosen strategy takes.
    """
    name = next((name for name in names if name in models), None)
    if name is None:
        return {}
    known = {key for s in strategies for key in strategy_option_names(s)}
    for key in models[name]:
        if key not in known:
            hint = did_you_mean(key, known)
            raise OptionError(f"models.{name}: no chosen strategy takes {key!r}{hint}")
    return dict(models[name])


def unused_model_notes(
    models: Iterable[str], used: Collection[tuple[str, str]]
) -> Iterator[str]:
    """Say which entries of `models` name no (model, label): one may be misspelt."""
    known = {name for names in used for name in names}
    for name in models:
        if name not in known:
            running = ", ".join(dict.fromkeys(model for model, _ in used))
            yield f"models.{name} is not used: what runs is {running}"
