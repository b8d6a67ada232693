"""What a classifier returns from one pass: evidence, and a trace of each sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Evidence


@dataclass(slots=True, kw_only=True)
class Recording:
    """Evidence of every requested kind about the same samples, with their traces.

    `peak_memory_mib` is the peak of the device; None: that of the process counts.
    """

    evidence: dict[type[Evidence], Evidence]
    traces: Sequence[Trace] = field(default_factory=list)
    peak_memory_mib: float | None = None


@dataclass(slots=True, kw_only=True)
class Trace:
    """What one sample took to record: tokens, truncation, time, output, failure.

    `seconds` and `forward_passes` are shares of the batch's. `dropped_side` is left,
    right, template (earlier turns that a chat template leaves out) or "". `raw` is the
    text that a model wrote. A sample with an `error` has placeholder evidence, which no
    strategy may score. Shards store the fields by name.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    tokens_dropped: int = 0
    dropped_side: str = ""
    windows: int = 1
    forward_passes: float = 0.0
    seconds: float = 0.0
    raw: str | None = None
    error: str | None = None
