"""Workers end with the process that started them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import multiprocessing, time
from safebench_bert_ensemble.train.workers import exit_with_parent

def work():
    exit_with_parent()
    print("working", flush=True)
    time.sleep(290)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
    time.sleep(290)
"""


@pytest.mark.slow
def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """After SIGKILL nobody holds the pipe: it closes long before the worker's time."""
    script = tmp_path / "parent.py"
    script.write_text(SCRIPT, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == b"working\n"

        it.kill()

        assert it.communicate(timeout=200)[0] == b""
