"""Turn a configuration into the cells of a grid, and refuse what cannot run."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

from safebench import plan
from safebench.errors import OptionError
from safebench.options import build_options, convert, option_names, refuse_unknown
from safebench.specs import ClassifierSpec, StrategySpec, resolve

from .overrides import SetOptions, strategy_keys
from .per_model import meant_for, overrides, unused
from .readers import strategy_terms, with_variants
from .terms import Term

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.plugins import Plugins

    from .config import RunConfig

MERGES = {"min": min, "max": max}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenStrategy:
    """A strategy as one classifier will be read by it."""

    label: str
    spec: StrategySpec
    options: Any
    threshold: float
    params: dict[str, Any]
    notes: tuple[str, ...] = ()
    decider: ChosenStrategy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenClassifier:
    """A classifier with its options, what identifies it, and its strategies."""

    label: str
    spec: ClassifierSpec
    options: Any
    identity: dict[str, Any]
    request: dict[str, Any]
    strategies: tuple[ChosenStrategy, ...]

    @property
    def model(self) -> str:
        """The model's name for tables."""
        return str(self.identity.get("model", self.spec.name))

    @property
    def policy(self) -> str | None:
        """The taxonomy that it was told to judge by, or else its own."""
        return getattr(self.options, "policy", None) or self.spec.policy


@dataclass(frozen=True, slots=True)
class Grid:
    """Everything that will run, the pairs that will not, with reasons, and remarks."""

    classifiers: tuple[ChosenClassifier, ...]
    skipped: tuple[plan.Skipped, ...]
    notes: tuple[str, ...] = ()


def build_grid(config: RunConfig, plugins: Plugins) -> Grid:
    """Resolve names and options; raises before any model is imported."""
    terms = config.classifiers
    if not terms:
        raise OptionError(
            "which classifier? say --classifier NAME\n  there is: "
            + ", ".join(sorted(s.name for s in plugins.all(ClassifierSpec)))
        )
    specs = [plugins.get(ClassifierSpec, term.name) for term in terms]
    if config.model is not None:
        terms = (_with_model(terms, specs, config.model),)
    strategies = strategy_terms(config, specs, plugins)
    strategies, readers = with_variants(strategies, plugins)
    _refuse_twins("classifier", terms)
    _refuse_twins("strategy", strategies)
    labels = [t.label for t in terms], [t.label for t in strategies]
    skipped = plan.check_pairs(specs, readers, plugins, labels)
    sets = SetOptions(config, terms, specs, strategies, readers)
    chosen = [
        _choose(sets.over(term), spec, sets, strategies, readers, config, plugins)
        for term, spec in zip(terms, specs, strict=True)
    ]
    running = [_names(term, spec) for term, spec in zip(terms, specs, strict=True)]
    notes = unused(config.models, running)
    return Grid(tuple(chosen), tuple(skipped), tuple(notes))


def _with_model(
    terms: Sequence[Term], specs: Sequence[ClassifierSpec], model: str
) -> Term:
    if len(terms) > 1:
        raise OptionError(
            "--model goes with one classifier; with several, name it in each:\n"
            "  -c a=NAME,model=ONE -c b=NAME,model=TWO"
        )
    refuse_unknown(specs[0], ["model"], option_names(specs[0]))
    return Term(terms[0].name, terms[0].label, terms[0].options | {"model": model})


def _refuse_twins(kind: str, terms: Sequence[Term]) -> None:
    for label, times in Counter(term.label for term in terms).items():
        if times > 1:
            raise OptionError(
                f"{times} {kind} entries are labelled {label!r}: "
                f"say LABEL={label} to tell them apart"
            )


def _choose(
    term: Term,
    spec: ClassifierSpec,
    sets: SetOptions,
    strategies: Sequence[Term],
    readers: Sequence[StrategySpec],
    config: RunConfig,
    plugins: Plugins,
) -> ChosenClassifier:
    own = overrides(config.models, _names(term, spec), readers)
    pairs = [
        (Term(t.name, t.label, sets.over(t).options | meant_for(s, own)), s)
        for t, s in zip(strategies, readers, strict=True)
        if not plan.unmet(spec, s)
    ]
    wishes = _record_wishes(pairs, spec)
    options = build_options(spec, wishes | term.options)
    identity = _identity(spec, options)
    owner = plugins.owner(spec)
    return ChosenClassifier(
        label=term.label,
        spec=spec,
        options=options,
        identity=identity,
        request={
            "classifier": spec.name,
            "producer": f"{owner.project} {owner.version}",
            "identity": identity,
        },
        strategies=tuple(_chosen_strategy(t, s, spec, plugins) for t, s in pairs),
    )


def _identity(spec: ClassifierSpec, options: Any) -> dict[str, Any]:
    if spec.identity:
        found: dict[str, Any] = resolve(spec.identity)(options)
        return found
    return {"options": asdict(options) if is_dataclass(options) else None}  # type: ignore[arg-type]


def _names(term: Term, spec: ClassifierSpec) -> tuple[str, str]:
    """Return the model that a classifier asks, and the classifier's own label."""
    model = str(term.options.get("model", ""))
    if not model:
        identity = _identity(spec, build_options(spec, term.options))
        model = str(identity.get("model"))
    return model, term.label


def _record_wishes(
    pairs: Sequence[tuple[Term, StrategySpec]], spec: ClassifierSpec
) -> dict[str, Any]:
    """Merge what strategies ask to be recorded: one record serves them all."""
    takes = option_names(spec)
    wishes: dict[str, Any] = {}
    for term, reader in pairs:
        for key, rule in reader.record.items():
            name = reader.record_as.get(key, key)
            if key not in term.options or name not in takes:
                continue
            value = convert(
                term.options[key], float, f"strategy {reader.name!r}, {key}"
            )
            value = int(value) if value == int(value) else value
            wishes[name] = MERGES[rule](wishes.get(name, value), value)
    return wishes


def _chosen_strategy(
    term: Term, spec: StrategySpec, classifier: ClassifierSpec, plugins: Plugins
) -> ChosenStrategy:
    refuse_unknown(spec, term.options, strategy_keys(spec))
    own = {k: v for k, v in term.options.items() if k in option_names(spec)}
    options = build_options(spec, own)
    threshold = convert(
        term.options.get("threshold", spec.threshold),
        float,
        f"strategy {spec.name!r}, threshold",
    )
    notes = tuple(
        f"{spec.name} ignores {k}: {spec.ignores[k]}"
        for k in term.options
        if k in spec.ignores
    )
    params = {k: v for k, v in term.options.items() if k not in spec.ignores}
    return ChosenStrategy(
        label=term.label,
        spec=spec,
        options=options,
        threshold=threshold,
        params=params,
        notes=notes,
        decider=_decider(spec, classifier, plugins),
    )


def _decider(
    spec: StrategySpec, classifier: ClassifierSpec, plugins: Plugins
) -> ChosenStrategy | None:
    """Return the strategy that decides where `spec` gives an uncertainty alone."""
    if not spec.decision_from:
        return None
    other = plugins.get(StrategySpec, spec.decision_from)
    if plan.unmet(classifier, other):
        return None
    return _chosen_strategy(Term(other.name, other.name), other, classifier, plugins)
