"""The grid of a run: classifiers and the strategies that read them, options resolved.

Everything here happens before a model library is imported, so that a mistake in a
name, an option or a pair costs a second and not the loading of a model.
"""

from __future__ import annotations

from dataclasses import replace
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
from safebench.policies import load_policy
from safebench.redaction import redact_secrets
from safebench.specs import (
    Capabilities,
    ClassifierSpec,
    StrategySpec,
    fields_by_kind,
)

from .config import ComponentRef
from .resolution import (
    classifier_identity,
    model_and_label,
    names_in_file,
    overridden,
    resolve_classifier,
    resolve_strategy,
    unresolved,
    with_model_options,
)
from .resolved import FailedPart, Grid, ResolvedClassifier, ResolvedStrategy
from .selection import (
    OptionOverrides,
    Selected,
    model_overrides,
    select,
    select_classifiers,
    select_strategies,
    unused_model_notes,
)
from .settling import Settled, settle_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.plugins import Plugins

    from .config import RunConfig


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
            overridden(s, overrides.for_label(s.label))
            for s in strategies
            if not missing_requirements(selected.spec, s.spec)
        ]
        try:
            classifier = overridden(selected, overrides.for_label(selected.label))
            if config.models:
                names = model_and_label(classifier)
                names_used.append(names_in_file(selected, names))
                for_model = model_overrides(config.models, names, strategies)
                readers = [with_model_options(reader, for_model) for reader in readers]
            said = settled.get(selected.label)
            whole, failing = resolve_classifier(classifier, readers, plugins, said)
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
    return [resolve_strategy(chosen, classifier, plugins)]


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
    stated, _ = classifier_identity(classifier.spec, options)
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
    return FailedPart(resolved, tuple(map(unresolved, strategies)), error)
