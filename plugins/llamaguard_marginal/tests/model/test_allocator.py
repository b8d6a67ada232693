"""Memory of large arrays is used again, where the C library lets a program ask."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

from safebench_llamaguard_marginal.model import allocator


@pytest.fixture(autouse=True)
def _own_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what the tests themselves may be run with."""
    for name in os.environ:
        if name.startswith("MALLOC_"):
            monkeypatch.delenv(name)


# In a process of its own: the heap of one that has run other tests may not grow.
_LARGE_ARRAY = """
from pathlib import Path
import numpy as np
from safebench_llamaguard_marginal.model import allocator

assert allocator.reuse_large_blocks()
array = np.ones(100 << 20, dtype=np.uint8)
lines = Path("/proc/self/maps").read_text().splitlines()
heap = [line.split()[0].split("-") for line in lines if line.endswith("[heap]")]
assert any(int(a, 16) <= array.ctypes.data < int(b, 16) for a, b in heap)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_large_array_lies_where_freed_memory_is_used_again() -> None:
    """On the heap of the process: what is mapped is given back at once."""
    subprocess.run([sys.executable, "-c", _LARGE_ARRAY], check=True)


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of glibc are a choice, and nothing is changed beside them."""
    asked: list[Any] = []
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")
    monkeypatch.setattr(ctypes, "CDLL", asked.append)

    assert not allocator.reuse_large_blocks()
    assert not asked


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without the function is no error."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())

    assert not allocator.reuse_large_blocks()
