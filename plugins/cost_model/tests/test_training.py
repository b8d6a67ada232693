"""Training of tiny bases: what it learns, how it resumes, what it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from transformers import TrainerCallback

from safebench_cost_model import fit as fitting
from safebench_cost_model import trainer as training_code

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained, Training

    Make = Callable[..., Training]


def value(trained: Trained, metric: str, part: str = "test") -> float:
    """Return a measure's value."""
    (found,) = [m for m in trained.measures if (m.metric, m.part) == (metric, part)]
    assert found.value is not None
    return found.value


class Interrupt(TrainerCallback):
    """Raises after a step, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop at the step."""
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_few_steps_teach_signs_and_the_order_of_severities(
    kind: str, bases: dict[str, Path], make_training: Make, tmp_path: Path
) -> None:
    """Same-sign pairs too are put in order, and each response on its side of 0."""
    said: list[str] = []
    options = {"batch": 8, "lr": 5e-3, "evaluations": 1, "patience": 0, "full": True}
    options["epochs"] = 10.0 if kind == "bert" else 5.0

    trained = fitting.fit(make_training(tmp_path, bases[kind], said=said, **options))

    assert value(trained, "sign_accuracy") > 0.9
    assert value(trained, "ranking_accuracy") > 0.9
    assert value(trained, "ranking_accuracy (both unsafe)") > 0.75
    assert value(trained, "ranking_accuracy (severity)") > 0.9
    assert any(line.startswith("step ") and "[" in line for line in said)


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
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dropout, order, optimiser and best evaluation go on, within an epoch as well."""
    import torch
    from safetensors.torch import load_file

    options = {"epochs": 2.0, "batch": 16, "evaluations": 3, "pooling": pooling}
    whole = fitting.fit(make_training(tmp_path / "whole", bases[kind], **options))

    build = training_code.build_trainer

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        trainer = build(*args, **kwargs)
        trainer.add_callback(Interrupt(step))
        return trainer

    again = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "build_trainer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fitting.fit(make_training(again, bases[kind], **options))
    said: list[str] = []
    resumed = fitting.fit(
        make_training(again, bases[kind], resume=True, said=said, **options)
    )

    assert any("resuming from" in line for line in said)
    assert whole.measures == resumed.measures
    assert whole.manifest == resumed.manifest
    name = f"{whole.manifest['files']}/"
    name += "adapter_model.safetensors" if kind == "llama" else "model.safetensors"
    first, second = (load_file(tmp_path / run / name) for run in ("whole", "again"))
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


def test_accumulated_steps_learn_what_one_large_step_learns(
    tiny_bert: Path, make_training: Make, tmp_path: Path
) -> None:
    """Four batches of 8 pairs are one of 32, but for the order of sums."""
    from safetensors.torch import load_file

    options = {"epochs": 1.0, "evaluations": 1, "patience": 0, "lr": 1e-3}
    still = {"max_steps": 1, "use_cpu": True, "max_grad_norm": 0.0}
    found = []
    for name, batch, parts in (("large", 32, 1), ("small", 8, 4)):
        training = make_training(
            tmp_path / name,
            still_base(tiny_bert, tmp_path / f"base-{name}"),
            arguments={**still, "gradient_accumulation_steps": parts, "optim": "sgd"},
            batch=batch,
            **options,
        )
        training = keep(training, 32)
        fitting.fit(training)
        found.append(load_file(tmp_path / name / "model" / "model.safetensors"))

    for key in found[0]:
        assert found[0][key].allclose(found[1][key], atol=1e-6), key


def still_base(base: Path, folder: Path) -> Path:
    """Return a copy of a base without dropout."""
    import json
    import shutil

    copy = shutil.copytree(base, folder)
    config = json.loads((copy / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def keep(training: Training, pairs: int) -> Training:
    """Return a training on its first pairs."""
    from dataclasses import replace

    part = training.train
    few = replace(
        part, samples=part.samples[: 2 * pairs], golds=part.golds[: 2 * pairs]
    )
    return replace(training, train=few)


def test_training_stops_when_evaluations_gain_nothing(
    tiny_bert: Path, make_training: Make, tmp_path: Path
) -> None:
    """With no rate to learn by, the first evaluation stays the best one."""
    import json

    options = {"epochs": 9.0, "lr": 1e-12, "evaluations": 1, "patience": 2}

    fitting.fit(make_training(tmp_path, tiny_bert, **options))

    states = (tmp_path / "checkpoints").glob("*/trainer_state.json")
    steps = [json.loads(state.read_text())["global_step"] for state in states]
    assert 3 * 6 == max(steps)


def test_what_the_library_does_not_take_is_refused(
    tiny_bert: Path, make_training: Make, tmp_path: Path
) -> None:
    """A misspelt argument names the nearest one."""
    from safebench.errors import OptionError

    with pytest.raises(OptionError, match="did you mean 'weight_decay'"):
        fitting.fit(make_training(tmp_path, tiny_bert, arguments={"weight_decy": 1}))
