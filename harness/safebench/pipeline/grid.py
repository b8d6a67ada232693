"""The grid of a run: classifiers and the strategies that read them, options resolved.

Everything here happens before a model library is imported, so that a mistake in a
name, an option or a pair costs a second and not the loading of a model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from safebench.compatibility import (
    IncompatiblePair,
    check_pairs,
    lacking_fields,
    missing_requirements,
)
from safebench.errors import (
    ComponentError,
    IncompatibleError,
    OptionError,
    PluginError,
    SafebenchError,
)
from safebench.evidence.scope import SCOPES
from safebench.identity import NOTED_FILES, json_mapping
from safebench.isolation import isolated
from safebench.options import convert
from safebench.policies import load_policy
from safebench.redaction import redact_secrets
from safebench.specs import (
    Capabilities,
    ClassifierSpec,
    StrategySpec,
    fields_by_kind,
)

from .config import ComponentRef
from .selection import (
    OptionOverrides,
    Selected,
    SpecT,
    model_overrides,
    select,
    select_classifiers,
    select_strategies,
    strategy_option_names,
    unused_model_notes,
)
from .settling import Settled, settle_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.evidence.scope import EvidenceScope
    from safebench.plugins import Plugins

    from .config import RunConfig

# how requests of several strategies for one record option are merged
MERGE_RULES = {"min": min, "max": max}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStrategy:
    """A strategy with the options by which it reads one classifier.

    `params` are the options as given, for result rows; `decision_fallback` decides
    where this strategy has an uncertainty alone.
    """

    label: str
    spec: StrategySpec
    options: Any
    threshold: float
    params: dict[str, Any]
    notes: tuple[str, ...] = ()
    decision_fallback: ResolvedStrategy | None = None

    @property
    def threshold_decides(self) -> bool:
        """Whether the threshold stands over a rule of the strategy's own.

        One that the user names does, be it the default; so does that of the guard.
        """
        return "threshold" in self.params or self.threshold != self.spec.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedClassifier:
    """A classifier with its options, what identifies it, and its strategies.

    `request` is what its evidence is stored for: another request, other evidence.
    `capabilities` are what it can do with these options, `noted_files` hashes of files
    of its model that `request` does not hold, and `known_facts` those that stored
    evidence must have.
    """

    label: str
    spec: ClassifierSpec
    options: Any
    identity: dict[str, Any]
    request: dict[str, Any]
    strategies: tuple[ResolvedStrategy, ...]
    capabilities: Capabilities
    noted_files: Mapping[str, str] = field(default_factory=dict)
    known_facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The model's name for tables."""
        return str(self.identity.get("model", self.spec.name))

    @property
    def policy(self) -> str | None:
        """The id of the taxonomy that it judges by."""
        return self.capabilities.policy

    @property
    def tasks(self) -> frozenset[str]:
        """What it answers with these options."""
        return self.capabilities.tasks

    @property
    def evidence_scope(self) -> EvidenceScope:
        """What its evidence depends on, with these options."""
        return self.capabilities.evidence_scope or self.spec.evidence_scope

    @property
    def reads_documents(self) -> bool:
        """Whether it holds responses against documents, with these options."""
        stated = self.capabilities.reads_documents
        return self.spec.reads_documents if stated is None else stated


@dataclass(frozen=True, slots=True)
class FailedPart:
    """A classifier with strategies that cannot run, since code of a plugin failed."""

    classifier: ResolvedClassifier
    strategies: tuple[ResolvedStrategy, ...]
    error: SafebenchError


@dataclass(frozen=True, slots=True)
class Grid:
    """What will run, the pairs that will not, with reasons, and notes for the user.

    `failed` are parts whose own code (options, identity) failed.
    """

    classifiers: tuple[ResolvedClassifier, ...]
    skipped: tuple[IncompatiblePair, ...]
    notes: tuple[str, ...] = ()
    failed: tuple[FailedPart, ...] = ()


def build_grid(
    config: RunConfig, plugins: Plugins, *, go_on: bool = False, settle: bool = True
) -> Grid:
    """Resolve names and options; ask services what only they can say.

    Raises a `SafebenchError` for whatever is unknown, ambiguous or out of range, and
    if no strategy can read any of the classifiers. With `go_on`, a plugin whose code
    fails is among the `failed` as long as something else can run. Without `settle` no
    service is asked: `settle_grid` does, once the run folder is known.
    """
    grid = _build_grid(config, plugins, {}, go_on=go_on)
    return settle_grid(grid, config, plugins, go_on=go_on) if settle else grid


def settle_grid(
    grid: Grid,
    config: RunConfig,
    plugins: Plugins,
    stored: Sequence[Mapping[str, Any]] = (),
    *,
    go_on: bool = False,
) -> Grid:
    """Return the grid with what services say; `stored` is as in `settle_all`.

    Raises what `build_grid` does.
    """
    settled = settle_all(grid.classifiers, stored)
    return _build_grid(config, plugins, settled, go_on=go_on) if settled else grid


