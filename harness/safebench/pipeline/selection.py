"""Which components a run uses, with options that are given beside them.

Components are chosen by name, by default, all, or as a replacement; options beside
them are ``--set`` and `models` of a configuration.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from safebench.compatibility import missing_requirements, source_kinds
from safebench.errors import ComponentError, OptionError, PluginError, did_you_mean
from safebench.options import OptionSchema
from safebench.specs import ClassifierSpec, Component, StrategySpec

from .config import ALL_STRATEGIES, SHORTCUT_OPTIONS, ComponentRef

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from safebench.plugins import Plugins

    from .config import RunConfig

    ModelOptions = Mapping[str, Mapping[str, Any]]


SpecT = TypeVar("SpecT", bound=Component)


@dataclass(frozen=True, slots=True)
class Selected(Generic[SpecT]):
    """A component as the user referred to it, its spec, and the options it takes."""

    ref: ComponentRef
    spec: SpecT
    schema: OptionSchema

    @property
    def label(self) -> str:
        """What stands for the component in tables and in ``--set LABEL.key``."""
        return self.ref.label

    def with_ref(self, ref: ComponentRef) -> Selected[SpecT]:
        """Return the component under another reference, with its options."""
        return replace(self, ref=ref)


def select(ref: ComponentRef, kind: type[SpecT], plugins: Plugins) -> Selected[SpecT]:
    """Look a component up; raises `UnknownNameError` with the nearest name."""
    spec = plugins.get(kind, ref.name)
    return Selected(ref, spec, OptionSchema.of(spec))


def select_classifiers(
    config: RunConfig, plugins: Plugins
) -> list[Selected[ClassifierSpec]]:
    """Return the classifiers of a run, with ``--model`` among the options of one."""
    if not config.classifiers:
        raise OptionError(
            "which classifier? say --classifier NAME\n  there is: "
            + ", ".join(sorted(s.name for s in plugins.all(ClassifierSpec)))
        )
    selected = [select(ref, ClassifierSpec, plugins) for ref in config.classifiers]
    if config.model is not None:
        selected = [_with_model(selected, config.model)]
    _check_unique_labels("classifier", selected)
    return selected


def select_strategies(
    config: RunConfig,
    classifiers: Sequence[Selected[ClassifierSpec]],
    plugins: Plugins,
    on_broken: Callable[[str], None],
) -> list[Selected[StrategySpec]]:
    """Return the strategies of a run: those asked for, else each classifier's own.

    An option that replaces a strategy by another (``compat=original``) is applied.
    Where all are asked for, one whose options cannot be read is left out, and
    `on_broken` is called with a note.
    """
    specs = [classifier.spec for classifier in classifiers]
    named = {ref.label for ref in config.strategies}
    selected = []
    for ref in _strategy_refs(config, specs, plugins):
        try:
            reference = _apply_replacement(ref, plugins)
            selected.append(select(reference, StrategySpec, plugins))
        except (ComponentError, PluginError) as error:
            if ALL_STRATEGIES not in named or ref.label in named:
                raise
            on_broken(f"skipped {ref.label}: {error.message}")
    _check_unique_labels("strategy", selected)
    return selected


def _with_model(
    classifiers: Sequence[Selected[ClassifierSpec]], model: str
) -> Selected[ClassifierSpec]:
    if len(classifiers) > 1:
        raise OptionError(
            "--model goes with one classifier; with several, name it in each:\n"
            "  -c a=NAME,model=ONE -c b=NAME,model=TWO"
        )
    (classifier,) = classifiers
    classifier.schema.check_names(["model"])
    return classifier.with_ref(classifier.ref.with_options({"model": model}))


def _check_unique_labels(
    kind: str, components: Sequence[Selected[ClassifierSpec] | Selected[StrategySpec]]
) -> None:
    for label, times in Counter(c.label for c in components).items():
        if times > 1:
            raise OptionError(
                f"{times} {kind} entries are labelled {label!r}: "
                f"say LABEL={label} to tell them apart"
            )


def _strategy_refs(
    config: RunConfig, classifiers: Sequence[ClassifierSpec], plugins: Plugins
) -> list[ComponentRef]:
    if not config.strategies:
        # two classifiers of one default are read by it once each, not twice
        names = dict.fromkeys(spec.default_strategy for spec in classifiers)
        return [ComponentRef(name, name) for name in names]
    named = {ref.name for ref in config.strategies}
    refs: list[ComponentRef] = []
    for ref in config.strategies:
        if ref.name == ALL_STRATEGIES:
            refs += [
                ComponentRef(spec.name, spec.name)
                for spec in plugins.all(StrategySpec)
                if spec.name not in named  # it has options of its own in the list
                and any(_reads_default_evidence(c, spec) for c in classifiers)
            ]
        else:
            refs.append(ref)
    return refs


def _reads_default_evidence(classifier: ClassifierSpec, strategy: StrategySpec) -> bool:
    """Tell whether `all` includes a strategy: one that needs no extra recording."""
    if strategy.joins_questions:
        return False
    if missing_requirements(classifier, strategy) or strategy.probes != ("main",):
        return False
    return source_kinds(classifier, strategy) <= set(classifier.provides)


def _apply_replacement(ref: ComponentRef, plugins: Plugins) -> ComponentRef:
    """Refer to the strategy that an option puts in the place of this one, if any."""
    spec = plugins.get(StrategySpec, ref.name)
    option = _replacing_option(ref, spec)
    if option is None:
        return ref
    key = option.partition("=")[0]
    # a label that the user chose is kept; a name would hide what was replaced
    label = ref.label if ref.label != ref.name else f"{ref.label}[{option}]"
    options = {k: v for k, v in ref.options.items() if k != key}
    return ComponentRef(spec.replacements[option], label, options)


def _replacing_option(ref: ComponentRef, spec: StrategySpec) -> str | None:
    """Return the entry (``key=value``) of `spec.replacements` that `ref` asks for.

    Raises `OptionError` for another value of the same key.
    """
    for option in spec.replacements:
        key, _, value = option.partition("=")
        if key not in ref.options:
            continue
        chosen = f"{key}={ref.options[key]}"
        if chosen not in spec.replacements:  # the first value is the one to name
            raise OptionError(
                f"strategy {spec.name!r}, {key}: {ref.options[key]!r} is not {value!r}"
            )
        return chosen
    return None


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
                f"--set: no {label!r} here, for {text!r}{did_you_mean(label, keys)}"
            )
        labels = [label] if dot else [name for name in keys if key in keys[name]]
        if not labels:
            known = sorted({name for names in keys.values() for name in names})
            raise OptionError(
                # no colon behind the name: what follows would pass for a secret's value
                f"--set: nothing takes {key!r}{did_you_mean(key, known)}\n"
                f"  options: {', '.join(known)}"
            )
        if len(labels) > 1:
            choices = " or ".join(f"{name}.{key}" for name in labels)
            raise OptionError(f"--set: which one? say {choices}")
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
