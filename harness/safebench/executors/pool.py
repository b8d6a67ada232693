"""A pool of workers: a shard in flight on each, and that of a lost worker again.

How workers are started and reached is a `Launcher`'s business: processes of this
machine, actors of a cluster. It reports events; the pool decides what follows.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, PluginError

from .base import RecordedShard, Shard, Workers
from .events import Counted, Ended, Event, Failed, Ready, Recorded, Restored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .base import ClassifierJob

MAX_ATTEMPTS = 3  # of a shard: what ends three workers will end the next one, too
MAX_LOADS = 2  # of a worker that is lost before it is ready


class Launcher:
    """Starts workers and reaches them; every call comes from one thread.

    A worker is known by the id that `start` was given. One that replaces a lost worker
    has another id and the same `place`, from 0 to the number of workers less 1.
    """

    def start(self, worker: int, place: int, job: ClassifierJob) -> None:
        """Start a worker, which loads the classifier.

        Reports `Ready`, `Failed` or `Ended`.
        """
        raise NotImplementedError

    def restore(self, worker: int, state: Mapping[str, Any]) -> None:
        """Have an idle worker go on with a state; reports `Restored` or `Ended`."""
        raise NotImplementedError

    def submit(self, worker: int, shard: Shard) -> None:
        """Have an idle worker record a shard.

        Reports `Counted` as it goes, and `Recorded`, `Failed` or `Ended` at its end.
        """
        raise NotImplementedError

    def next_event(self) -> Event:
        """Wait for the next event of any worker; Ctrl-C must get through."""
        raise NotImplementedError

    def stop(self, worker: int) -> None:
        """End a worker, which reports nothing more."""
        raise NotImplementedError

    def close(self) -> None:
        """End all workers, in the middle of a shard if there is one in flight."""
        raise NotImplementedError


@dataclass(slots=True)
class _Worker:
    """A started worker: where it is, and what it is doing."""

    id: int
    place: int
    ready: bool = False
    restored: bool = False
    waits_for: str = "load"  # or restore, record, "" for nothing
    shard: Shard | None = None
    counted: int = 0

    @property
    def name(self) -> str:
        """For people, who count from 1."""
        return f"worker {self.place + 1}"


@dataclass(slots=True)
class _Work:
    """One call of `record`: what waits, and how often a shard lost its worker."""

    source: Iterator[Shard] = field(default_factory=lambda: iter(()))
    pending: deque[Shard] = field(default_factory=deque)
    on_progress: Callable[[int], None] = lambda _: None
    attempts: Counter[int] = field(default_factory=Counter)
    error: BaseException | None = None

    def fetch(self, n: int) -> None:
        """Take so many shards from the source, if there are, unless work has failed."""
        if self.error is None:
            self.pending.extend(islice(self.source, max(0, n - len(self.pending))))

    def fail(self, error: BaseException) -> None:
        """Begin nothing more; the first error is raised at the end."""
        self.error = self.error or error
        self.pending.clear()


class WorkerPool(Workers):
    """Workers of one classifier; its construction ends when one is ready.

    At most `n_workers` are started, and never more than there are shards. `log` is
    given a line for people about each worker that is lost.
    """

    def __init__(
        self,
        launcher: Launcher,
        n_workers: int,
        job: ClassifierJob,
        log: Callable[[str], None],
    ) -> None:
        self.launcher = launcher
        self.job = job
        self._log = log
        self._first: Ready | None = None  # its facts are those of all
        self._state: Mapping[str, Any] = {}
        self._workers: dict[int, _Worker] = {}
        self._losses = dict.fromkeys(range(n_workers), 0)  # while loading, by place
        self._n_started = 0
        self._asked = False  # for shards, before
        self._work = _Work()
        try:
            self._start_workers(max(1, job.n_at_once))
            while self._first is None:
                self._handle(launcher.next_event())
        except BaseException:
            launcher.close()
            raise
        self.facts = self._first.facts
        self.label = self._first.label
        self.shard_size = self._first.shard_size

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with a state: on a ready worker now, on the others before they record.

        Raises the error of the one that is tried.
        """
        while True:
            worker = next(w for w in self._workers.values() if w.ready)
            self._restore(worker, state)
            while worker.id in self._workers:
                event = self.launcher.next_event()
                if isinstance(event, Restored) and event.worker == worker.id:
                    worker.waits_for, worker.restored = "", True
                    if event.error is not None:
                        raise event.error
                    self._state = dict(state)
                    return
                self._handle(event)
            self._await_ready()

    def record(
        self, shards: Iterable[Shard], on_progress: Callable[[int], None]
    ) -> Iterator[RecordedShard]:
        """Yield every shard once, as they finish; raise an error after the others."""
        for worker in [w for w in self._workers.values() if w.shard]:
            self._remove(worker)  # the caller gave up what it was recording
            self.launcher.stop(worker.id)
        work = self._work = _Work(iter(shards), on_progress=on_progress)
        while True:
            n_busy = sum(w.shard is not None for w in self._workers.values())
            work.fetch(len(self._losses) - n_busy)
            if not work.pending and not n_busy:
                break
            self._note_idle(len(work.pending) + n_busy)
            self._start_workers(len(work.pending) + n_busy)
            self._assign(work)
            recorded = self._handle(self.launcher.next_event())
            if recorded is not None:
                yield recorded
        if work.error is not None:
            raise work.error

    def close(self) -> None:
        """End all workers."""
        self._workers.clear()
        self.launcher.close()

    def _note_idle(self, n_shards: int) -> None:
        """Say once where there is less to do than workers were asked for."""
        n_workers = len(self._losses)
        if self._asked or n_shards >= n_workers:
            self._asked = True
            return
        self._asked = True
        shards = "1 shard" if n_shards == 1 else f"{n_shards} shards"
        self._log(
            f"{self.job.label}: {shards} to record, so that {n_shards} of {n_workers} "
            "workers are used; a smaller --shard-size makes more"
        )

    def _start_workers(self, n_wanted: int) -> None:
        """Start workers in free places until there are so many, or no more places."""
        taken = {worker.place for worker in self._workers.values()}
        for place in [p for p in self._losses if p not in taken]:
            if len(self._workers) >= n_wanted:
                return
            worker = _Worker(self._n_started, place)
            self._n_started += 1
            self._workers[worker.id] = worker
            self.launcher.start(worker.id, place, self.job)

    def _await_ready(self) -> None:
        self._start_workers(1)
        while not any(worker.ready for worker in self._workers.values()):
            self._handle(self.launcher.next_event())

    def _assign(self, work: _Work) -> None:
        """Give each idle worker a shard."""
        for worker in self._workers.values():
            if not work.pending:
                return
            if worker.waits_for:
                continue
            if self._state and not worker.restored:
                self._restore(worker, self._state)
                continue
            worker.shard, worker.counted = work.pending.popleft(), 0
            worker.waits_for = "record"
            self.launcher.submit(worker.id, worker.shard)

    def _restore(self, worker: _Worker, state: Mapping[str, Any]) -> None:
        worker.waits_for = "restore"
        self.launcher.restore(worker.id, state)

    def _handle(self, event: Event) -> RecordedShard | None:
        """Take an event in; return a shard that is recorded."""
        worker = self._workers.get(event.worker)
        if worker is None:  # of one that is given up
            return None
        match event:
            case Ready():
                self._take_facts(worker, event)
            case Counted(n=n):
                worker.counted += n
                self._work.on_progress(n)
            case Recorded(shard=shard):
                return self._take_shard(worker, shard)
            case Restored(error=error):
                worker.waits_for, worker.restored = "", True
                if error is not None:
                    self._give_up(worker, error)
            case Failed(error=error):
                self._fail(worker, error)
            case Ended(reason=reason):
                self._replace(worker, reason)
        return None

    def _take_facts(self, worker: _Worker, ready: Ready) -> None:
        """Take the facts of the first worker; refuse another one with other facts."""
        worker.ready, worker.waits_for = True, ""
        if self._first is None:
            self._first = ready
            return
        expected = self._first.facts
        for name in sorted(expected.keys() | ready.facts.keys()):
            if expected.get(name) != ready.facts.get(name):
                raise ModelError(
                    f"{self.job.label}: the workers do not compute alike, {name} is "
                    f"{expected.get(name)!r} on one and {ready.facts.get(name)!r} on "
                    f"{worker.name}: set the option, or run on machines of one kind"
                )

    def _take_shard(self, worker: _Worker, shard: RecordedShard) -> RecordedShard:
        sent, worker.shard, worker.waits_for = worker.shard, None, ""
        if sent is None or sent.number != shard.number:
            raise PluginError(
                f"{self.job.label}: {worker.name} recorded shard {shard.number}, which "
                "it was not sent"
            )
        return replace(shard, n_workers=len(self._workers))

    def _fail(self, worker: _Worker, error: BaseException) -> None:
        """Take an error in: of loading for this worker alone, of a shard for all."""
        if not worker.ready:
            self._give_up(worker, error)
            return
        worker.shard, worker.waits_for = None, ""
        self._work.fail(error)

    def _give_up(self, worker: _Worker, error: BaseException) -> None:
        """Go on without a worker, unless it is the last one: then raise its error."""
        self._remove(worker)
        del self._losses[worker.place]
        self.launcher.stop(worker.id)
        if not self._workers:
            raise error
        message = getattr(error, "message", str(error)).partition("\n")[0]
        self._log(
            f"{self.job.label}: {worker.name} cannot be used ({message}); going on "
            f"with {len(self._losses)}"
        )

    def _replace(self, worker: _Worker, reason: str) -> None:
        """Go on after a worker is lost: its shard is the next that is recorded."""
        if not worker.ready:
            self._losses[worker.place] += 1
            if self._losses[worker.place] >= MAX_LOADS:
                self._give_up(worker, self._loading_error(reason))
                return
            self._remove(worker)
            self._log(f"{self.job.label}: {worker.name} {reason}; it is started again")
            if self._first is None:
                self._start_workers(max(1, self.job.n_at_once))
            return
        self._remove(worker)
        if worker.shard is None:
            self._log(f"{self.job.label}: {worker.name} {reason}")
        else:
            self._record_again(worker.shard, worker, reason)

    def _record_again(self, shard: Shard, worker: _Worker, reason: str) -> None:
        """Put a lost worker's shard first, unless it has ended too many of them."""
        work, n = self._work, len(shard.samples)
        work.on_progress(-worker.counted)
        work.attempts[shard.number] += 1
        samples = f"{n} sample{'' if n == 1 else 's'}"
        if work.error is not None:  # nothing more is begun
            return
        if work.attempts[shard.number] >= MAX_ATTEMPTS:
            message = (
                f"{self.job.label}: {MAX_ATTEMPTS} workers were lost on the same "
                f"{samples} (from {shard.samples[0].id}); the last one {reason}. Fewer "
                "workers, a smaller --shard-size or the executor local may work"
            )
            work.fail(ModelError(message))
            return
        work.pending.appendleft(shard)
        self._log(
            f"{self.job.label}: {worker.name} {reason}; its {samples} "
            f"{'is' if n == 1 else 'are'} recorded again"
        )

    def _remove(self, worker: _Worker) -> None:
        del self._workers[worker.id]

    def _loading_error(self, reason: str) -> ModelError:
        return ModelError(
            f"{self.job.label}: a worker {reason} while it loaded {self.job.model}; "
            "fewer workers, or the executor local, may work"
        )
