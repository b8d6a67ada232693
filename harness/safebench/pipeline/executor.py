"""The executor of a run: chosen by name, started where evidence is missing.

Its code is a plugin's: what it raises is named, and what it hands back is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.classifiers import Recording
from safebench.errors import OptionError, PluginError
from safebench.executors import Executor, RecordedShard, Workers
from safebench.executors.local import LocalExecutor
from safebench.identity import json_mapping
from safebench.isolation import isolated
from safebench.options import OptionSchema
from safebench.redaction import redact_secrets
from safebench.specs import ExecutorSpec

from .config import parse_component_ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from safebench.executors import ClassifierJob, Shard
    from safebench.plugins import Plugins

    from .config import RunConfig

LOCAL = "local"
EXECUTOR_FLAGS = ("workers", "address", "gpus_per_worker")  # of RunConfig


class RunExecutor:
    """The executor that a run was asked for, with what is recorded by it.

    Its code is imported, and refuses options that cannot work, before anything loads.
    """

    def __init__(
        self, spec: ExecutorSpec, options: Any, given: Mapping[str, Any]
    ) -> None:
        self.spec = spec
        self.given = dict(given)
        code = spec.code()
        with isolated(spec):
            executor = code(options)
        if not isinstance(executor, Executor):
            raise PluginError(f"{spec.described}: {spec.load} made no Executor")
        self.executor = executor
        self.local = LocalExecutor()

    def start(
        self, job: ClassifierJob, log: Callable[[str], None], one_process: str = ""
    ) -> Workers:
        """Load a classifier; every later call of its workers is isolated, too.

        `one_process` says why this process has to record, "" if it does not.
        """
        if one_process and self.spec.name != LOCAL:
            log(
                f"{job.label}: recorded in one process, not by {self.spec.name}: "
                f"{one_process}"
            )
            return self.local.start(job, log)
        with isolated(self.spec):
            workers = self.executor.start(job, log)
        if not isinstance(workers, Workers):
            raise PluginError(f"{self.spec.described}: start() returned no Workers")
        return IsolatedWorkers(self.spec, workers)

    def close(self) -> None:
        """End what was started."""
        with isolated(self.spec):
            self.executor.close()

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {"name": self.spec.name, "options": redact_secrets(self.given)}


class IsolatedWorkers(Workers):
    """Workers whose calls end in a `PluginError` that names them, or in order."""

    def __init__(self, spec: ExecutorSpec, workers: Workers) -> None:
        self._spec = spec
        self._workers = workers
        with isolated(spec):
            self.facts = json_mapping(workers.facts, "facts")
            self.label = str(workers.label)
            self.shard_size = workers.shard_size
            if not isinstance(self.shard_size, int) or self.shard_size < 1:
                raise ValueError(f"shard_size is {self.shard_size!r}")

    @property
    def state(self) -> Mapping[str, Any] | None:
        """What the classifier has learnt by now; None where several may differ."""
        with isolated(self._spec):
            state = self._workers.state
            return None if state is None else json_mapping(state, "state")

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the state of an earlier run."""
        with isolated(self._spec):
            self._workers.restore(state)

    def record(
        self, shards: Iterable[Shard], on_progress: Callable[[int], None]
    ) -> Iterator[RecordedShard]:
        """Yield every shard once; refuse one that is not whole, or was not sent."""
        missing: dict[int, Shard] = {}

        shards_left = iter(shards)

        def hand_out() -> Iterator[Shard]:
            for shard in shards_left:
                missing[shard.number] = shard
                yield shard

        with isolated(self._spec):
            recorded = iter(self._workers.record(hand_out(), on_progress))
        while True:
            with isolated(self._spec):
                shard = next(recorded, None)
                if shard is None:
                    break
                if not isinstance(shard, RecordedShard):
                    raise TypeError(f"record() yielded a {type(shard).__name__}")
                if shard.number not in missing:
                    raise ValueError(
                        f"shard {shard.number} was not sent, or came twice"
                    )
                _check_whole(missing.pop(shard.number), shard.recording)
                json_mapping(shard.state, "state")
            yield shard
        left = len(missing) + sum(1 for _ in shards_left)
        if left:
            raise PluginError(
                f"{self._spec.described}: {left} shards were never recorded"
            )

    def close(self) -> None:
        """Free the models."""
        with isolated(self._spec):
            self._workers.close()


def _check_whole(shard: Shard, recording: Recording) -> None:
    """Raise `ValueError` unless every kind is there, about every sample."""
    if not isinstance(recording, Recording):
        raise TypeError(f"shard {shard.number} is a {type(recording).__name__}")
    sizes = {len(batch) for batch in recording.evidence.values()}
    sizes.add(len(recording.traces))
    if sizes != {len(shard.samples)} or not shard.kinds <= recording.evidence.keys():
        raise ValueError(f"shard {shard.number} did not come back whole")


def choose_executor(config: RunConfig, plugins: Plugins) -> RunExecutor:
    """Return the executor that a run is asked for; the local one if it says nothing.

    Raises `UnknownNameError` with the nearest name, or with the package that would
    bring it, and `OptionError` for options that it does not take.
    """
    ref = parse_component_ref(config.executor or LOCAL)
    spec = plugins.get(ExecutorSpec, ref.name)
    schema = OptionSchema.of(spec)
    flags = {name: getattr(config, name) for name in EXECUTOR_FLAGS}
    flags = {name: value for name, value in flags.items() if value is not None}
    for name in flags:
        if name not in schema.names:
            flag = f"--{name.replace('_', '-')}"
            raise OptionError(
                f"{flag}: the executor {spec.name!r} has no such option\n"
                f"  {_who_takes(name, plugins)}"
            )
    given = {**ref.options, **flags}
    return RunExecutor(spec, schema.build(given), given)


def _who_takes(name: str, plugins: Plugins) -> str:
    """Say which executors take an option; a broken one is passed over."""
    names = [
        spec.name
        for spec in plugins.all(ExecutorSpec)
        if name in OptionSchema.of(spec).names
    ]
    if not names:
        return "no executor that is installed has it"
    return f"--executor {' or --executor '.join(sorted(names))} has"
