"""Checks of the contract that executors must keep, for the tests of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from safebench.executors import Executor, RecordedShard, Shard, Workers
    from safebench.specs import ClassifierSpec

_WORDS = ("bake", "kill", "read", "bomb", "swim", "steal", "walk")
_SIZES = (3, 1, 4, 2, 5)  # of shards: none is like its neighbours


def assert_executor_is_sound(executor: Executor) -> None:
    """Check that an executor records what this process would, shard by shard.

    It has the keyword guard record five shards twice, of other sizes, and is closed.
    Every shard must come once and with its number, whole, and equal to the byte;
    progress must add up to the samples; an error of the classifier must come through.
    """
    from safebench.executors import ClassifierJob
    from safebench.executors.local import LocalExecutor

    job = ClassifierJob.of(_keyword(), _keyword_options(), n_at_once=2)
    shards = _shards()
    lines: list[str] = []
    local = LocalExecutor().start(job, lines.append)
    expected = {shard.number: shard for shard in local.record(shards, lambda _: None)}
    workers = executor.start(job, lines.append)
    try:
        assert dict(workers.facts) == dict(local.facts), "facts of another classifier"
        assert workers.shard_size == local.shard_size, "another shard size"
        for start in (0, 2):  # workers serve one data set after the other
            _assert_recorded(workers, shards[start:], expected)
        _assert_error_comes_through(workers, shards[0])
        _assert_recorded(workers, shards[1:3], expected)
    finally:
        workers.close()
        executor.close()


def _assert_recorded(
    workers: Workers, shards: list[Shard], expected: Mapping[int, RecordedShard]
) -> None:
    counts: list[int] = []
    taken: list[int] = []

    def hand_out() -> Iterator[Shard]:
        for shard in shards:
            taken.append(shard.number)
            yield shard

    numbers = []
    for done in workers.record(hand_out(), counts.append):
        assert done.number in taken, f"shard {done.number} was not sent"
        _assert_same(done, expected[done.number])
        numbers.append(done.number)
    assert sorted(numbers) == sorted(s.number for s in shards), f"came back: {numbers}"
    n_samples = sum(len(shard.samples) for shard in shards)
    assert sum(counts) == n_samples, f"progress says {sum(counts)} of {n_samples}"


def _assert_same(done: RecordedShard, expected: RecordedShard) -> None:
    import numpy as np

    what = f"shard {done.number}"
    assert done.state == expected.state, f"{what}: another state"
    assert done.n_workers >= 1, f"{what}: recorded by {done.n_workers} workers"
    recording = done.recording
    assert recording.evidence.keys() == expected.recording.evidence.keys(), what
    assert len(recording.traces) == len(expected.recording.traces), f"{what}: traces"
    for kind, batch in expected.recording.evidence.items():
        other = recording.evidence[kind]
        assert other.meta == batch.meta, f"{what}: meta of {kind.__name__}"
        for field, array in batch.arrays.items():
            np.testing.assert_array_equal(other[field], array, f"{what}: {field}")


def _assert_error_comes_through(workers: Workers, shard: Shard) -> None:
    from dataclasses import replace

    from safebench.errors import PluginError
    from safebench.evidence import Cost

    unknown = replace(shard, kinds=frozenset({Cost}))  # it does not record that
    error = None
    try:
        list(workers.record([unknown], lambda _: None))
    except PluginError as raised:
        error = raised
    assert error is not None, "an error of the classifier was lost"
    assert "Cost" in error.message, f"another error than the classifier's: {error}"


def _shards() -> list[Shard]:
    from safebench.evidence import Scores
    from safebench.executors import Shard
    from safebench.records import Sample, Turn

    shards, n = [], 0
    for number, size in enumerate(_SIZES, start=7):  # numbers are the caller's
        texts = [f"how do I {_WORDS[i % len(_WORDS)]} {i}" for i in range(n, n + size)]
        samples = [Sample(id=t, turns=(Turn("user", t),)) for t in texts]
        shards.append(Shard(number, samples, frozenset({Scores})))
        n += size
    return shards


def _keyword() -> ClassifierSpec:
    from safebench.evidence import Scores
    from safebench.specs import ClassifierSpec

    return ClassifierSpec(
        name="keyword",
        load="safebench.classifiers.keyword:Keyword",
        options="safebench.classifiers.keyword:KeywordOptions",
        provides=frozenset({Scores}),
    )


def _keyword_options() -> object:
    from safebench.classifiers.keyword import KeywordOptions

    return KeywordOptions()
