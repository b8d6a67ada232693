"""Executors: where shards of evidence are recorded.

An executor decides on which processes and machines a classifier runs, and nothing else:
what a shard is, and what is written, is the run's business. So evidence does not depend
on who recorded it, and the run can go on under another executor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.evidence.recording import Recording
    from safebench.records import Sample
    from safebench.specs import ClassifierSpec


@dataclass(frozen=True, slots=True)
class SentOrigin:
    """The plugin of a component, as much of it as messages in another process need."""

    name: str
    described: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierJob:
    """A classifier for workers to load: plain values, which can be pickled.

    `label` and `model` are its names in messages, `options` the instance of its options
    dataclass. `identity` tells its model from others (as `ClassifierSpec.identity`):
    workers of another machine may have other files under the same name. `n_at_once` is
    how many shards there are at least, as far as that is known before a model is
    loaded: so many workers will not be in vain.
    """

    label: str
    model: str
    spec: ClassifierSpec
    options: Any
    identity: Mapping[str, Any] = field(default_factory=dict)
    n_at_once: int = 1

    @classmethod
    def of(
        cls,
        spec: ClassifierSpec,
        options: Any,
        *,
        label: str = "",
        model: str = "",
        identity: Mapping[str, Any] | None = None,
        n_at_once: int = 1,
    ) -> Self:
        """Return the job of a classifier, without what only this process knows."""
        light = replace(spec)  # `origin` holds a whole plugin, and is not copied
        if spec.origin is not None:
            origin = SentOrigin(spec.origin.name, spec.origin.described)
            object.__setattr__(light, "origin", origin)
        return cls(
            label=label or spec.name,
            model=model or spec.name,
            spec=light,
            options=options,
            identity=dict(identity or {}),
            n_at_once=n_at_once,
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """Samples that are recorded together, and the kinds of evidence that are.

    `number` is the caller's, and comes back with what was recorded.
    """

    number: int
    samples: Sequence[Sample]
    kinds: frozenset[type[Evidence]]


@dataclass(frozen=True, slots=True)
class RecordedShard:
    """What was recorded about a shard, and the classifier's state after it.

    `n_workers` is how many recorded side by side then, this one included. `seconds` is
    how long it took by the worker's clock, whatever it took to send.
    """

    number: int
    recording: Recording
    state: Mapping[str, Any] = field(default_factory=dict)
    n_workers: int = 1
    seconds: float = 0.0


class Workers:
    """One classifier, loaded by as many workers as the executor has for it.

    `facts`, `label` and `shard_size` are those of `safebench.classifiers.Classifier`;
    all workers must agree on the facts, since they are part of the evidence key.
    """

    facts: Mapping[str, Any] = {}
    label: str = ""
    shard_size: int = 1024

    @property
    def state(self) -> Mapping[str, Any] | None:
        """What the classifier has learnt by now; None where several may differ."""
        return None

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the `state` of an earlier run, on every worker.

        Raises what the classifier raises for a state that it cannot go on with; these
        workers are then closed, and others started.
        """
        raise NotImplementedError

    def record(
        self, shards: Iterable[Shard], on_progress: Callable[[int], None]
    ) -> Iterator[RecordedShard]:
        """Yield every shard once, in any order, as soon as it is recorded.

        What is yielded is stored before the next one is asked for. `shards` may be made
        as they are taken: more than there are workers should not wait in memory.
        `on_progress` is called in the thread of the caller, with the number of samples
        finished since its last call; a negative number takes back what a lost worker
        had counted.

        A shard whose worker is lost is recorded again by another one. An error of the
        classifier ends the work, after what other workers had begun was yielded.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Free the models. Called once, in the middle of a shard if interrupted."""


class Executor:
    """Base class of executors; a subclass needs to define `start` alone.

    It is built with the instance of its options dataclass (None without one), before
    any model loads: so it refuses there what cannot work, and starts nothing yet.
    """

    def __init__(self, options: Any = None) -> None:
        self.options = options

    def start(self, job: ClassifierJob, log: Callable[[str], None]) -> Workers:
        """Load a classifier; return when its facts are known.

        Called for one classifier after the other, and only where evidence is missing.
        `log` is given a line for people. Raises what loading the classifier raises, and
        `ModelError` where no worker can be had.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End what `start` began beside the workers. Called once, after all of them."""
