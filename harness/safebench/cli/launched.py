"""`run` under torchrun or ``accelerate launch``, which start it several times.

One of them is the run, with worker processes of its own, as ``--executor processes``
has them; the others end at once. So what a launcher starts is one run, and not as many
that wait for each other's folder.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.console import check_process_group, echo, is_main_process
from safebench.errors import OptionError

if TYPE_CHECKING:
    from safebench.pipeline.config import RunConfig

# libraries of models read them, and would wait for the other processes
_OF_GROUPS = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK"),
    *("GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)


def is_left_out() -> bool:
    """Tell whether this process of a launched group has nothing to do.

    Raises `OptionError` for variables that number no process of a group.
    """
    check_process_group("run")
    return not is_main_process()


def with_launched_workers(config: RunConfig) -> RunConfig:
    """Return the run with as many workers as a launcher has started processes.

    An executor that the user names stays. Raises `OptionError` for a group on several
    machines.
    """
    size = int(os.environ.get("WORLD_SIZE") or 1)
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or size)
    for name in _OF_GROUPS:
        os.environ.pop(name, None)
    if size == 1 or config.executor is not None:
        return config
    if here != size:
        raise OptionError(
            f"a launcher started {size} processes, {here} of them on this machine: "
            "several machines are --executor ray (safebench list executors)"
        )
    workers = config.workers or size
    echo(
        f"started {size} times by a launcher: one run with {workers} workers, as "
        f"safebench run --executor processes --workers {workers}",
        err=True,
    )
    return replace(config, executor="processes", workers=workers)
