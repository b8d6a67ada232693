"""Names and options of classifiers and strategies, resolved to what will run."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from safebench.compatibility import (
    lacking_fields,
    missing_requirements,
)
from safebench.errors import (
    ComponentError,
    PluginError,
    SafebenchError,
)
from safebench.evidence.scope import SCOPES
from safebench.identity import NOTED_FILES, json_mapping
from safebench.isolation import isolated
from safebench.options import convert
from safebench.redaction import redact_secrets
from safebench.specs import (
    Capabilities,
    ClassifierSpec,
    StrategySpec,
)

from .config import ComponentRef
from .resolved import FailedPart, ResolvedClassifier, ResolvedStrategy
from .selection import (
    Selected,
    SpecT,
    select,
    strategy_option_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.plugins import Plugins

    from .settling import Settled


# how requests of several strategies for one record option are merged
MERGE_RULES = {"min": min, "max": max}


def overridden(
    component: Selected[SpecT], options: Mapping[str, Any]
) -> Selected[SpecT]:
    """Return a component with further options, which win."""
    return component.with_ref(component.ref.with_options(options))


def with_model_options(
    strategy: Selected[StrategySpec], for_model: Mapping[str, Any]
) -> Selected[StrategySpec]:
    """Return a strategy with those options of one model that it accepts."""
    accepted = strategy_option_names(strategy)
    return overridden(strategy, {k: v for k, v in for_model.items() if k in accepted})


def resolve_classifier(
    classifier: Selected[ClassifierSpec],
    strategies: Sequence[Selected[StrategySpec]],
    plugins: Plugins,
    settled: Settled | None,
) -> tuple[ResolvedClassifier, list[FailedPart]]:
    """Resolve a classifier with the strategies that can read it.

    Strategies whose code fails are returned apart. `settled` is what its service said.
    """
    requested = _requested_record_options(strategies, classifier)
    options = classifier.schema.build(requested | classifier.ref.options)
    if settled:
        options = settled.options
    spec = classifier.spec
    # another token gives no other evidence, and what is stored holds none
    stated, noted_files = classifier_identity(spec, options)
    identity = redact_secrets(stated, in_text=False)
    plugin = plugins.owner(spec)
    whole = ResolvedClassifier(
        label=classifier.label,
        spec=spec,
        options=options,
        identity=identity,
        request={
            "classifier": spec.name,
            # another version of the plugin may record something else
            "producer": f"{plugin.distribution} {plugin.version}",
            "identity": identity,
        },
        strategies=(),
        capabilities=capabilities_of(spec, options),
        noted_files=noted_files,
        known_facts=settled.facts if settled else {},
    )
    resolved, failed = [], []
    for strategy in strategies:
        try:
            resolved.append(resolve_strategy(strategy, whole, plugins))
        except (PluginError, ComponentError) as error:
            failed.append(FailedPart(whole, (unresolved(strategy),), error))
    return replace(whole, strategies=tuple(resolved)), failed


def classifier_identity(
    spec: ClassifierSpec, options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what identifies a model, and the hashes of files that are only noted."""
    if spec.identity:
        identify = spec.import_object(spec.identity)
        with isolated(spec):
            identity = json_mapping(identify(options), "identity")
            files = json_mapping(identity.pop(NOTED_FILES, {}), NOTED_FILES)
            return identity, files
    # without a function of its own, every option may change what is recorded
    return {"options": asdict(options) if is_dataclass(options) else None}, {}  # type: ignore[arg-type]


def capabilities_of(spec: ClassifierSpec, options: Any) -> Capabilities:
    """Return what a classifier can do with its options.

    Raises `PluginError` for a task that nothing asks for: it would never be run.
    """
    if not spec.capabilities:
        policy = getattr(options, "policy", None) or spec.policy
        return Capabilities(tasks=spec.tasks, policy=policy)
    describe = spec.import_object(spec.capabilities)
    with isolated(spec):
        capabilities: Capabilities = describe(options)
        if not isinstance(capabilities, Capabilities):
            returned = type(capabilities).__name__
            raise TypeError(f"capabilities returned a {returned}, not Capabilities")
        if unknown := sorted(set(capabilities.tasks) - spec.tasks):
            raise ValueError(f"capabilities: {unknown[0]!r} is not among its tasks")
        if capabilities.evidence_scope not in (None, *SCOPES):
            scope = capabilities.evidence_scope
            raise ValueError(f"capabilities: evidence_scope is {scope!r}")
    return capabilities


