"""A group of forked processes says which of them failed, and where."""

from __future__ import annotations

import ctypes
import os
import time

import pytest

from safebench.testing.process_groups import run_in_group


def _fail_in(rank: int) -> None:
    """Raise in one process, while the other waits for it."""
    if int(os.environ["RANK"]) == rank:
        raise ValueError(f"what {rank} cannot do")
    _wait_long()


def _wait_long() -> None:
    time.sleep(250)


def _read_nowhere() -> None:
    ctypes.string_at(0)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_that_fails_is_told_at_once(rank: int) -> None:
    """Whichever it is: the other, which would wait for it, is ended."""
    started = time.monotonic()

    with pytest.raises(RuntimeError, match=f"process {rank} .*exit code 1") as error:
        run_in_group(2, _fail_in, rank)

    assert f"ValueError: what {rank} cannot do" in str(error.value)
    assert time.monotonic() - started < 200


def test_a_process_that_never_ends_says_where_it_is() -> None:
    """And not only that it took too long."""
    for seconds in (0.3, 3.0, 30.0):  # on a busy machine it is not there so soon
        with pytest.raises(RuntimeError, match="process 1") as error:
            run_in_group(2, _wait_long, timeout=seconds)
        assert f"process 1 (after {seconds:g} s)" in str(error.value)
        if str(error.value).count("in _wait_long") == 2:
            break
    else:
        pytest.fail(f"no stack: {error.value}")


def test_a_signal_is_told_with_the_stack_that_it_met() -> None:
    """A process that a library ends has no traceback of its own."""
    with pytest.raises(RuntimeError, match="Segmentation fault") as error:
        run_in_group(1, _read_nowhere)

    assert "in _read_nowhere" in str(error.value)


def _sum_of_ranks() -> None:
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    total = torch.ones(1) * (distributed.get_rank() + 1)
    distributed.all_reduce(total)
    assert total.item() == 3


def test_processes_find_each_other_group_after_group() -> None:
    """At a server that is there before them."""
    for _ in range(3):
        run_in_group(2, _sum_of_ranks)
