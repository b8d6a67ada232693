"""What workers do and say is shown by the process that started them."""

from __future__ import annotations

import multiprocessing
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from safebench.errors import ModelError
from safebench.training import ProgressBar
from safebench_bert_ensemble.train.members import steps_per_member
from safebench_bert_ensemble.train.trainer import fit
from safebench_bert_ensemble.train.training_job import LabelledTexts, TrainingJob
from safebench_bert_ensemble.train.workers import ProgressListener, WorkerProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.training import Training

    MakeTraining = Callable[..., Training]


def test_the_time_left_is_told_by_the_steps_of_all_workers() -> None:
    """Steps that a resumed member had done before count, but not for the rate."""
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    bar = ProgressBar("training", 400)
    lines: list[str] = []
    listener = ProgressListener(queue, bar, lines.append)
    first, second = WorkerProgress(0, queue), WorkerProgress(1, queue)

    first.say("padding is 1 %")
    second.say("padding is 1 %")
    second.skipped += 100
    second.move(100)
    for _ in range(30):
        first.move()
        second.move()
    listener.poll()

    assert ["padding is 1 %"] == lines  # once, whoever says it
    assert (160, 100) == (bar.done, bar.skipped)
    # 60 steps took a minute, 240 are left
    assert 240.0 == pytest.approx(bar.seconds_left(bar.started + 60))


def test_no_time_is_told_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Workers that still import say nothing of the rate, however long they take."""
    now = [10_000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("safebench.progress.SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr("safebench.progress.time", clock)
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    bar = ProgressBar("training", 400)
    now[0] += 3600
    listener = ProgressListener(queue, bar, print)
    worker = WorkerProgress(0, queue)

    worker.say("padding is 1 %")
    listener.poll()
    assert "left" not in capsys.readouterr().err
    worker.move()
    listener.poll()

    assert "training: 1/400 steps, about 0 s left" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "arguments", "expected"),
    [
        ({}, {}, 12),
        ({"epochs": 1.5}, {}, 9),
        ({"grad_accumulation": 4}, {}, 4),
        ({}, {"max_steps": 5}, 5),
        ({}, {"num_train_epochs": 3.0, "per_device_train_batch_size": 12}, 12),
    ],
)
def test_the_bar_is_as_long_as_a_member_trains(
    make_training: MakeTraining,
    changes: dict[str, float],
    arguments: dict[str, float],
    expected: int,
) -> None:
    """48 rows in batches of 8, twice; fields that are passed on count, too."""
    settings = {"members": 1, "patience": 9, **changes}
    training = make_training(arguments=arguments, **settings)
    part = LabelledTexts.from_dataset(training.train)
    job = TrainingJob(options=training.options, bases=(), out=training.out, train=part,
              val=part, arguments=arguments)  # fmt: skip

    trained = fit(training)

    assert expected == steps_per_member(job) == trained.manifest["members"][0]["steps"]


@pytest.mark.slow
def test_a_worker_that_fails_is_told_in_one_line(
    make_training: MakeTraining, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the library refuses comes from the worker without a traceback."""
    lines: list[str] = []
    training = make_training(
        parallel="processes",
        workers=1,
        arguments={"save_strategy": "no"},
        say=lines.append,
    )

    with pytest.raises(ModelError, match="a training process failed"):
        fit(training)

    assert [line for line in lines if line.startswith("error: --set: ")]
    assert "Traceback" not in capfd.readouterr().err
