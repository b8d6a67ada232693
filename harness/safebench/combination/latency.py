"""How long a combination takes about one sample, from the times of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.results.latency import LatencyLog, MeasuredSample, latency_key
from safebench.results.run_files import EVIDENCE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.results import Row
    from safebench.results.prediction_reading import PredictionFile
    from safebench.typing import Array

    from .part_columns import PartColumns

HOW = (
    "seconds of samples that were measured of every part, the parts that are asked one "
    "after the other"
)


def combined_latency(
    files: Sequence[PredictionFile],
    heads: Sequence[Row | None],
    first: PartColumns,
    asked: Array,
    counted: Array,
) -> list[MeasuredSample] | str:
    """Return the times of measured samples, or why there are none.

    `first` are the samples as any part has them. `asked` (K, n) says which parts judge
    a sample, `counted` (n,) which samples metrics are about. A sample counts only if
    every part was measured on it, asked or not: otherwise those that few parts judge
    would be there more often. Parts that read one recording pay for it once, the longer
    time of both.
    """
    logs: list[LatencyLog] = []
    for file, head in zip(files, heads, strict=True):
        log = _log(file, head)
        if isinstance(log, str):
            return log
        logs.append(log)
    if any(_machine(log) != _machine(logs[0]) for log in logs):
        return "the latencies of the parts were measured on different machines"
    times = [next(iter(log.seconds.values())) for log in logs]
    keys: dict[str, int] = {}  # of measured samples, few of many
    for row, names in enumerate(zip(first.content, first.task, strict=True)):
        key = latency_key(*names)
        if all(key in of_part for of_part in times):
            keys.setdefault(key, row)
    measured = {key: row for key, row in keys.items() if counted[row]}
    if not measured:
        return "no sample was measured of every part: run all with one --latency N"
    evidence = [head.evidence_key if head else None for head in heads]
    return [
        MeasuredSample(
            _total([of_part[key] for of_part in times], evidence, asked[:, row]),
            first.groups[row],
        )
        for key, row in measured.items()
    ]


def _log(file: PredictionFile, head: Row | None) -> LatencyLog | str:
    """Return what was measured of a part, or why nothing is known."""
    if head is None or head.evidence_key is None:
        return f"{file.label} has no results"
    try:
        log = LatencyLog.read(file.run / EVIDENCE_FOLDER / head.evidence_key)
    except (ValueError, TypeError, OSError) as error:
        return f"the latencies of {file.label} cannot be read: {error}"
    if log is None or not log.seconds:
        return f"not measured of {file.label}: run it again with --latency N"
    if len(log.seconds) > 1:
        return (
            f"{file.run} has latencies of several recordings, and which of them "
            f"{file.label} reads is not known"
        )
    return log


def _machine(log: LatencyLog) -> dict[str, Any]:
    return {name: value for name, value in log.where.items() if name != "versions"}


def _total(
    seconds: Sequence[float | None], evidence: Sequence[str | None], asked: Array
) -> float | None:
    """Return what the parts that are asked take together, None if one failed."""
    by_key: dict[str | None, float] = {}
    for place in np.flatnonzero(asked).tolist():
        taken = seconds[place]
        if taken is None:
            return None
        key = evidence[place]
        by_key[key] = max(by_key.get(key, 0.0), taken)
    return sum(by_key.values())
