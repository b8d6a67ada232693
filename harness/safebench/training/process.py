"""Which process of a launched group we are, told from the environment alone."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from safebench.errors import RunFolderError

from .artifact import ARTIFACT

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 600.0  # seconds


def is_main_process() -> bool:
    """Tell whether this process speaks and writes for its group.

    Launchers (torchrun, ``accelerate launch``) number their processes in ``RANK``, or
    at least in ``LOCAL_RANK``; without either there is one process.
    """
    number = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    return not number.isdigit() or int(number) == 0


def wait_for_manifest(out: Path, patience: float = PATIENCE) -> None:
    """Let the main process find the folder as it was before others write to it.

    Raises `RunFolderError` if no manifest appears: the main process failed, or writes
    to another machine's disk.
    """
    end = time.monotonic() + patience
    while not (out / ARTIFACT).exists():
        if time.monotonic() > end:
            raise RunFolderError(
                f"the main process wrote no {ARTIFACT} to {out}: all processes of a "
                "training need the same folder"
            )
        time.sleep(0.1)
