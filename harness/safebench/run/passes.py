"""What recording took, for each part of the evidence that was recorded by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safebench.classifiers import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Pass:
    """Kinds of evidence that were recorded together, and the traces of doing so."""

    kinds: frozenset[type[Evidence]]
    traces: list[Trace]
    peak_memory_mib: float | None = None


def summed(passes: Sequence[Pass]) -> list[Trace]:
    """Return one trace a sample: costs added up, the first text and the first error.

    `passes` are about the same samples, in the same order; there is at least one.
    """
    rows = zip(*(one.traces for one in passes), strict=True)
    return [row[0] if len(row) == 1 else _joined(row) for row in rows]


def highest(passes: Sequence[Pass]) -> float | None:
    """Return the largest peak of memory, None where none is known."""
    peaks = [one.peak_memory_mib for one in passes]
    return max((peak for peak in peaks if peak is not None), default=None)


def _joined(row: Sequence[Trace]) -> Trace:
    cut = max(row, key=lambda trace: trace.tokens_dropped)
    return Trace(
        tokens_in=sum(trace.tokens_in for trace in row),
        tokens_out=sum(trace.tokens_out for trace in row),
        tokens_dropped=cut.tokens_dropped,
        dropped_side=cut.dropped_side,
        windows=max(trace.windows for trace in row),
        forward_passes=sum(trace.forward_passes for trace in row),
        seconds=sum(trace.seconds for trace in row),
        raw=next((trace.raw for trace in row if trace.raw is not None), None),
        error=next((trace.error for trace in row if trace.error is not None), None),
    )
