"""The pool of workers, on workers that are lost, refuse and differ as they are told.

`Script` is a launcher without processes: what a worker reports next is what the test
wrote down for it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from safebench.classifiers import Recording, Trace
from safebench.errors import ModelError, PluginError
from safebench.evidence import Scores
from safebench.executors import ClassifierJob, RecordedShard, Shard, WorkerPool, events
from safebench.executors.pool import MAX_ATTEMPTS, Launcher
from safebench.records import Sample, Turn
from safebench.specs import ClassifierSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FACTS = {"device": "cpu"}
KINDS = frozenset({Scores})


class Script(Launcher):
    """Workers in order of their start; `loads` and `records` say how each ends.

    A load is `FACTS` or other facts, an error, or the text of a loss. A record is
    "done", an error, or ("lost", samples finished before). Missing ones succeed.
    """

    def __init__(self, loads: dict[int, Any], records: dict[int, list[Any]]) -> None:
        self.loads, self.records = loads, records
        self.reports: deque[events.Event] = deque()
        self.started: list[tuple[int, int]] = []
        self.submitted: list[tuple[int, int]] = []
        self.restored: list[int] = []
        self.stopped: list[int] = []
        self.closed = False

    def start(self, worker: int, place: int, job: ClassifierJob) -> None:
        """Report what is written down for the load."""
        self.started.append((worker, place))
        end = self.loads.get(worker, FACTS)
        if isinstance(end, dict):
            self.reports.append(events.Ready(worker, end, "", 2))
        elif isinstance(end, str):
            self.reports.append(events.Ended(worker, end))
        else:
            self.reports.append(events.Failed(worker, end))

    def restore(self, worker: int, state: Mapping[str, Any]) -> None:
        """Take a state over, unless it is a bad one."""
        self.restored.append(worker)
        error = ValueError("bad state") if "bad" in state else None
        self.reports.append(events.Restored(worker, error))

    def submit(self, worker: int, shard: Shard) -> None:
        """Report what is written down for the worker's next shard."""
        self.submitted.append((worker, shard.number))
        ends = self.records.get(worker, [])
        end = ends.pop(0) if ends else "done"
        if isinstance(end, Exception):
            self.reports.append(events.Failed(worker, end))
        elif end == "done":
            self.reports.append(events.Counted(worker, len(shard.samples)))
            self.reports.append(events.Recorded(worker, recorded(shard)))
        else:
            self.reports.append(events.Counted(worker, end[1]))
            self.reports.append(events.Ended(worker, "was lost"))

    def next_event(self) -> events.Event:
        """Return the next report; there must be one, or the pool waits for ever."""
        return self.reports.popleft()

    def stop(self, worker: int) -> None:
        """Report nothing more of it."""
        self.stopped.append(worker)
        self.reports = deque(r for r in self.reports if r.worker != worker)

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


def shards(n: int) -> list[Shard]:
    """Return shards of two samples each, numbered from 10."""
    return [
        Shard(
            10 + i,
            [Sample(id=f"{i}.{k}", turns=(Turn("user", "t"),)) for k in (0, 1)],
            KINDS,
        )
        for i in range(n)
    ]


def recorded(shard: Shard) -> RecordedShard:
    """Return a shard with its number as the value of every sample."""
    values = [[float(shard.number)]] * len(shard.samples)
    meta = {"labels": ["unsafe"], "scale": "score"}
    scores = Scores({"values": values}, meta=meta)
    traces = [Trace() for _ in shard.samples]
    return RecordedShard(
        shard.number, Recording(evidence={Scores: scores}, traces=traces)
    )


def pool(
    script: Script, n_workers: int, log: Callable[[str], None] = print, at_once: int = 1
) -> WorkerPool:
    """Return a pool on a script."""
    spec = ClassifierSpec(name="guard", load="nowhere:Guard", provides=KINDS)
    job = ClassifierJob.of(spec, None, n_at_once=at_once)
    return WorkerPool(script, n_workers, job, log)


def numbers(
    workers: WorkerPool, n: int, count: Callable[[int], None] = print
) -> list[int]:
    """Record n shards and return their numbers as they came."""
    return [done.number for done in workers.record(shards(n), count)]


def test_every_shard_is_recorded_once_by_all_workers() -> None:
    """Five shards on three workers: one each at first, none twice, progress whole."""
    script, counts = Script({}, {}), list[int]()
    workers = pool(script, 3)
    done = list(workers.record(shards(5), counts.append))
    assert sorted(d.number for d in done) == [10, 11, 12, 13, 14]
    assert [p for _, p in script.started] == [0, 1, 2]
    assert {w for w, _ in script.submitted} == {0, 1, 2}
    assert sum(counts) == 10
    assert {d.n_workers for d in done} == {3}


def test_no_more_workers_than_shards() -> None:
    """Eight workers for two shards: two are started."""
    script, lines = Script({}, {}), list[str]()
    workers = pool(script, 8, lines.append, at_once=2)
    numbers(workers, 2)
    numbers(workers, 2)
    assert len(script.started) == 2
    assert lines == [
        (
            "guard: 2 shards to record, so that 2 of 8 workers are used; a smaller "
            "--shard-size makes more"
        )
    ]


