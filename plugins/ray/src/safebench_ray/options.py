"""What `--executor ray` takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from safebench.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """How many actors there are, where, and what each of them needs.

    `address` is that of a running cluster (``auto``: the one of this machine); without
    one a cluster of this machine alone is started, and ended with the run. `workers` 0:
    as many as the cluster has room for. `gpus_per_worker` (None: 1 where the cluster
    has GPUs) may be a share of one, `cpus_per_worker` is what Ray sets aside;
    `threads_per_worker` (0: OMP_NUM_THREADS, or else `cpus_per_worker`) is what an
    actor computes with.
    """

    workers: int = field(
        default=0, metadata={"help": "actors; 0: as many as the cluster has room for"}
    )
    address: str = field(
        default="",
        metadata={"help": "cluster to join: HOST:PORT, auto; none: start one"},
    )
    gpus_per_worker: float | None = field(
        default=None, metadata={"help": "GPUs of each; none: 1 where there are some"}
    )
    cpus_per_worker: float = field(default=1.0, metadata={"help": "cores of each"})
    threads_per_worker: int = field(
        default=0,
        metadata={"help": "CPU threads of each; 0: OMP_NUM_THREADS, or cores"},
    )
    wait: float = field(
        default=120.0,
        metadata={"help": "seconds to wait for the cluster to have room for an actor"},
    )

    def __post_init__(self) -> None:
        for name in ("workers", "gpus_per_worker", "threads_per_worker"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise OptionError(f"executor 'ray': {name} cannot be {value}")
        for name in ("cpus_per_worker", "wait"):
            if getattr(self, name) <= 0:
                raise OptionError(
                    f"executor 'ray': {name} must be above 0, got {getattr(self, name)}"
                )
