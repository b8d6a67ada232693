"""What runs on the cluster: an actor with one classifier.

Its methods return events and raise nothing, so that what the run reads does not depend
on how Ray wraps an exception.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from safebench.executors import ClassifierWorker, events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.executors import ClassifierJob, Shard


class RecordingActor:
    """Loads a classifier and records shards; `take_count` may be called meanwhile.

    `folder` is the run's current folder: paths of models may be relative to it.
    """

    def __init__(self, worker: int, folder: str) -> None:
        self.worker = worker
        self.classifier: ClassifierWorker | None = None
        self._n_finished = 0
        self._lock = threading.Lock()
        with suppress(OSError):  # another machine may have no such folder
            os.chdir(folder)

    def where(self) -> tuple[str, int]:
        """Return the node and the process that this actor got; it has a place then."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def load(self, job: ClassifierJob, *, check_model: bool) -> events.Event:
        """Load the classifier; on another machine see that it is the run's."""
        try:
            self.classifier = ClassifierWorker(job, check_model=check_model)
            return events.Ready.of(self.worker, self.classifier)
        except BaseException as error:  # noqa: BLE001 - reported to the run
            return events.Failed.of(self.worker, error)

    def restore(self, state: Mapping[str, Any]) -> events.Event:
        """Go on with the state of an earlier run."""
        try:
            self._loaded.restore(state)
        except BaseException as error:  # noqa: BLE001 - reported to the run
            return events.Restored.of(self.worker, error)
        return events.Restored(self.worker)

    def record(self, shard: Shard) -> events.Event:
        """Record a shard."""
        try:
            return events.Recorded(self.worker, self._loaded.record(shard, self._count))
        except BaseException as error:  # noqa: BLE001 - reported to the run
            return events.Failed.of(self.worker, error)

    def take_count(self) -> int:
        """Return how many samples were finished since the last call."""
        with self._lock:
            n, self._n_finished = self._n_finished, 0
        return n

    def _count(self, n: int) -> None:
        with self._lock:
            self._n_finished += n

    @property
    def _loaded(self) -> ClassifierWorker:
        assert self.classifier is not None, "load comes first"
        return self.classifier
