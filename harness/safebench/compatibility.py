"""Which strategy can read which classifier, decided before anything heavy is imported.

A strategy needs kinds of evidence, a classifier records some; a kind that is not
recorded may be derived from one that is (`Evidence.derived_from`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import IncompatibleError
from .specs import ClassifierSpec, StrategySpec, fields_by_kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .evidence import Evidence
    from .plugins import Plugins
    from .specs import Kinds

    FieldsByKind = dict[type[Evidence], frozenset[str]]


@dataclass(frozen=True, slots=True)
class IncompatiblePair:
    """A pair of the grid that cannot run, by its labels, and why."""

    classifier: str
    strategy: str
    reason: str

    def __str__(self) -> str:
        return f"{self.classifier} x {self.strategy}: {self.reason}"


def format_skipped(skipped: Sequence[IncompatiblePair]) -> list[str]:
    """Return a line for each pair, or one for all that fail for the same reason.

    `-s all` on two classifiers would otherwise print a screen of one sentence.
    """
    groups: dict[tuple[str, str], list[IncompatiblePair]] = {}
    for pair in skipped:
        # Without the name, strategies that lack the same thing have one reason.
        reason = pair.reason.removeprefix(f"{pair.strategy} ")
        groups.setdefault((pair.classifier, reason), []).append(pair)
    return [
        str(pairs[0])
        if len(pairs) == 1
        else f"{classifier} x {', '.join(p.strategy for p in pairs)}: each {reason}"
        for (classifier, reason), pairs in groups.items()
    ]


def recordable_kinds(
    classifier: ClassifierSpec, unrecorded: Collection[type[Evidence]] = ()
) -> FieldsByKind:
    """Return what a classifier records or can record, with optional fields.

    `unrecorded` are the kinds that its options leave out.
    """
    kinds = fields_by_kind(classifier.on_request) | fields_by_kind(classifier.provides)
    return {kind: own for kind, own in kinds.items() if kind not in unrecorded}


def missing_requirements(
    classifier: ClassifierSpec, strategy: StrategySpec
) -> list[str]:
    """Return the kinds and fields that the strategy needs and cannot have, by name."""
    recordable = recordable_kinds(classifier)
    missing = []
    for kind, optional in fields_by_kind(strategy.needs).items():
        if not _is_derivable(kind, recordable):
            missing.append(kind.__name__)
        elif kind in recordable:
            absent = sorted(optional - recordable[kind])
            missing += [f"{kind.__name__}.{name}" for name in absent]
    return missing


def lacking_fields(
    classifier: ClassifierSpec,
    strategy: StrategySpec,
    lacks: Kinds,
    turned_off: Collection[type[Evidence]] = (),
) -> list[str]:
    """Return what the strategy needs and evidence does not have, by name.

    `lacks` and `turned_off` are those of the classifier's `Capabilities`: they depend
    on its options.
    """
    lacking = fields_by_kind(lacks)
    whole = {kind for kind, fields in lacking.items() if not fields}
    recordable = recordable_kinds(classifier, whole.union(turned_off))
    missing = []
    for kind, optional in fields_by_kind(strategy.needs).items():
        if not _is_derivable(kind, recordable):
            missing.append(kind.__name__)
            continue
        source = _source_kind(kind, recordable)
        missing += [
            f"{kind.__name__}.{name}"
            for name in sorted(optional)
            if _source_field(kind, source, name) in lacking.get(source, ())
        ]
    return missing


def source_kinds(
    classifier: ClassifierSpec,
    strategy: StrategySpec,
    unrecorded: Collection[type[Evidence]] = (),
) -> set[type[Evidence]]:
    """Return the recorded kinds that the strategy will be read from.

    `unrecorded` are the kinds that the classifier's options leave out.
    """
    recordable = recordable_kinds(classifier, unrecorded)
    return {
        _source_kind(kind, recordable)
        for kind in fields_by_kind(strategy.needs)
        if _is_derivable(kind, recordable)
    }


def check_pairs(
    classifiers: Sequence[ClassifierSpec],
    strategies: Sequence[StrategySpec],
    plugins: Plugins,
    labels: tuple[Sequence[str], Sequence[str]] | None = None,
) -> list[IncompatiblePair]:
    """Return the pairs to skip; raise `IncompatibleError` if no pair is left.

    `labels` are those that the user gave to classifiers and strategies; without them
    their names are used.
    """
    classifier_labels, strategy_labels = labels or (
        [classifier.name for classifier in classifiers],
        [strategy.name for strategy in strategies],
    )
    skipped = [
        IncompatiblePair(left, right, f"{right} needs {', '.join(missing)}")
        for left, classifier in zip(classifier_labels, classifiers, strict=True)
        for right, strategy in zip(strategy_labels, strategies, strict=True)
        if (missing := missing_requirements(classifier, strategy))
    ]
    # A grid with some pairs runs: `-s all` means all that can.
    if len(skipped) == len(classifiers) * len(strategies):
        reason = explain_incompatible(classifiers[0], strategies[0], plugins)
        raise IncompatibleError(reason)
    return skipped


def explain_incompatible(
    classifier: ClassifierSpec, strategy: StrategySpec, plugins: Plugins
) -> str:
    """Say why a pair cannot run and what would work."""
    readable = [
        other.name
        for other in plugins.all(ClassifierSpec)
        if not missing_requirements(other, strategy)
    ]
    reading = [
        other.name
        for other in plugins.all(StrategySpec)
        if not missing_requirements(classifier, other)
    ]
    needed = _kind_names(fields_by_kind(strategy.needs))
    recorded = _kind_names(recordable_kinds(classifier))
    return (
        f"strategy {strategy.name!r} cannot read classifier {classifier.name!r}\n"
        f"  {strategy.name} needs {needed}\n"
        f"  {classifier.name} records {recorded}\n"
        f"  classifiers for {strategy.name}: {_join_names(readable)}\n"
        f"  strategies for {classifier.name}: {_join_names(reading)}"
    )


def _is_derivable(kind: type[Evidence], recordable: FieldsByKind) -> bool:
    return kind in recordable or any(
        _is_derivable(source, recordable) for source in kind.derived_from
    )


def _source_kind(kind: type[Evidence], recordable: FieldsByKind) -> type[Evidence]:
    if kind in recordable:
        return kind
    return next(
        _source_kind(source, recordable)
        for source in kind.derived_from
        if _is_derivable(source, recordable)
    )


def _source_field(kind: type[Evidence], source: type[Evidence], field: str) -> str:
    return field if kind is source else kind.derived_fields.get(field, field)


def _kind_names(kinds: Iterable[type[Evidence]]) -> str:
    return _join_names(kind.__name__ for kind in kinds)


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none installed"