def _build_grid(
    config: RunConfig,
    plugins: Plugins,
    settled: Mapping[str, Settled],
    *,
    go_on: bool,
) -> Grid:
    classifiers = select_classifiers(config, plugins)
    broken: list[str] = []
    strategies = select_strategies(config, classifiers, plugins, broken.append)
    skipped = check_pairs(
        [c.spec for c in classifiers],
        [s.spec for s in strategies],
        plugins,
        ([c.label for c in classifiers], [s.label for s in strategies]),
    )
    overrides = OptionOverrides(config, classifiers, strategies)
    resolved, failed, names_used = [], [], []
    for selected in classifiers:
        readers = [
            _overridden(s, overrides.for_label(s.label))
            for s in strategies
            if not missing_requirements(selected.spec, s.spec)
        ]
        try:
            classifier = _overridden(selected, overrides.for_label(selected.label))
            if config.models:
                names = _model_and_label(classifier)
                names_used.append(_names_in_file(selected, names))
                for_model = model_overrides(config.models, names, strategies)
                readers = [_for_model(reader, for_model) for reader in readers]
            said = settled.get(selected.label)
            whole, failing = _resolve_classifier(classifier, readers, plugins, said)
            without = _without_categories(whole) + _without_fields(whole)
            dropped = {pair.strategy for pair in without}
            kept = [s for s in whole.strategies if s.label not in dropped]
            if not config.strategies and not kept:
                kept = _other_default(whole, plugins)
                without = [] if kept else without
            unasked = _unasked(whole, config)
            skipped += [pair for pair in without if pair.strategy not in unasked]
            whole = replace(whole, strategies=tuple(kept))
        except (PluginError, ComponentError) as error:
            failed.append(_failed_classifier(selected, readers, error))
            continue
        failed += failing
        resolved.append(whole)
    if failed and (not go_on or not any(c.strategies for c in resolved)):
        raise failed[0].error
    if strategies and not any(c.strategies for c in resolved):
        raise IncompatibleError("\n  ".join(map(str, skipped)))
    _refuse_one_id_of_two_policies(resolved)
    notes = [*broken, *unused_model_notes(config.models, names_used)]
    notes += [
        f"{classifier.label}: {classifier.capabilities.note}"
        for classifier in resolved
        if classifier.capabilities.note
    ]
    return Grid(tuple(resolved), tuple(skipped), tuple(notes), tuple(failed))


def _without_categories(classifier: ResolvedClassifier) -> list[IncompatiblePair]:
    """Return the strategies on categories, where the classifier has none.

    Its options tell, so that nothing is recorded for a strategy that will refuse it.
    """
    if classifier.policy is not None:
        return []
    return [
        IncompatiblePair(
            classifier.label,
            strategy.label,
            f"{strategy.label} needs categories, and {classifier.model} has none as "
            "it is read here: no policy is named",
        )
        for strategy in classifier.strategies
        if strategy.spec.needs_categories
    ]


def _without_fields(classifier: ResolvedClassifier) -> list[IncompatiblePair]:
    """Return the strategies that need what evidence lacks with these options."""
    capabilities, pairs = classifier.capabilities, []
    because, turned_off = capabilities.lacks_because, _turned_off(classifier)
    for strategy in classifier.strategies:
        if strategy.label in turned_off:
            missing, option = turned_off[strategy.label]
            reason = f", which {option} records"
        else:
            missing = lacking_fields(
                classifier.spec,
                strategy.spec,
                capabilities.lacks,
                capabilities.turned_off,
            )
            reason = f", which is not recorded, since {because}" if because else ""
        if missing:
            needs = f"{strategy.label} needs {', '.join(missing)}{reason}"
            pairs.append(IncompatiblePair(classifier.label, strategy.label, needs))
        elif why := capabilities.unreadable.get(strategy.spec.name):
            why = f"{strategy.label} {why}"
            pairs.append(IncompatiblePair(classifier.label, strategy.label, why))
    return pairs


def _turned_off(classifier: ResolvedClassifier) -> dict[str, tuple[list[str], str]]:
    """Return the strategies that could read what other options record.

    By label: what they need, and those options.
    """
    capabilities, found = classifier.capabilities, {}
    for strategy in classifier.strategies:
        needed = [
            kind
            for kind in fields_by_kind(strategy.spec.needs)
            if kind in capabilities.turned_off
        ]
        if needed:
            options = dict.fromkeys(capabilities.turned_off[kind] for kind in needed)
            names = [kind.__name__ for kind in needed]
            found[strategy.label] = names, " ".join(options)
    return found


def _unasked(classifier: ResolvedClassifier, config: RunConfig) -> set[str]:
    """Return the strategies that only ``all`` stands for, and other options record."""
    named = {ref.label for ref in config.strategies}
    return _turned_off(classifier).keys() - named


def _other_default(
    classifier: ResolvedClassifier, plugins: Plugins
) -> list[ResolvedStrategy]:
    """Return the default strategy with options that record what the usual cannot read.

    Empty where there is no such strategy.
    """
    name = classifier.capabilities.default_strategy
    if not name:
        return []
    chosen = select(ComponentRef(name, name), StrategySpec, plugins)
    return [_resolve_strategy(chosen, classifier, plugins)]


