"""Executors: where shards of evidence are recorded.

In this process (`local`), in several of this machine (`processes`), or by what a plugin
brings. An executor is a subclass of `Executor`; one that drives workers of its own
needs a `Launcher` alone, and `WorkerPool` does the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.lazy import lazy_exports

from . import events
from .base import ClassifierJob, Executor, RecordedShard, Shard, Workers

if TYPE_CHECKING:
    from .pool import Launcher, WorkerPool
    from .worker import ClassifierWorker

__all__ = [
    "ClassifierJob",
    "ClassifierWorker",
    "Executor",
    "Launcher",
    "RecordedShard",
    "Shard",
    "WorkerPool",
    "Workers",
    "events",
]
__getattr__ = lazy_exports(
    __name__,
    {"ClassifierWorker": "worker", "Launcher": "pool", "WorkerPool": "pool"},
)
