"""The base class of classifiers: samples in, evidence out.

A classifier gives no verdict and sees no label, so that strategies can be compared on
evidence that none of them has shaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.forwarding import old_members, old_overrides

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.evidence.recording import Recording
    from safebench.records import Sample


@old_members
class Classifier:
    """Base class of guards; a subclass needs to define `record` alone.

    It is built with the instance of its options dataclass (None without one). `facts`
    are JSON values that only the loaded model knows (device, dtype, ...): with
    `ClassifierSpec.identity` they make the evidence key. `shard_size` is how many
    samples are recorded between two writes to disk, so what an interruption can cost.
    """

    shard_size: int = 1024

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        old_overrides(cls, "Classifier")

    def __init__(self, options: Any = None) -> None:
        self.options = options

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is part of the evidence key and known only after loading."""
        return {}

    @property
    def label(self) -> str:
        """The model's name for tables; empty if the classifier is its own model."""
        return ""

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return evidence of the requested `kinds` about `samples`, in their order.

        The evidence about a sample may not depend on its neighbours. `on_progress` is
        called with the number of samples finished since its last call.
        """
        raise NotImplementedError

    @property
    def state(self) -> Mapping[str, Any]:
        """What a resumed run needs to record as this one would have gone on.

        JSON values, such as a token budget that shrank when memory ran out.
        """
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of an earlier run of the same model."""

    def token_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of verdict tokens; empty where it writes no verdicts."""
        return [b"" for _ in tokens]

    def close(self) -> None:
        """Free the model."""
