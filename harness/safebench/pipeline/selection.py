"""Which components a run uses: by name, by default, all, or a replacement."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from safebench.compatibility import missing_requirements, source_kinds
from safebench.errors import ComponentError, OptionError, PluginError
from safebench.options import OptionSchema
from safebench.specs import ClassifierSpec, Component, StrategySpec

from .config import ALL_STRATEGIES, ComponentRef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.plugins import Plugins

    from .config import RunConfig

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
