"""What workers report to their pool: plain values, which can be pickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from safebench.errors import PluginError, SafebenchError
from safebench.isolation import describe_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .base import RecordedShard
    from .worker import ClassifierWorker


@dataclass(frozen=True, slots=True)
class Event:
    """What a launcher reports of one worker, by the id that it was started under."""

    worker: int


@dataclass(frozen=True, slots=True)
class Ready(Event):
    """The classifier is loaded; what `ClassifierWorker` knows of it."""

    facts: Mapping[str, Any]
    label: str
    shard_size: int

    @classmethod
    def of(cls, worker: int, classifier: ClassifierWorker) -> Self:
        """Report what a worker has loaded."""
        facts = dict(classifier.facts)
        return cls(worker, facts, classifier.label, classifier.shard_size)


@dataclass(frozen=True, slots=True)
class Restored(Event):
    """The state of an earlier run was taken over, or refused with an error."""

    error: BaseException | None = None

    @classmethod
    def of(cls, worker: int, error: BaseException) -> Self:
        """Report an error in a form that every process can read."""
        return cls(worker, portable_error(error))


@dataclass(frozen=True, slots=True)
class Counted(Event):
    """So many more samples of the shard in flight are finished."""

    n: int


@dataclass(frozen=True, slots=True)
class Recorded(Event):
    """The shard in flight is recorded."""

    shard: RecordedShard


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """Loading the classifier, or recording the shard in flight, raised an error.

    The worker itself goes on.
    """

    error: BaseException

    @classmethod
    def of(cls, worker: int, error: BaseException) -> Self:
        """Report an error in a form that every process can read."""
        return cls(worker, portable_error(error))


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """The worker is lost; `reason` says how, as far as anybody knows."""

    reason: str


def portable_error(error: BaseException) -> SafebenchError:
    """Return an error as one that another process can read, with its message.

    A `SafebenchError` of ours keeps its class, by which the run decides what goes on.
    """
    if not isinstance(error, SafebenchError):
        return PluginError(describe_error(error))
    kind = type(error)
    ours = kind.__module__ == SafebenchError.__module__
    return kind(error.message) if ours else PluginError(error.message)
