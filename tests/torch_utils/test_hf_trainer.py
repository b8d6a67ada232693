"""Arguments and callbacks for `transformers.Trainer`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("transformers", reason="arguments are those of its Trainer")
import torch

from safebench.errors import OptionError
from safebench.torch_utils import (
    StepSeedCallback,
    TrainingOverrides,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_text_becomes_what_the_field_holds() -> None:
    """Values come from flags as text, and from files as they are."""
    overrides = {"adam_beta2": "0.98", "use_cpu": "false", "max_steps": 5}

    checked = TrainingOverrides(overrides).values

    assert {"adam_beta2": 0.98, "use_cpu": False, "max_steps": 5} == checked


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weight_decai", "did you mean 'weight_decay'"),
        ("output_dir", "--set output_dir: use --out instead"),
        ("data_seed", "--set data_seed: use --seed instead"),
    ],
)
def test_fields_that_cannot_be_set_are_refused(name: str, message: str) -> None:
    """An unknown field gets the nearest name, a reserved one its flag."""
    with pytest.raises(OptionError, match=message):
        TrainingOverrides({name: 1})


def test_values_that_clash_are_one_line(tmp_path: pytest.TempPathFactory) -> None:
    """What the library refuses is shown without its line breaks."""
    overrides = {
        "load_best_model_at_end": True,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "use_cpu": True,
    }
    with pytest.raises(OptionError, match=r"^--set: .*[Ss]trateg") as caught:
        TrainingOverrides(overrides).build({}, {"output_dir": str(tmp_path)})
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"report_to": "tensorboard"}, "report_to=tensorboard"),
        ({"report_to": "wandb"}, "report_to=wandb"),
        ({"report_to": ["mlflow"]}, "report_to=mlflow"),
        ({"report_to": "tensorbord"}, "tensorbord"),
        ({"push_to_hub": True}, "push_to_hub"),
    ],
)
def test_what_is_not_there_is_one_line_before_training(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: dict[str, Any],
    expected: str,
) -> None:
    """Trackers that are not installed or not known, and a hub that cannot be asked."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    fixed = {"output_dir": str(tmp_path), "use_cpu": True}

    with pytest.raises(OptionError) as caught:
        TrainingOverrides(overrides).build({}, fixed)

    assert expected in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("overrides", "raised"),
    [
        ({}, ImportError("no bitsandbytes")),
        ({"optim": "adamw_bnb_8bit"}, ValueError("You need\nto install")),
        ({"fsdp": "full_shard"}, RuntimeError("no process group")),
        ({"deepspeed": "ds.json"}, OSError("no file")),
    ],
)
def test_what_the_library_notices_while_it_trains_is_one_line(
    overrides: dict[str, Any], raised: Exception
) -> None:
    """Overridden arguments are named with the reason."""
    with pytest.raises(OptionError) as caught, TrainingOverrides(overrides).errors():
        raise raised

    assert "\n" not in caught.value.message
    assert str(raised).split()[-1] in caught.value.message
    assert all(f"--set {name}=" in caught.value.message for name in overrides)


def test_failures_of_our_own_stay_visible() -> None:
    """Without overrides an error is no fault of the arguments."""
    with pytest.raises(ZeroDivisionError), TrainingOverrides({"optim": "x"}).errors():
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="ours"), TrainingOverrides({}).errors():
        raise ValueError("ours")


def test_dropout_depends_on_seed_and_step_alone() -> None:
    """The same step draws the same numbers, whatever was drawn before it."""

    def draw(first_seed: int, step: int) -> float:
        state = SimpleNamespace(global_step=step)
        StepSeedCallback(first_seed).on_step_begin(None, state, None)
        return float(torch.rand(1))

    first = draw(700, 3)
    torch.rand(5)

    assert first == draw(700, 3)
    assert 3 == len({first, draw(700, 4), draw(800, 3)})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("per_device_train_batch_size", "0"),
        ("per_device_train_batch_size", "-8"),
        ("per_device_eval_batch_size", "0"),
        ("gradient_accumulation_steps", "0"),
        ("num_train_epochs", "inf"),
        ("num_train_epochs", "-1"),
        ("learning_rate", "-0.1"),
        ("learning_rate", "inf"),
    ],
)
def test_numbers_that_no_training_can_use_are_refused(field: str, value: str) -> None:
    """The library divides by some, and never ends with others."""
    with pytest.raises(OptionError, match=f"--set {field}: {value} is not from"):
        TrainingOverrides({field: value})

    assert {field: 1} == TrainingOverrides({field: "1"}).values