def _refuse_one_id_of_two_policies(classifiers: Sequence[ResolvedClassifier]) -> None:
    """Raise `OptionError` for two policy files of one id with other categories.

    Results name a policy by its id: categories of one guard would get the names and
    maps of the other's.
    """
    files: dict[str, str] = {}
    for classifier in classifiers:
        file, policy_id = getattr(classifier.options, "policy", ""), classifier.policy
        if policy_id is None or not isinstance(file, str) or policy_id == file:
            continue
        first = files.setdefault(policy_id, file or policy_id)
        if file and load_policy(file).hash != load_policy(first).hash:
            raise OptionError(
                f"policies {first} and {file} have other categories under one id, "
                f"{policy_id!r}: give each an id of its own"
            )


def keep_engines(grid: Grid, stored: Mapping[str, Any]) -> Grid:
    """Return the grid with each classifier as the version that began a run folder.

    `stored` is the identity of the folder's run. A classifier that can still record as
    an earlier version did has the option `engine`; where the user does not set it, it
    is the folder's, so that new evidence goes with what is there.
    """
    classifiers, notes = [], list(grid.notes)
    for classifier in grid.classifiers:
        engine = _stored_engine(classifier, stored)
        classifiers.append(_with_engine(classifier, engine))
        if engine is not None:
            notes.append(
                f"{classifier.label}: recorded as what this folder holds "
                f"(engine={engine}); another --out records as of today"
            )
    return replace(grid, classifiers=tuple(classifiers), notes=tuple(notes))


def _stored_engine(
    classifier: ResolvedClassifier, stored: Mapping[str, Any]
) -> int | None:
    """Return the engine of a folder if it is an earlier one that can be kept."""
    try:
        engine = stored["classifiers"][classifier.label]["identity"]["engine"]
    except (KeyError, TypeError):
        return None
    options, today = classifier.options, classifier.identity.get("engine")
    earlier = isinstance(engine, int) and isinstance(today, int) and engine < today
    return engine if earlier and getattr(options, "engine", None) == 0 else None


def _with_engine(
    classifier: ResolvedClassifier, engine: int | None
) -> ResolvedClassifier:
    if engine is None:
        return classifier
    try:
        options = replace(classifier.options, engine=engine)
    except OptionError:  # too early: the folder is refused as another run
        return classifier
    stated, _ = _classifier_identity(classifier.spec, options)
    identity = redact_secrets(stated, in_text=False)
    request = classifier.request | {"identity": identity}
    return replace(classifier, options=options, identity=identity, request=request)


def _failed_classifier(
    classifier: Selected[ClassifierSpec],
    strategies: Sequence[Selected[StrategySpec]],
    error: SafebenchError,
) -> FailedPart:
    """Return a classifier that cannot be resolved, by what is known of it."""
    resolved = ResolvedClassifier(
        label=classifier.label,
        spec=classifier.spec,
        options=None,
        identity={},
        request={},
        strategies=(),
        capabilities=Capabilities(tasks=classifier.spec.tasks),
    )
    return FailedPart(resolved, tuple(map(_unresolved, strategies)), error)


def _unresolved(strategy: Selected[StrategySpec]) -> ResolvedStrategy:
    return ResolvedStrategy(
        label=strategy.label,
        spec=strategy.spec,
        options=None,
        threshold=strategy.spec.threshold,
        params=dict(strategy.ref.options),
    )


def _overridden(
    component: Selected[SpecT], options: Mapping[str, Any]
) -> Selected[SpecT]:
    return component.with_ref(component.ref.with_options(options))


def _for_model(
    strategy: Selected[StrategySpec], for_model: Mapping[str, Any]
) -> Selected[StrategySpec]:
    """Return a strategy with those options of one model that it accepts."""
    accepted = strategy_option_names(strategy)
    return _overridden(strategy, {k: v for k, v in for_model.items() if k in accepted})


def _resolve_classifier(
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
    stated, noted_files = _classifier_identity(spec, options)
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
            resolved.append(_resolve_strategy(strategy, whole, plugins))
        except (PluginError, ComponentError) as error:
            failed.append(FailedPart(whole, (_unresolved(strategy),), error))
    return replace(whole, strategies=tuple(resolved)), failed


def _classifier_identity(
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


def _names_in_file(
    selected: Selected[ClassifierSpec], names: tuple[str, str]
) -> tuple[str, str]:
    """Return the names before ``--set``, as the user wrote them in the file.

    `names` are those after it: where it names the model, there are no others.
    """
    try:
        return _model_and_label(selected)
    except SafebenchError:
        return names


def _model_and_label(classifier: Selected[ClassifierSpec]) -> tuple[str, str]:
    """Return the names under which `models` may speak of a classifier."""
    model = str(classifier.ref.options.get("model", ""))
    if not model:  # its default, which only the identity knows
        options = classifier.schema.build(classifier.ref.options)
        model = str(_classifier_identity(classifier.spec, options)[0].get("model"))
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


def _resolve_strategy(
    strategy: Selected[StrategySpec], classifier: ResolvedClassifier, plugins: Plugins
) -> ResolvedStrategy:
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
    return _resolve_strategy(fallback, classifier, plugins)
