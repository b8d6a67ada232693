"""What a user sets of the arguments of `transformers.Trainer`, and what is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("transformers", reason="arguments are those of its Trainer")
import transformers

from safebench.errors import OptionError
from safebench.torch_utils import TrainingOverrides

if TYPE_CHECKING:
    from pathlib import Path


def test_text_becomes_what_the_field_holds() -> None:
    """Values come from flags as text, and from files as they are."""
    overrides = {"adam_beta2": "0.98", "use_cpu": "false", "max_steps": 5}

    checked = TrainingOverrides(overrides).values

    assert {"adam_beta2": 0.98, "use_cpu": False, "max_steps": 5} == checked
    assert {"report_to": "none"} == TrainingOverrides({"report_to": "none"}).values


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
        ({"optim": "adamw_bnb_8bit"}, "bitsandbytes"),
        ({"optim": "galore_adamw"}, "galore"),
        ({"optim": "sgd", "optim_args": "momentum=-2"}, "momentum"),
        ({"use_liger_kernel": True}, "liger-kernel is not installed"),
        ({"fp16": True}, "fp16 needs a GPU"),
        ({"lr_scheduler_kwargs": {"num_cicles": 2}}, "num_cicles"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "num_decay_steps"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "requires an eval strategy"),
        ({"eval_steps": 5, "eval_strategy": "epoch"}, "with eval_strategy=steps alone"),
    ],
)
def test_what_is_not_there_is_one_line_before_training(
    tmp_path: Path,
    overrides: dict[str, Any],
    expected: str,
) -> None:
    """Trackers, packages, optimizers and schedules that cannot be made."""
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
        ({"torch_compile": True}, RuntimeError("no compiler")),
        ({"run_name": "mine"}, KeyError("eval_f2")),
        ({"optim": "lomo"}, AssertionError("no strategy")),
    ],
)
def test_what_the_library_notices_while_it_trains_is_one_line(
    overrides: dict[str, Any], raised: Exception
) -> None:
    """Overridden arguments are named with the reason."""
    with pytest.raises(OptionError) as caught, TrainingOverrides(overrides).errors():
        raise raised

    assert "\n" not in caught.value.message
    assert str(raised.args[0]).split()[-1] in caught.value.message
    assert all(f"--set {name}=" in caught.value.message for name in overrides)


def test_failures_of_our_own_stay_visible() -> None:
    """Without overrides an error is no fault of the arguments."""
    with (
        pytest.raises(ZeroDivisionError),
        TrainingOverrides({"run_name": "x"}).errors(),
    ):
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="ours"), TrainingOverrides({}).errors():
        raise ValueError("ours")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("per_device_train_batch_size", "0"),
        ("per_device_train_batch_size", "-8"),
        ("per_device_eval_batch_size", "0"),
        ("gradient_accumulation_steps", "0"),
        ("num_train_epochs", "inf"),
        ("num_train_epochs", "-1"),
        ("num_train_epochs", "0"),
        ("max_steps", "0"),
        ("save_total_limit", "0"),
        ("weight_decay", "-1"),
        ("max_grad_norm", "-1"),
        ("learning_rate", "-0.1"),
        ("learning_rate", "inf"),
    ],
)
def test_numbers_that_no_training_can_use_are_refused(field: str, value: str) -> None:
    """The library divides by some, and never ends with others."""
    with pytest.raises(OptionError, match=f"--set {field}: {value} is not "):
        TrainingOverrides({field: value})

    assert {field: 1} == TrainingOverrides({field: "1"}).values


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"evaluation_strategy": "no"}, "it is eval_strategy"),
        ({"warmup_ratio": 0.1}, "it is warmup_steps, below 1"),
        ({"max_steps": 1.5}, "1.5 is not a whole number"),
        ({"max_steps": True}, "is not a whole number"),
        ({"bf16": "maybe"}, "neither true nor false"),
        ({"learning_rate": [1]}, "is not a number"),
        ({"lr_scheduler_type": "cosin"}, "did you mean 'cosine'"),
        ({"optim": "adamw"}, "'adamw' is unknown"),
        ({"eval_strategy": "never"}, "there is: no, steps, epoch"),
        ({"push_to_hub": True}, "safebench push shares the finished folder"),
        ({"deepspeed": "zero3.json"}, "weights are not sharded here"),
        ({"fsdp": "full_shard"}, "weights are not sharded here"),
        ({"resume_from_checkpoint": "x"}, "use --resume instead"),
        ({"do_train": True}, "it has no effect here"),
        ({"adam_beta2": 1.0}, "is not below 1"),
        ({"dataloader_num_workers": 1000}, "each is a process"),
        ({"metric_for_best_model": "f2"}, "did you mean 'f1'"),
        (
            {"gradient_checkpointing": True, "activation_checkpointing": True},
            "means the same",
        ),
    ],
)
def test_values_are_refused_before_anything_is_made(
    overrides: dict[str, Any], message: str
) -> None:
    """Types, words, renamed fields, what the trainer decides: with what would work."""
    with pytest.raises(OptionError) as caught:
        TrainingOverrides(overrides, metrics=("f1", "loss"))

    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_the_best_loss_is_the_lowest(tmp_path: Path) -> None:
    """Our default, that more is better, is one for the metric of our choice."""
    defaults = {
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "use_cpu": True,
        "metric_for_best_model": "f1",
        "greater_is_better": True,
        "load_best_model_at_end": True,
        "output_dir": str(tmp_path),
    }
    for name, greater in (("loss", False), ("eval_loss", False), ("f1", True)):
        overrides = TrainingOverrides(
            {"metric_for_best_model": name}, metrics=("f1", "loss")
        )

        arguments = overrides.build(defaults)

        assert greater == arguments.greater_is_better


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"eval_strategy": False}, {"eval_strategy": "no", "save_strategy": "no"}),
        ({"eval_steps": 3}, {"eval_steps": 3, "save_steps": 3}),
        ({"save_steps": 4}, {"eval_steps": 4, "save_steps": 4}),
        ({"eval_steps": 3, "save_steps": 6}, {"eval_steps": 3, "save_steps": 6}),
    ],
)
def test_saving_follows_evaluating(
    tmp_path: Path, overrides: dict[str, Any], expected: dict[str, Any]
) -> None:
    """The best state is kept among those that are saved; YAML reads no as false."""
    defaults = {
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "use_cpu": True,
        "eval_steps": 7,
        "save_steps": 7,
        "load_best_model_at_end": True,
        "output_dir": str(tmp_path),
    }

    arguments = TrainingOverrides(overrides).build(defaults)

    assert expected == {name: getattr(arguments, name) for name in expected}
    assert arguments.load_best_model_at_end == (arguments.eval_strategy != "no")


def test_every_field_can_be_set_or_is_refused_with_a_reason() -> None:
    """Given its own default, none fails in another way than by one line."""

    def refusal(name: str, value: Any) -> str | None:
        try:
            TrainingOverrides({name: value})
        except OptionError as error:
            return error.message
        return None

    defaults = {f.name: f.default for f in fields(transformers.TrainingArguments)}
    messages = {name: refusal(name, value) for name, value in defaults.items()}

    for name, message in messages.items():
        assert message is None or message.startswith(f"--set {name}: ")
    assert {None} < set(messages.values())


@pytest.mark.parametrize(
    ("given", "module", "message"),
    [
        ("mlflow", "mlflow.exceptions", "--set report_to=mlflow failed: no backend"),
        (["azure_ml"], "azureml.core", "--set report_to=azure_ml failed: no backend"),
        ("mlflow", "wandb.errors", ""),
        ("none", "mlflow.exceptions", ""),
    ],
    ids=["its own", "by another name", "of another", "without trackers"],
)
def test_a_failure_of_a_tracker_is_one_line(
    given: Any, module: str, message: str
) -> None:
    """Its errors are of its own classes; those of others are seen whole."""
    error_class = type("BackendError", (Exception,), {"__module__": module})

    with (
        pytest.raises(Exception, match="no backend") as raised,
        TrainingOverrides({"report_to": given}).errors(),
    ):
        raise error_class("no backend\n  here")

    assert isinstance(raised.value, OptionError) == bool(message)
    if isinstance(raised.value, OptionError):
        assert f"{message} here" == raised.value.message
