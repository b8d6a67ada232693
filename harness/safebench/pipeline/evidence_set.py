"""Evidence of a dataset in the order of its samples, and what recording it took."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from safebench.classifiers import Trace
from safebench.compatibility import source_kinds
from safebench.evidence.bundle import EvidenceBundle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import Evidence
    from safebench.specs import ClassifierSpec

    from .grid import ResolvedStrategy

    Kinds = frozenset[type[Evidence]]


@dataclass(frozen=True, slots=True)
class RecordingCost:
    """Kinds of evidence that were recorded together, and what that took.

    `traces` hold one per sample; `peak_memory_mib` is None where it is unknown.
    """

    kinds: Kinds
    traces: list[Trace]
    peak_memory_mib: float | None = None


def sum_traces(costs: Sequence[RecordingCost]) -> list[Trace]:
    """Return one trace per sample: costs added up, the first text and the first error.

    `costs` are about the same samples, in the same order; there is at least one.
    """
    by_sample = zip(*(cost.traces for cost in costs), strict=True)
    return [
        traces[0] if len(traces) == 1 else _sum_sample_traces(traces)
        for traces in by_sample
    ]


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


@dataclass(frozen=True, slots=True)
class EvidenceSet:
    """A dataset's evidence, in the order of its samples.

    `traces` are about all of it, or about what one strategy reads (`for_strategy`).
    `notes` say what a reader of numbers must know of how it was recorded.
    """

    key: str
    facts: dict[str, Any]
    bundle: EvidenceBundle
    traces: list[Trace]
    peak_memory_mib: float | None = None
    subsets: dict[tuple[int, ...], EvidenceBundle] = field(default_factory=dict)
    costs: tuple[RecordingCost, ...] = ()
    notes: tuple[str, ...] = ()

    def for_strategy(
        self, classifier: ClassifierSpec, strategy: ResolvedStrategy
    ) -> Self:
        """Return the evidence with costs and failures of what a strategy reads alone.

        Evidence on request is recorded by itself: it costs the others nothing.
        """
        readers = (strategy, strategy.decision_fallback)
        kinds = {
            kind
            for reader in readers
            if reader is not None
            for kind in source_kinds(classifier, reader.spec)
        }
        read = [cost for cost in self.costs if cost.kinds & kinds]
        if not read:
            return self
        return replace(self, traces=sum_traces(read), peak_memory_mib=peak_memory(read))

    def subset(self, rows: Sequence[int]) -> EvidenceBundle:
        """Return the evidence of some samples; of all of them without a copy.

        The same bundle is returned each time, since it keeps what a strategy derived
        from its evidence for the next strategy.
        """
        if len(rows) == len(self.traces):
            return self.bundle
        if tuple(rows) not in self.subsets:
            selected = {kind: batch.select(rows) for kind, batch in self.bundle.items()}
            self.subsets[tuple(rows)] = EvidenceBundle(selected)
        return self.subsets[tuple(rows)]
