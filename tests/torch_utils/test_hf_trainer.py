"""Arguments and callbacks for `transformers.Trainer`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("transformers", reason="arguments are those of its Trainer")
import torch

from safebench.errors import OptionError
from safebench.torch_utils import (
    StepSeedCallback,
    build_training_arguments,
    check_training_arguments,
)


def test_text_becomes_what_the_field_holds() -> None:
    """Values come from flags as text, and from files as they are."""
    overrides = {"adam_beta2": "0.98", "use_cpu": "false", "max_steps": 5}

    checked = check_training_arguments(overrides)

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
        check_training_arguments({name: 1})


def test_values_that_clash_are_one_line(tmp_path: pytest.TempPathFactory) -> None:
    """What the library refuses is shown without its line breaks."""
    values = {
        "output_dir": str(tmp_path),
        "load_best_model_at_end": True,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "use_cpu": True,
    }
    with pytest.raises(OptionError, match=r"^--set: .*[Ss]trateg") as caught:
        build_training_arguments(values)
    assert "\n" not in caught.value.message


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
