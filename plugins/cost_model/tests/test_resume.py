"""Interrupted trainings: what is finished stays, the rest goes on to the same end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from safebench.errors import ModelError
from safebench_cost_model.train import training_loop
from safebench_cost_model.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Training

    Make = Callable[..., Training]


class Interrupt(TrainerCallback):
    """Raises after a step, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop at the step."""
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what trains and is interrupted: training, step, which member."""

    def run(training: Training, step: int, member: int = 1) -> None:
        build, built = training_loop.build_trainer, []

        def building(*args: Any, **kwargs: Any) -> Any:
            trainer = build(*args, **kwargs)
            built.append(trainer)
            if len(built) == member:
                trainer.add_callback(Interrupt(step))
            return trainer

        with monkeypatch.context() as patch:
            patch.setattr(training_loop, "build_trainer", building)
            with pytest.raises(KeyboardInterrupt):
                fit(training)

    return run


def assert_same(folder: Path, other: Path) -> None:
    """Check that two folders of weights are equal to the last bit."""
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    assert names
    for name in names:
        first, second = load_file(folder / name), load_file(other / name)
        assert first.keys() == second.keys()
        for key in first:
            assert torch.equal(first[key], second[key]), key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pooling", "step"),
    [("bert", "own", 8), ("bert", "mean", 11), ("llama", "own", 5)],
)
def test_a_resumed_training_ends_as_an_uninterrupted_one(
    kind: str,
    pooling: str,
    step: int,
    bases: dict[str, Path],
    make_training: Make,
    interrupted: Callable[..., None],
    tmp_path: Path,
) -> None:
    """Dropout, order, optimiser and best evaluation go on, within an epoch as well."""
    options = {"epochs": 2.0, "batch": 16, "evaluations": 3, "pooling": pooling}
    again = tmp_path / "again"
    whole = fit(make_training(tmp_path / "whole", bases[kind], **options))
    interrupted(make_training(again, bases[kind], **options), step)
    lines: list[str] = []

    resumed = fit(
        make_training(again, bases[kind], resume=True, lines=lines, **options)
    )

    assert any(line.startswith("resuming from") for line in lines)
    assert whole.measures == resumed.measures
    assert whole.manifest == resumed.manifest
    files = whole.manifest["files"]
    assert_same(tmp_path / "whole" / files, again / files)
    assert [files] == [path.name for path in again.iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "step"), [("bert", 5), ("llama", 1)])
def test_members_go_on_where_the_training_was_interrupted(
    kind: str,
    step: int,
    bases: dict[str, Path],
    make_training: Make,
    interrupted: Callable[..., None],
    tmp_path: Path,
) -> None:
    """The first is kept, the second goes on or starts again, the third is trained."""
    options = {"epochs": 1.0, "batch": 16, "evaluations": 2, "members": 3}
    again = tmp_path / "again"
    whole = fit(make_training(tmp_path / "whole", bases[kind], **options))
    interrupted(make_training(again, bases[kind], **options), step, member=2)
    files = whole.manifest["files"]
    before = (again / "member-1" / files / "member.json").stat().st_mtime_ns
    lines: list[str] = []

    resumed = fit(
        make_training(again, bases[kind], resume=True, lines=lines, **options)
    )

    assert "member 1/3: trained already" in lines
    assert (step > 3) == any("member 2/3: resuming from" in line for line in lines)
    assert "member 3/3: seed 5" in lines
    assert before == (again / "member-1" / files / "member.json").stat().st_mtime_ns
    assert whole.measures == resumed.measures
    assert whole.manifest == resumed.manifest
    for member in ("member-1", "member-2", "member-3"):
        assert_same(tmp_path / "whole" / member / files, again / member / files)
        assert [files] == [path.name for path in (again / member).iterdir()]


@pytest.mark.slow
def test_a_checkpoint_that_was_cut_short_is_passed_over(
    tiny_llama: Path,
    make_training: Make,
    interrupted: Callable[..., None],
    tmp_path: Path,
) -> None:
    """An interruption while one is written: the one before is gone on from, if any."""
    options = {"epochs": 1.0, "batch": 16, "evaluations": 3}
    whole = fit(make_training(tmp_path / "whole", tiny_llama, **options))
    for out, left in (("again", "checkpoint-2"), ("anew", None)):
        interrupted(make_training(tmp_path / out, tiny_llama, **options), 5)
        checkpoints = tmp_path / out / "checkpoints"
        for path in checkpoints.iterdir():
            if path.name != left:
                (path / "trainer_state.json").write_text('{"global_st')
        lines: list[str] = []

        resumed = fit(
            make_training(
                tmp_path / out, tiny_llama, resume=True, lines=lines, **options
            )
        )

        expected = [f"resuming from {checkpoints / left}"] if left else []
        assert expected == [line for line in lines if line.startswith("resuming")]
        assert whole.measures == resumed.measures


@pytest.mark.slow
def test_a_finished_training_is_measured_again_and_not_trained(
    tiny_bert: Path, make_training: Make, tmp_path: Path
) -> None:
    """--resume on what is done gives the same measures, and trains nothing."""
    first = fit(make_training(tmp_path, tiny_bert))
    lines: list[str] = []

    again = fit(make_training(tmp_path, tiny_bert, resume=True, lines=lines))

    assert first.measures == again.measures
    assert "trained already" in lines
    assert not any(line.startswith("step ") for line in lines)


@pytest.mark.slow
def test_damaged_facts_say_what_to_do(
    tiny_bert: Path, make_training: Make, tmp_path: Path
) -> None:
    """Half a file beside the weights is no traceback."""
    fit(make_training(tmp_path, tiny_bert))
    (tmp_path / "model" / "member.json").write_text('{"costs": {"va')

    with pytest.raises(ModelError, match=r"is damaged: remove .*model, and train"):
        fit(make_training(tmp_path, tiny_bert, resume=True))
