"""What is evaluated: one classifier, read by one strategy, on one dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from safebench.policies import load_policy

if TYPE_CHECKING:
    from safebench.policies import Policy
    from safebench.records import Dataset

    from .evaluation_set import EvaluationSet
    from .evidence_set import EvidenceSet
    from .grid import ResolvedClassifier, ResolvedStrategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One cell of the grid on one dataset, with the evidence that the strategy reads.

    Each step of the pipeline takes it: judging, metrics, result rows, predictions.
    """

    classifier: ResolvedClassifier
    strategy: ResolvedStrategy
    evaluation_set: EvaluationSet
    evidence: EvidenceSet

    @property
    def dataset(self) -> Dataset:
        """The samples, calibration part included."""
        return self.evaluation_set.dataset

    @property
    def policy(self) -> Policy | None:
        """The taxonomy that the classifier judges by."""
        policy_id = self.classifier.policy
        return load_policy(policy_id) if policy_id else None

    @property
    def label(self) -> str:
        """The name for messages: ``classifier x strategy x dataset``."""
        parts = (self.classifier.label, self.strategy.label, self.dataset.label)
        return " x ".join(parts)

    def with_strategy(self, strategy: ResolvedStrategy) -> Self:
        """Return the same evidence and dataset, to be read by another strategy."""
        return replace(self, strategy=strategy)