def names_in_file(
    selected: Selected[ClassifierSpec], names: tuple[str, str]
) -> tuple[str, str]:
    """Return the names before ``--set``, as the user wrote them in the file.

    `names` are those after it: where it names the model, there are no others.
    """
    try:
        return model_and_label(selected)
    except SafebenchError:
        return names


def model_and_label(classifier: Selected[ClassifierSpec]) -> tuple[str, str]:
    """Return the names under which `models` may speak of a classifier."""
    model = str(classifier.ref.options.get("model", ""))
    if not model:  # its default, which only the identity knows
        options = classifier.schema.build(classifier.ref.options)
        model = str(classifier_identity(classifier.spec, options)[0].get("model"))
    return model, classifier.label


def _requested_record_options(
    strategies: Sequence[Selected[StrategySpec]], classifier: Selected[ClassifierSpec]
) -> dict[str, Any]:
    """Merge what strategies need recorded: one recording serves them all."""
    requested: dict[str, Any] = {}
    for strategy in strategies:
        spec, given = strategy.spec, strategy.ref.options
        for key, rule in spec.record.items():
            name = spec.recorder_option_names.get(key, key)
            if key not in given or name not in classifier.schema.names:
                continue
            value = convert(given[key], float, f"strategy {spec.name!r}, {key}")
            # whole numbers as such: the option may be annotated int
            value = int(value) if value == int(value) else value
            requested[name] = MERGE_RULES[rule](requested.get(name, value), value)
    return requested


def resolve_strategy(
    strategy: Selected[StrategySpec], classifier: ResolvedClassifier, plugins: Plugins
) -> ResolvedStrategy:
    """Return a strategy with its options and threshold for one classifier.

    Raises `PluginError` and `ComponentError`.
    """
    spec, schema, given = strategy.spec, strategy.schema, strategy.ref.options
    default = spec.threshold
    # of a probability alone: other scores have another scale
    if "probability" in spec.emits and classifier.capabilities.threshold is not None:
        default = classifier.capabilities.threshold
    schema.check_names(given, strategy_option_names(strategy))
    return ResolvedStrategy(
        label=strategy.label,
        spec=spec,
        options=schema.build({k: v for k, v in given.items() if k in schema.names}),
        threshold=convert(
            given.get("threshold", default),
            float,
            f"strategy {spec.name!r}, threshold",
        ),
        params=redact_secrets(
            {k: v for k, v in given.items() if k not in spec.ignores}
        ),
        notes=tuple(
            f"{spec.name} ignores {key}: {spec.ignores[key]}"
            for key in given
            if key in spec.ignores
        ),
        decision_fallback=_resolve_decision_fallback(spec, classifier, plugins),
    )


def _resolve_decision_fallback(
    spec: StrategySpec, classifier: ResolvedClassifier, plugins: Plugins
) -> ResolvedStrategy | None:
    """Return the strategy that decides where `spec` gives an uncertainty alone.

    None if it names no such strategy, or one that cannot read this classifier.
    """
    name = spec.decision_fallback
    if not name:
        return None
    fallback = select(ComponentRef(name, name), StrategySpec, plugins)
    can = classifier.capabilities
    if missing_requirements(classifier.spec, fallback.spec) or lacking_fields(
        classifier.spec, fallback.spec, can.lacks, can.turned_off
    ):
        return None
    return resolve_strategy(fallback, classifier, plugins)


def unresolved(strategy: Selected[StrategySpec]) -> ResolvedStrategy:
    """Return a strategy that cannot be resolved, for the row of its error."""
    return ResolvedStrategy(
        label=strategy.label,
        spec=strategy.spec,
        options=None,
        threshold=strategy.spec.threshold,
        params=dict(strategy.ref.options),
    )
