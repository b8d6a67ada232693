"""Tests of the groups of forked processes that other tests run functions in."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The more threads a pool has, the longer a fork takes to replace it. A process of its
# own, since forks of one whose pool was so large need not work.
_SCRIPT = """
import threading
import torch
from safebench.testing.process_groups import run_in_group

torch.set_num_threads(64)
torch.ones(100_000).to(torch.float64)  # makes the pool

def use_torch():
    ready = threading.Barrier(8)
    failures = []

    def work():
        ready.wait()
        try:
            torch.ones(40_000)
        except RuntimeError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]

for _ in range(3):
    run_in_group(2, use_torch)
"""


@pytest.mark.slow
def test_threads_of_a_forked_process_may_use_torch_at_once() -> None:
    """Each of them looks for the pool; only the first call after a fork replaces it."""
    result = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
