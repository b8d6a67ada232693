"""The executor `local`: one model in the process of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Executor, Workers
from .worker import ClassifierWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .base import ClassifierJob, RecordedShard, Shard


class LocalExecutor(Executor):
    """Loads a classifier here."""

    def start(self, job: ClassifierJob, log: Callable[[str], None]) -> Workers:  # noqa: ARG002 - nothing to say
        """Load the model."""
        return LocalWorkers(ClassifierWorker(job))


class LocalWorkers(Workers):
    """One worker, which records shard after shard."""

    def __init__(self, worker: ClassifierWorker) -> None:
        self.worker = worker
        self.facts = worker.facts
        self.label = worker.label
        self.shard_size = worker.shard_size

    @property
    def state(self) -> Mapping[str, Any] | None:
        """What the classifier has learnt by now."""
        return dict(self.worker.model.state)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the state of an earlier run."""
        self.worker.restore(state)

    def record(
        self, shards: Iterable[Shard], on_progress: Callable[[int], None]
    ) -> Iterator[RecordedShard]:
        """Yield every shard, in their order."""
        for shard in shards:
            yield self.worker.record(shard, on_progress)

    def close(self) -> None:
        """Free the model."""
        self.worker.close()