def test_shards_are_made_as_they_are_taken() -> None:
    """A million shards must not wait in memory: two workers hold two."""
    taken: list[int] = []

    def source() -> Any:
        for shard in shards(6):
            taken.append(shard.number)
            yield shard

    recording = pool(Script({}, {}), 2).record(source(), print)
    next(recording)
    assert len(taken) <= 3


def test_a_lost_worker_costs_its_shard_alone() -> None:
    """Its shard is the next to be recorded, by its successor or another one."""
    script, lines, counts = Script({}, {0: [("lost", 1)]}), list[str](), list[int]()
    workers = pool(script, 2, lines.append)
    assert sorted(numbers(workers, 4, counts.append)) == [10, 11, 12, 13]
    assert [n for _, n in script.submitted].count(10) == 2
    assert len(script.submitted) == 5
    assert (2, 0) in script.started  # in the place of the lost one
    assert sum(counts) == 8  # what it had counted is taken back
    assert lines == ["guard: worker 1 was lost; its 2 samples are recorded again"]


def test_a_shard_that_ends_every_worker_ends_the_work_but_not_the_others() -> None:
    """Three workers are enough; the error says which samples, and what could work."""
    lost = [("lost", 0)]
    script = Script({}, {worker: list(lost) for worker in range(MAX_ATTEMPTS)})
    workers = pool(script, 1)
    with pytest.raises(
        ModelError, match=r"3 workers were lost .* from 0\.0.*fewer|Fewer"
    ):
        numbers(workers, 3)
    assert script.submitted == [(0, 10), (1, 10), (2, 10)]


def test_an_error_of_the_classifier_ends_the_work_after_what_was_begun() -> None:
    """The other worker's shard is yielded first, and no other one is begun."""
    script = Script({}, {0: [PluginError("broken")]})
    workers = pool(script, 2, at_once=2)
    recording = workers.record(shards(9), print)
    assert next(recording).number == 11
    with pytest.raises(PluginError, match="broken"):
        next(recording)
    assert len(script.submitted) == 2
    assert sorted(numbers(workers, 2)) == [10, 11]  # the workers go on


def test_a_classifier_that_cannot_load_raises_its_own_error() -> None:
    """As it does in the process of the run; everything is closed."""
    script = Script({0: ModelError("no such model")}, {})
    with pytest.raises(ModelError, match="no such model"):
        pool(script, 2)
    assert script.closed


def test_a_worker_that_cannot_load_is_done_without() -> None:
    """Memory may be enough for one model and not for two."""
    script, lines = Script({1: ModelError("no memory\nat all")}, {}), list[str]()
    workers = pool(script, 2, lines.append)
    assert sorted(numbers(workers, 4)) == [10, 11, 12, 13]
    assert len(script.started) == 2  # it is not tried for ever
    assert lines == ["guard: worker 2 cannot be used (no memory); going on with 1"]


def test_loading_that_loses_workers_ends_with_their_reason() -> None:
    """Twice: the first loss may be chance."""
    script = Script({0: "was ended by SIGKILL", 1: "was ended by SIGKILL"}, {})
    with pytest.raises(ModelError, match="was ended by SIGKILL while it loaded guard"):
        pool(script, 1)
    assert len(script.started) == 2


def test_workers_that_compute_otherwise_are_refused() -> None:
    """Their evidence would lie under one key; the error names the fact."""
    script = Script({1: {"device": "cuda"}}, {})
    workers = pool(script, 2, at_once=1)
    with pytest.raises(
        ModelError, match="device is 'cpu' on one and 'cuda' on worker 2"
    ):
        numbers(workers, 4)


def test_a_state_reaches_every_worker_before_it_records() -> None:
    """Those that start later, too; a bad one is refused at once."""
    script = Script({}, {0: [("lost", 0)]})
    workers = pool(script, 2)
    with pytest.raises(ValueError, match="bad state"):
        workers.restore({"bad": 1})
    workers.restore({"batch_tokens": 512})
    script.restored.clear()
    numbers(workers, 3)
    assert script.restored == [1, 2]  # the first one has it


def test_what_nobody_waits_for_any_more_is_given_up() -> None:
    """A caller that stops in the middle can record again."""
    script = Script({}, {})
    workers = pool(script, 2, at_once=2)
    next(workers.record(shards(4), print))
    assert sorted(numbers(workers, 3)) == [10, 11, 12]


def test_a_shard_that_was_not_sent_is_refused() -> None:
    """A launcher that mixes up its workers must not file evidence wrongly."""
    script = Script({}, {})
    workers = pool(script, 1)
    recording = workers.record(shards(2), print)
    next(recording)
    script.reports.append(events.Recorded(0, recorded(shards(5)[4])))
    with pytest.raises(PluginError, match="recorded shard 14, which it was not sent"):
        list(recording)
