"""Who can be asked on the page, and what reads their evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safebench import plan
from safebench.asking.defaults import default_classifier, why_not
from safebench.run.terms import Term
from safebench.specs import ClassifierSpec, StrategySpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.plugins import Plugins


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A classifier with its options, as the page names it.

    `obstacle` says why it cannot run as it is; such an offer is shown and disabled.
    """

    term: Term
    summary: str
    strategy: str
    strategies: tuple[str, ...]
    obstacle: str = ""

    @property
    def label(self) -> str:
        """What it is called on the page."""
        return self.term.label


def offers(plugins: Plugins, named: Sequence[Term]) -> list[Offer]:
    """Return those that were named, then every other that is installed.

    The first is the default: the first named, or the classifier for those who name
    none.
    """
    terms = list(named)
    if not terms:
        first = default_classifier(plugins)
        terms.append(Term(first, first))
    taken = {term.label for term in terms} | {term.name for term in named}
    others = sorted(s.name for s in plugins.all(ClassifierSpec) if s.name not in taken)
    found = [_offer(plugins, term) for term in terms]
    return found + [
        _offer(plugins, Term(name, name), why_not(plugins, name)) for name in others
    ]


def _offer(plugins: Plugins, term: Term, obstacle: str = "") -> Offer:
    spec = plugins.get(ClassifierSpec, term.name)
    return Offer(
        term=term,
        summary=spec.summary,
        strategy=spec.default_strategy,
        strategies=tuple(
            s.name for s in plugins.all(StrategySpec) if not plan.unmet(spec, s)
        ),
        obstacle=obstacle,
    )


def groups(found: Sequence[Offer]) -> dict[str, tuple[str, ...]]:
    """Return the strategies by the classifiers that they can read, for a list."""
    readers: dict[str, list[str]] = {}
    for offer in found:
        for strategy in offer.strategies:
            readers.setdefault(strategy, []).append(offer.label)
    out: dict[str, list[str]] = {}
    for strategy, labels in readers.items():
        out.setdefault(", ".join(labels), []).append(strategy)
    return {labels: tuple(names) for labels, names in out.items()}
