"""What is evaluated: evidence of a dataset, in the order of its samples.

`EvidenceSet` is what one classifier recorded and what that took, `Evaluation` the same
with the strategy that reads it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from safebench.classifiers import Trace
from safebench.compatibility import recordable_kinds, source_kinds
from safebench.evidence.base import EvidenceBundle
from safebench.evidence.trace_columns import TraceColumns
from safebench.policies import load_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.policies import Policy
    from safebench.records import Dataset
    from safebench.specs import ClassifierSpec
    from safebench.typing import Array

    from .evaluation_set import EvaluationSet
    from .resolved import ResolvedClassifier, ResolvedStrategy

    Kinds = frozenset[type[Evidence]]


@dataclass(frozen=True, slots=True)
class RecordingCost:
    """Kinds of evidence that were recorded together, and what that took.

    `traces` hold one per sample; `peak_memory_mib` is None where it is unknown.
    `payers` are the labels of the datasets that the cost of each sample is counted on,
    "" for one that shares the evidence of a sample before it; empty: this dataset pays
    for all. `n_workers` is the most that recorded side by side. `latency` are the
    seconds of the samples (by row) that were also recorded one at a time, None for one
    that failed then.
    """

    kinds: Kinds
    traces: Sequence[Trace]
    peak_memory_mib: float | None = None
    payers: Sequence[str] = ()
    n_workers: int = 1
    latency: Mapping[int, float | None] = field(default_factory=dict)

    def is_paid_by(self, dataset: Dataset, row: int) -> bool:
        """Tell whether the cost of a sample is counted on this dataset."""
        return not self.payers or self.payers[row] == dataset.label


def format_sharing(payers: Iterable[str], dataset: Dataset) -> str:
    """Name the other datasets that pay for evidence, with how many samples each.

    Empty if there is none.
    """
    counts, own = Counter(payers), ("", dataset.label)
    return ", ".join(f"{name} ({n})" for name, n in counts.items() if name not in own)


def sum_traces(costs: Sequence[RecordingCost]) -> Sequence[Trace]:
    """Return one trace per sample: costs added up, the first text and the first error.

    `costs` are about the same samples, in the same order; there is at least one.
    """
    if len(costs) == 1:
        return costs[0].traces
    by_sample = zip(*(cost.traces for cost in costs), strict=True)
    return [_sum_sample_traces(traces) for traces in by_sample]


def peak_memory(costs: Sequence[RecordingCost]) -> float | None:
    """Return the largest peak of memory, None where none is known."""
    peaks = [cost.peak_memory_mib for cost in costs]
    return max((peak for peak in peaks if peak is not None), default=None)


def _sum_sample_traces(traces: Sequence[Trace]) -> Trace:
    # each recording saw the same prompt: what was cut is not cut twice
    most_cut = max(traces, key=lambda trace: trace.tokens_dropped)
    return Trace(
        tokens_in=sum(trace.tokens_in for trace in traces),
        tokens_out=sum(trace.tokens_out for trace in traces),
        tokens_dropped=most_cut.tokens_dropped,
        dropped_side=most_cut.dropped_side,
        windows=max(trace.windows for trace in traces),
        forward_passes=sum(trace.forward_passes for trace in traces),
        seconds=sum(trace.seconds for trace in traces),
        raw=next((trace.raw for trace in traces if trace.raw is not None), None),
        error=next((trace.error for trace in traces if trace.error is not None), None),
    )


def _select(traces: Sequence[Trace], rows: Array) -> Sequence[Trace]:
    if isinstance(traces, TraceColumns):
        return traces.select(rows)
    return [traces[row] for row in rows.tolist()]


@dataclass(frozen=True, slots=True)
class EvidenceSet:
    """A dataset's evidence, in the order of its samples.

    `traces` are about all of it, or about what one strategy reads (`for_strategy`).
    `notes` say what a reader of numbers must know of how it was recorded. `judged` is
    for `judging`: what strategies said of it that read it together.
    """

    key: str
    facts: dict[str, Any]
    bundle: EvidenceBundle
    traces: Sequence[Trace]
    peak_memory_mib: float | None = None
    subsets: dict[bytes, EvidenceBundle] = field(default_factory=dict)
    costs: tuple[RecordingCost, ...] = ()
    notes: tuple[str, ...] = ()
    judged: dict[Any, Any] = field(default_factory=dict)

    def for_strategy(
        self, classifier: ClassifierSpec, strategy: ResolvedStrategy
    ) -> Self:
        """Return the evidence with costs and failures of what a strategy reads alone.

        Evidence on request is recorded by itself: it costs the others nothing.
        """
        recorded = {kind for cost in self.costs for kind in cost.kinds}
        # what the classifier's options leave out
        unrecorded = recordable_kinds(classifier).keys() - recorded
        readers = (strategy, strategy.decision_fallback)
        kinds = {
            kind
            for reader in readers
            if reader is not None
            for kind in source_kinds(classifier, reader.spec, unrecorded)
        }
        read = [cost for cost in self.costs if cost.kinds & kinds]
        if not read:
            return self
        return replace(
            self,
            traces=sum_traces(read),
            peak_memory_mib=peak_memory(read),
            costs=tuple(read),
        )

    @property
    def n_workers(self) -> int:
        """The most workers that recorded side by side: their times are no one's."""
        return max((cost.n_workers for cost in self.costs), default=1)

    def paid_traces(self, dataset: Dataset, rows: Array) -> Sequence[Trace]:
        """Return a trace of each of the samples `rows` that the dataset paid for.

        Without those whose evidence was recorded for another dataset or sample.
        """
        costs = self.costs or (RecordingCost(frozenset(), self.traces),)
        if len(costs) == 1:
            (cost,) = costs
            payers, label = cost.payers, dataset.label  # made anew each time
            paid_rows = [r for r in rows.tolist() if not payers or payers[r] == label]
            return _select(cost.traces, np.array(paid_rows, dtype=np.int64))
        paid = [
            [cost.traces[row] for cost in costs if cost.is_paid_by(dataset, row)]
            for row in rows.tolist()
        ]
        return [_sum_sample_traces(traces) for traces in paid if traces]

    def shared_with(self, dataset: Dataset, rows: Array) -> str:
        """Name the datasets that pay for evidence of some samples, "" for none."""
        # a sample counts once, however many kinds of its evidence were recorded
        own = {"", dataset.label}
        pairs = {
            (row, cost.payers[row]): None
            for cost in self.costs
            if not own.issuperset(cost.payers)  # most often all are its own
            for row in rows.tolist()
            if cost.payers[row] not in own
        }
        return format_sharing([payer for _, payer in pairs], dataset)

    def subset(self, rows: Sequence[int]) -> EvidenceBundle:
        """Return the evidence of some samples; of all of them without a copy.

        The same bundle is returned each time, since it keeps what a strategy derived
        from its evidence for the next strategy.
        """
        if len(rows) == len(self.traces):
            return self.bundle
        asked = np.asarray(rows, dtype=np.int64)
        if asked.tobytes() not in self.subsets:
            selected = {k: batch.select(asked) for k, batch in self.bundle.items()}
            self.subsets[asked.tobytes()] = EvidenceBundle(selected)
        return self.subsets[asked.tobytes()]


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
