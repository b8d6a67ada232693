"""Actors as the workers of a pool: what Ray says of them becomes events."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from safebench.errors import ModelError
from safebench.executors import Launcher, events

from .actor import RecordingActor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.executors import ClassifierJob, Shard

POLL_SECONDS = 0.5  # between two looks at how far a shard is
COUNTING = "counting"  # the concurrency group whose calls do not wait for a shard


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that an actor has not answered: of which worker, and what it is."""

    worker: int
    method: str


class ActorLauncher(Launcher):
    """Actors of the cluster that this process is connected to.

    `resources` are what `ray.remote` takes for each actor, `environment` the variables
    of its process; `wait` is how many seconds the cluster may take to have room for
    one, at the start and after the last one was lost.
    """

    def __init__(
        self,
        resources: Mapping[str, float],
        environment: Mapping[str, str],
        wait: float,
    ) -> None:
        self._actor_class = ray.remote(
            **resources,
            max_restarts=0,  # the pool replaces it, and knows its shard
            max_task_retries=0,
            runtime_env={"env_vars": dict(environment)},
            concurrency_groups={COUNTING: 1},
        )(RecordingActor)
        self.resources = dict(resources)
        self.wait = wait
        self.here = ray.get_runtime_context().get_node_id()
        self.actors: dict[int, Any] = {}
        self.calls: dict[Any, _Call] = {}
        self.jobs: dict[int, ClassifierJob] = {}  # of actors without a place yet
        self.since = time.monotonic()  # when an actor was last seen to have a place
        self.next_poll = 0.0
        self.ready_events: deque[events.Event] = deque()

    def start(self, worker: int, place: int, job: ClassifierJob) -> None:  # noqa: ARG002 - Ray has places of its own
        """Ask the cluster for an actor; it loads once it has got a place."""
        self.actors[worker] = self._actor_class.remote(worker, os.getcwd())  # noqa: PTH109 - a text
        self.jobs[worker] = job
        self._call(worker, "where")

    def restore(self, worker: int, state: Mapping[str, Any]) -> None:
        """Send a state."""
        self._call(worker, "restore", dict(state))

    def submit(self, worker: int, shard: Shard) -> None:
        """Send a shard."""
        self._call(worker, "record", shard)

    def next_event(self) -> events.Event:
        """Wait for an actor's answer, or for one that is lost."""
        while not self.ready_events:
            done, _ = ray.wait(list(self.calls), num_returns=1, timeout=POLL_SECONDS)
            for reference in done:
                self._take(reference)
            self._poll()
            if len(self.jobs) < len(self.actors):
                self.since = time.monotonic()
            elif time.monotonic() - self.since > self.wait:
                # without this a run whose only machine died would wait for ever
                raise ModelError(self._no_room())
        return self.ready_events.popleft()

    def stop(self, worker: int) -> None:
        """End an actor."""
        actor = self.actors.pop(worker, None)
        self.jobs.pop(worker, None)
        self.calls = {
            r: call for r, call in self.calls.items() if call.worker != worker
        }
        if actor is not None:
            with suppress(RayError, ValueError):
                ray.kill(actor)

    def close(self) -> None:
        """End all actors."""
        for worker in list(self.actors):
            self.stop(worker)

    def _call(self, worker: int, method: str, *arguments: Any, **options: Any) -> None:
        call = getattr(self.actors[worker], method)
        if method == "take_count":
            call = call.options(concurrency_group=COUNTING)
        self.calls[call.remote(*arguments, **options)] = _Call(worker, method)

    def _take(self, reference: Any) -> None:
        """Make an event of an answer, or of why there is none."""
        call = self.calls.pop(reference)
        try:
            answer = ray.get(reference)
        except (RayActorError, OutOfMemoryError) as error:
            self._lose(call.worker, error)
        except RayError as error:  # of what Ray does before and after the method
            self.ready_events.append(events.Failed.of(call.worker, error))
        else:
            self._take_answer(call, answer)

    def _take_answer(self, call: _Call, answer: Any) -> None:
        if call.method == "where":
            node, _ = answer
            job = self.jobs.pop(call.worker)
            self._call(call.worker, "load", job, check_model=node != self.here)
        elif call.method == "take_count":
            if answer:
                self.ready_events.append(events.Counted(call.worker, answer))
        else:
            if call.method == "record":
                self._settle_count(call.worker)
            self.ready_events.append(answer)

    def _settle_count(self, worker: int) -> None:
        """Report the samples that were finished since the last look."""
        looks = [r for r, call in self.calls.items() if call.worker == worker]
        if not looks:
            self._call(worker, "take_count")
            looks = [r for r, call in self.calls.items() if call.worker == worker]
        for reference in looks:
            self._take(reference)

    def _lose(self, worker: int, error: Exception) -> None:
        if worker not in self.actors:
            return
        self.stop(worker)
        self.ready_events.append(events.Ended(worker, describe_loss(error)))

    def _poll(self) -> None:
        """Ask those that record how far they are, now and then."""
        if time.monotonic() < self.next_poll:
            return
        self.next_poll = time.monotonic() + POLL_SECONDS
        asked = {c.worker for c in self.calls.values() if c.method == "take_count"}
        for call in [c for c in self.calls.values() if c.method == "record"]:
            if call.worker not in asked:
                self._call(call.worker, "take_count")

    def _no_room(self) -> str:
        if not any(node.get("Alive") for node in ray.nodes()):
            return "executor 'ray': no machine of the cluster is left"
        needs = ", ".join(f"{k}={v:g}" for k, v in self.resources.items() if v)
        free = {
            k: v for k, v in ray.available_resources().items() if k in ("CPU", "GPU")
        }
        return (
            f"executor 'ray': the cluster has had no room for an actor ({needs}) for "
            f"{self.wait:g} s; free now: {free or 'nothing'}. `ray status` says who "
            "has it; wait=SECONDS waits longer"
        )


def describe_loss(error: Exception) -> str:
    """Say in a few words how an actor was lost."""
    text = " ".join(str(error).split())
    if isinstance(error, OutOfMemoryError) or "memory monitor" in text:
        return "was ended by Ray, since its machine ran out of memory"
    # what Ray says of a process names its node, too
    if "its node has died" in text:
        return "was lost with its machine"
    return "was lost (its process has ended; that happens where memory runs out)"
