"""Training of tiny bases: what it learns, when it stops, what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench_cost_model.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained, Training

    Make = Callable[..., Training]


def value(trained: Trained, metric: str, part: str = "test") -> float:
    """Return a measure's value."""
    (measure,) = [m for m in trained.measures if (m.metric, m.part) == (metric, part)]
    assert measure.value is not None
    return measure.value


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_few_steps_teach_signs_and_the_order_of_severities(
    kind: str, bases: dict[str, Path], make_training: Make, tmp_path: Path
) -> None:
    """Same-sign pairs too are put in order, and each response on its side of 0."""
    lines: list[str] = []
    options = {"batch": 8, "lr": 5e-3, "evaluations": 1, "patience": 0, "full": True}
    options["epochs"] = 10.0 if kind == "bert" else 5.0

    trained = fit(make_training(tmp_path, bases[kind], lines=lines, **options))

    assert value(trained, "sign_accuracy") > 0.9
    assert value(trained, "ranking_accuracy") > 0.9
    assert value(trained, "ranking_accuracy (both unsafe)") > 0.75
    assert value(trained, "ranking_accuracy (severity)") > 0.9
    assert any(line.startswith("step ") and "[" in line for line in lines)


@pytest.mark.slow
def test_accumulated_steps_learn_what_one_large_step_learns(
    tiny_bert: Path, make_training: Make, tmp_path: Path
) -> None:
    """Four batches of 8 pairs are one of 32, but for the order of sums."""
    from safetensors.torch import load_file

    options = {"epochs": 1.0, "evaluations": 1, "patience": 0, "lr": 1e-3}
    still = {"max_steps": 1, "use_cpu": True, "max_grad_norm": 0.0}
    weights = []
    for name, batch, parts in (("large", 32, 1), ("small", 8, 4)):
        training = make_training(
            tmp_path / name,
            still_base(tiny_bert, tmp_path / f"base-{name}"),
            arguments={**still, "gradient_accumulation_steps": parts, "optim": "sgd"},
            batch=batch,
            **options,
        )
        training = keep(training, 32)
        fit(training)
        weights.append(load_file(tmp_path / name / "model" / "model.safetensors"))

    for key in weights[0]:
        assert weights[0][key].allclose(weights[1][key], atol=1e-6), key


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
        part,
        samples=part.samples[: 2 * pairs],
        ground_truth=part.ground_truth[: 2 * pairs],
    )
    return replace(training, train=few)


@pytest.mark.slow
def test_training_stops_when_evaluations_gain_nothing(
    tiny_bert: Path, make_training: Make, tmp_path: Path
) -> None:
    """With no rate to learn by, the first evaluation stays the best one."""
    options = {"epochs": 9.0, "lr": 1e-12, "evaluations": 1, "patience": 2}
    lines: list[str] = []

    fit(make_training(tmp_path, tiny_bert, lines=lines, **options))

    steps = [line.split(",")[0] for line in lines if line.startswith("step ")]
    assert ["step 6/54", "step 12/54", "step 18/54"] == steps
    assert "stopped after step 18, best at step 6" == lines[-1]


@pytest.mark.slow
def test_a_log_tells_how_long_a_training_took(
    tiny_llama: Path,
    make_training: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where no bar can be drawn, both stages end with a line."""
    fit(make_training(tmp_path, tiny_llama, sft=True, batch=32))

    lines = capsys.readouterr().err.splitlines()
    assert 1 == sum(x.startswith("supervised stage: 3/3 steps, loss ") for x in lines)
    assert 1 == sum(x.startswith("training: 3/3 steps, loss ") for x in lines)


def test_what_the_library_does_not_take_is_refused(
    tiny_bert: Path, make_training: Make, tmp_path: Path
) -> None:
    """A misspelt argument names the nearest one; what has a flag names that."""
    from safebench.errors import OptionError

    with pytest.raises(OptionError, match="did you mean 'weight_decay'"):
        fit(make_training(tmp_path, tiny_bert, arguments={"weight_decy": 1}))
    with pytest.raises(OptionError, match="--set data_seed: use --seed instead"):
        fit(make_training(tmp_path, tiny_bert, arguments={"data_seed": 1}))
