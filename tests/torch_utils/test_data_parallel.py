"""A step that processes share is the step of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="a trainer of transformers needs it")
import torch
import transformers

from safebench.errors import ModelError, OptionError
from safebench.torch_utils import DataParallelTrainer, batch_of_process
from safebench.torch_utils.data_parallel import BatchShares

if TYPE_CHECKING:
    from pathlib import Path

BATCHES = [[5, 2, 9, 7], [1, 0, 3, 8], [4, 6, 10], [11]]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_add_up_to_the_mean_of_each_batch(size: int) -> None:
    """The mean over processes of weighted sums is the mean over the batch's rows."""
    values = np.random.default_rng(0).normal(size=12)
    shares = [list(BatchShares(_Batches(BATCHES), rank, size)) for rank in range(size)]

    for number, batch in enumerate(BATCHES):
        parts = [share[number] for share in shares]
        sums = [sum(values[row] * weight for row, weight in part) for part in parts]
        rows = [row for part in parts for row, weight in part if weight]

        assert rows == batch  # each once, in order
        assert all(parts)  # every process takes part in every step
        np.testing.assert_allclose(np.mean(sums), values[batch].mean())


class _Batches(torch.utils.data.Sampler[Any]):
    def __init__(self, batches: list[list[int]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return iter(self.batches)


def test_a_batch_that_cannot_be_shared_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the sizes next to it that can."""
    assert batch_of_process(7, "batch") == 7
    monkeypatch.setenv("WORLD_SIZE", "3")

    assert batch_of_process(12, "batch") == 4
    with pytest.raises(OptionError, match=r"batch=16: 3 processes .* 15 or 18 would"):
        batch_of_process(16, "batch")
    with pytest.raises(OptionError, match=r"evenly; 3 would work"):
        batch_of_process(2, "batch")


class _Wrapper(torch.nn.Module):
    """Counts what goes through it, as DistributedDataParallel hooks in."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, *inputs: Any) -> Any:
        self.calls += 1
        return self.module(*inputs)


def test_another_function_goes_through_the_wrapper() -> None:
    """It takes the forward pass's place for the call, and even if it fails."""
    layer = torch.nn.Linear(2, 1)
    wrapper = _Wrapper(layer)
    x = torch.ones(1, 2)
    expected = layer(x)

    doubled = DataParallelTrainer.forward_through(
        wrapper, layer, lambda: 2 * layer.bias
    )
    with pytest.raises(ZeroDivisionError):
        DataParallelTrainer.forward_through(wrapper, layer, lambda: 1 / 0)

    assert wrapper.calls == 2
    assert torch.equal(doubled, 2 * layer.bias)
    assert torch.equal(wrapper(x), expected)


def test_weights_that_are_no_numbers_are_named() -> None:
    """A diverged training must not become an artifact."""
    layer = torch.nn.Linear(2, 1)
    DataParallelTrainer.require_finite(layer, "lower --lr")
    layer.bias.data[0] = float("nan")

    with pytest.raises(ModelError, match=r"diverged \(bias is no number\): lower --lr"):
        DataParallelTrainer.require_finite(layer, "lower --lr")


def test_who_starts_a_training_is_told_how_it_is_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One process takes one GPU, however many there are."""
    lines = DataParallelTrainer.group_lines
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert lines(8, "pairs") == []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert lines(8, "pairs") == ["one of 4 GPUs: accelerate launch uses all"]
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert lines(8, "pairs") == ["4 processes: 2 of the 8 pairs of a step each"]


def test_what_a_tracker_writes_outlives_the_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard's events lie beside the folder that is removed at the end."""
    monkeypatch.setattr(
        transformers.trainer,
        "get_reporting_integration_callbacks",
        lambda _: [_Tracker, _TrackerWithPlace],
    )
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "checkpoints"), use_cpu=True, report_to="none"
    )
    trainer = DataParallelTrainer(model=torch.nn.Linear(1, 1), args=arguments)

    folders = [
        getattr(callback, "logging_dir", "")
        for callback in trainer.callback_handler.callbacks
    ]

    assert str(tmp_path / "logs" / "checkpoints") in folders
    assert "chosen" in folders


class _Tracker(transformers.TrainerCallback):
    """Has no place yet, as the library's has until a training begins."""

    logging_dir: str | None = None


class _TrackerWithPlace(transformers.TrainerCallback):
    logging_dir = "chosen"
