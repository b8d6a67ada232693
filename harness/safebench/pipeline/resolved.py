"""What a run is made of once names and options are resolved: the parts of a grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.compatibility import (
        IncompatiblePair,
    )
    from safebench.errors import (
        SafebenchError,
    )
    from safebench.evidence.scope import EvidenceScope
    from safebench.specs import (
        Capabilities,
        ClassifierSpec,
        StrategySpec,
    )


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
