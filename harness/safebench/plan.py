"""Decide what can run together, before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import IncompatibleError
from .specs import ClassifierSpec, StrategySpec, fields_by_kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .evidence import Evidence
    from .plugins import Plugins

    Fields = dict[type[Evidence], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A pair of the grid that cannot run, and why."""

    left: str
    right: str
    reason: str

    def __str__(self) -> str:
        return f"{self.left} x {self.right}: {self.reason}"


def told(skipped: Sequence[Skipped]) -> list[str]:
    """Return a line for each pair, or one for all that fail for the same reason."""
    alike: dict[tuple[str, str], list[Skipped]] = {}
    for pair in skipped:
        why = pair.reason.removeprefix(f"{pair.right} ")
        alike.setdefault((pair.left, why), []).append(pair)
    return [
        str(pairs[0])
        if len(pairs) == 1
        else f"{left} x {', '.join(pair.right for pair in pairs)}: each {why}"
        for (left, why), pairs in alike.items()
    ]


def recorded(classifier: ClassifierSpec) -> Fields:
    """Return what a classifier records or can record, with optional fields."""
    return fields_by_kind(classifier.on_request) | fields_by_kind(classifier.provides)


def unmet(classifier: ClassifierSpec, strategy: StrategySpec) -> list[str]:
    """Return what the strategy needs and cannot have, closed under derivation."""
    have = recorded(classifier)
    lacking = []
    for kind, optional in fields_by_kind(strategy.needs).items():
        if not _met(kind, have):
            lacking.append(kind.__name__)
        elif kind in have:
            lacking += [f"{kind.__name__}.{f}" for f in sorted(optional - have[kind])]
    return lacking


def sources(classifier: ClassifierSpec, strategy: StrategySpec) -> set[type[Evidence]]:
    """Return the recorded kinds that the strategy will be read from."""
    have = recorded(classifier)
    return {_source(kind, have) for kind in fields_by_kind(strategy.needs)}


def check_pairs(
    classifiers: Sequence[ClassifierSpec],
    strategies: Sequence[StrategySpec],
    plugins: Plugins,
    labels: tuple[Sequence[str], Sequence[str]] | None = None,
) -> list[Skipped]:
    """Return the pairs to skip; raise `IncompatibleError` if no pair is left.

    They are called by their `labels`, where the user gave some, else by their names.
    """
    who, how = labels or ([c.name for c in classifiers], [s.name for s in strategies])
    skipped = [
        Skipped(left, right, f"{right} needs {', '.join(missing)}")
        for left, c in zip(who, classifiers, strict=True)
        for right, s in zip(how, strategies, strict=True)
        if (missing := unmet(c, s))
    ]
    if len(skipped) == len(classifiers) * len(strategies):
        raise IncompatibleError(explain(classifiers[0], strategies[0], plugins))
    return skipped


def explain(c: ClassifierSpec, s: StrategySpec, plugins: Plugins) -> str:
    """Say why a pair cannot run and what would work."""
    partners = [p.name for p in plugins.all(ClassifierSpec) if not unmet(p, s)]
    others = [p.name for p in plugins.all(StrategySpec) if not unmet(c, p)]
    return (
        f"strategy {s.name!r} cannot read classifier {c.name!r}\n"
        f"  {s.name} needs {_list(k.__name__ for k in fields_by_kind(s.needs))}\n"
        f"  {c.name} records {_list(k.__name__ for k in recorded(c))}\n"
        f"  classifiers for {s.name}: {_list(partners)}\n"
        f"  strategies for {c.name}: {_list(others)}"
    )


def _met(need: type[Evidence], have: Fields) -> bool:
    return need in have or any(_met(source, have) for source in need.derived_from)


def _source(need: type[Evidence], have: Fields) -> type[Evidence]:
    if need in have:
        return need
    return next(_source(s, have) for s in need.derived_from if _met(s, have))


def _list(names: object) -> str:
    return ", ".join(sorted(names)) or "none installed"  # type: ignore[call-overload]
