"""The contract of a classifier: samples in, evidence out, no verdict, no label."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample


@dataclass(slots=True, kw_only=True)
class Trace:
    """Facts about one sample's pass: tokens, cuts, cost, what was said, what failed.

    `seconds` and `forward_passes` are shares of the batch's. `dropped_side` is left,
    right or "". A sample with an `error` has placeholder evidence that no strategy may
    score.
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


@dataclass(slots=True, kw_only=True)
class Recording:
    """Evidence of every requested kind about the same samples, with their traces.

    `peak_memory_mib` is the device's high-water mark; None: that of the process.
    """

    evidence: dict[type[Evidence], Evidence]
    traces: list[Trace] = field(default_factory=list)
    peak_memory_mib: float | None = None


class Classifier:
    """Base class of guards; a subclass needs `record` alone.

    It is built with the instance of its options dataclass (None without one). `facts`
    are JSON values that only the loaded model knows (device, dtype, ...): with
    `ClassifierSpec.identity` they make the evidence key. `shard_size` is how many
    samples are recorded between two savings: what an interruption can cost.
    """

    shard_size: int = 1024

    def __init__(self, options: Any = None) -> None:
        self.options = options

    @property
    def facts(self) -> Mapping[str, Any]:
        """What belongs to the evidence key and is known only after loading."""
        return {}

    @property
    def label(self) -> str:
        """The model's name for tables; empty if the classifier is its own model."""
        return ""

    def record(
        self,
        samples: Sequence[Sample],
        wanted: frozenset[type[Evidence]],
        tick: Callable[[int], None],
    ) -> Recording:
        """Return evidence of the `wanted` kinds about `samples`, in their order.

        The result for a sample may not depend on its neighbours. `tick` is told how
        many samples have been finished since the last call.
        """
        raise NotImplementedError

    @property
    def state(self) -> Mapping[str, Any]:
        """What a resumed run must know to record as this one would have gone on.

        JSON values, such as a token budget that shrank when memory ran out.
        """
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the `state` of an earlier run of the same model."""

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the text of each token of its verdicts; empty if it writes none."""
        return [b"" for _ in tokens]

    def close(self) -> None:
        """Free the model."""
