"""Batches: a function of lengths and budget, smaller after memory ran out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="batches are for its networks")

import torch

from safebench.torch_utils.batching import Batcher, out_of_memory, plan_batches


def test_plan_by_hand() -> None:
    """Longest first, ties in order, rows times the longest within the budget."""
    lengths = [3, 9, 4, 4, 20, 1]

    assert [[4], [1], [2, 3], [0, 5]] == plan_batches(lengths, 9)
    assert [[4], [1, 2], [3, 0, 5]] == plan_batches(lengths, 18)
    assert [] == plan_batches([], 10)


def test_plan_covers_everything_within_budget() -> None:
    """Each index is in one batch, and padding counts towards the budget."""
    lengths = np.random.default_rng(0).integers(1, 90, 200).tolist()

    batches = plan_batches(lengths, 256)

    assert list(range(200)) == sorted(i for batch in batches for i in batch)
    assert 256 >= max(len(b) * max(lengths[i] for i in b) for b in batches)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        MemoryError(),
    ],
)
def test_memory_failure_halves_the_budget(error: BaseException) -> None:
    """The batch that failed is cut in two, and everything is done once."""
    batcher, failures = Batcher(40), [error]
    done: list[int] = []

    def work(batch: list[int]) -> str:
        if failures:
            raise failures.pop()
        done.extend(batch)
        return "fine"

    results = [result for _, result in batcher.run([10] * 8, work)]

    assert 20 == batcher.budget
    assert ["fine"] * 4 == results
    assert list(range(8)) == sorted(done)


@pytest.mark.slow
def test_work_in_one_piece_halves_the_budget_when_it_fails() -> None:
    """Longest first; after a failure there is no result, and half the budget."""
    batcher = Batcher(40)

    def fails(batch: list[int]) -> str:
        raise MemoryError

    assert ([1, 0, 2], "all") == batcher.run_at_once([5, 9, 5], lambda _: "all")
    assert batcher.run_at_once([5, 9, 5], fails) is None
    assert 20 == batcher.budget


@pytest.mark.slow
def test_one_row_that_is_too_much_is_given_up_alone() -> None:
    """A row that fits in no batch has no result; the others have theirs."""

    def work(batch: list[int]) -> int:
        if 2 in batch:
            raise MemoryError
        return len(batch)

    results = {tuple(batch): r for batch, r in Batcher(400).run([10] * 4, work)}

    assert results.pop((2,), 0) is None
    assert all(results.values())
    assert {0, 1, 3} == {i for batch in results for i in batch}


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    """A bug is raised, not retried with smaller batches."""

    def work(batch: list[int]) -> int:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Batcher(40).run([1, 2], work))
    assert not out_of_memory(ValueError("no"))
