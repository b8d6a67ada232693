"""The executor `ray`: a classifier is loaded by actors, which record shards."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, OptionError
from safebench.executors import Executor, WorkerPool, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safebench.executors import ClassifierJob

    from .options import RayOptions

CONNECT_SECONDS = 10.0
OBJECT_STORE_BYTES = 256 * 2**20  # of a cluster of our own: shards are a few MB each
# what the libraries of guards read, and a cluster's machines may have otherwise
_PASSED_ON = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class RayExecutor(Executor):
    """Joins a cluster, or starts one of this machine alone."""

    options: RayOptions

    def __init__(self, options: RayOptions) -> None:
        super().__init__(options)
        if find_spec("ray") is None:
            raise OptionError(
                "executor 'ray': the package ray is not installed: "
                "pip install 'safebench-ray[ray]'"
            )
        self._is_ours = False  # the connection, which is ours to end

    def start(self, job: ClassifierJob, log: Callable[[str], None]) -> Workers:
        """Start actors; return when the first one is ready."""
        self._connect(log)
        from .launcher import ActorLauncher

        resources, n_workers = self._resources()
        capacity = _capacity(resources)
        if self.options.workers and capacity < self.options.workers:
            log(
                f"{job.label}: the cluster has room for {capacity} of "
                f"{self.options.workers} workers now"
            )
        launcher = ActorLauncher(resources, self._environment(), self.options.wait)
        return WorkerPool(launcher, n_workers, job, log)

    def close(self) -> None:
        """Leave the cluster; one of our own ends."""
        if self._is_ours:
            import ray

            with _signals_kept():
                ray.shutdown()
            self._is_ours = False

    def _connect(self, log: Callable[[str], None]) -> None:
        """Be connected to a cluster: that of the process, the named, or a new one."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        if ray.is_initialized():
            return
        address = self.options.address or os.environ.get("RAY_ADDRESS", "")
        given: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address:
            _check_reachable(address)
            log(f"joining the Ray cluster at {address}")
            given["address"] = address
        else:
            log("starting a Ray cluster on this machine")
            given |= self._local_cluster()
        with _signals_kept():
            try:
                ray.init(**given)
            except Exception as error:
                raise _connection_error(address, error) from error
        self._is_ours = True

    def _local_cluster(self) -> dict[str, Any]:
        """Return what a cluster of this machine is started with.

        It has room for all workers that were asked for: whether so many of them are too
        many is the user's business, as with processes.
        """
        # Ray puts its actors behind all else that the machine does
        os.environ.setdefault("RAY_worker_niceness", "0")
        options = self.options
        n_cpus: float = options.workers * options.cpus_per_worker or os.cpu_count() or 1
        return {
            "address": "local",
            "num_cpus": max(1, round(n_cpus + 0.49)),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }

    def _resources(self) -> tuple[dict[str, float], int]:
        """Return what an actor needs, and how many actors there are to be.

        Raises `OptionError` for what no machine of the cluster has: such an actor would
        wait for ever.
        """
        import ray

        n_gpus = float(ray.cluster_resources().get("GPU", 0))
        gpus = self.options.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if n_gpus else 0.0
        if gpus > n_gpus:
            raise OptionError(
                f"executor 'ray': gpus_per_worker={gpus:g}, and the cluster has "
                f"{n_gpus:g} GPUs"
            )
        resources = {"num_cpus": self.options.cpus_per_worker, "num_gpus": gpus}
        return resources, self.options.workers or max(1, _capacity(resources))

    def _environment(self) -> dict[str, str]:
        """Return the variables of an actor's process; threads as in other executors."""
        chosen = os.environ.get("OMP_NUM_THREADS", "")
        threads = self.options.threads_per_worker or (
            int(chosen) if chosen.isdecimal() else 0
        )
        environment = {
            "OMP_NUM_THREADS": str(
                threads or max(1, int(self.options.cpus_per_worker))
            ),
            "TOKENIZERS_PARALLELISM": "false",
        }
        return environment | {n: os.environ[n] for n in _PASSED_ON if n in os.environ}


def _capacity(resources: dict[str, float]) -> int:
    """Return how many actors the machines of the cluster have room for together."""
    import ray

    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    needs = {names[name]: need for name, need in resources.items() if need}
    n = 0
    for node in ray.nodes():
        if node.get("Alive"):
            has = node.get("Resources", {})
            n += min(int(has.get(name, 0) / need) for name, need in needs.items())
    return n


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep what ends this process: Ray sets handlers of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None:  # one that was not set from Python
                signal.signal(number, handler)


def _check_reachable(address: str) -> None:
    """Raise `ModelError` where nobody listens: Ray would try for minutes.

    What is no HOST:PORT (``auto``) Ray looks up itself.
    """
    if "://" in address:
        raise OptionError(
            f"executor 'ray': {address!r} is the address of a client; on a machine of "
            "the cluster it is HOST:6379 or auto"
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _connection_error(address, error) from error


def _connection_error(address: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if not address:
        return ModelError(f"executor 'ray': no cluster can be started here: {reason}")
    return ModelError(
        f"executor 'ray': no cluster answers at {address}: {reason}\n"
        "  start one with `ray start --head`; one with tokens needs "
        "RAY_AUTH_MODE=token here, and the token of its head (`ray get-auth-token`)"
    )
