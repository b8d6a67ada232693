"""Learning on the embedded guard: resumed as if never stopped, saved as PEFT saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import TrainerState, TrainingArguments

from safebench.errors import OptionError
from safebench.records import Turn
from safebench.testing.process_groups import run_in_group
from safebench_feedback_finetune.collect.prompts import Prompt
from safebench_feedback_finetune.options import FeedbackTrainOptions
from safebench_feedback_finetune.scorer import load_scorer
from safebench_feedback_finetune.train.batches import EncodedExamples
from safebench_feedback_finetune.train.examples import TrainingExample
from safebench_feedback_finetune.train.lora_training import (
    add_lora,
    check_arguments,
    linear_layer_names,
    train_lora,
)
from safebench_feedback_finetune.train.verdict_trainer import MovedFolderCallback

if TYPE_CHECKING:
    from pathlib import Path

    from safebench_feedback_finetune.scorer import VerdictScorer
    from safebench_feedback_finetune.train.lora_training import LoraTrainingResult

N_EXAMPLES = 12
# Adam makes a whole step of a gradient that is rounding alone.
_SGD = ("optim=sgd", "learning_rate=0.1")


def _options(**overrides: Any) -> FeedbackTrainOptions:
    values: dict[str, Any] = {
        "collected": "c",
        "out": "o",
        "benign": ("b",),
        "lora_r": 2,
        "lora_dropout": 0.3,
        "batch_size": 4,
        "eval_steps": 2,
        "learning_rate": 5e-3,
        "epochs": 2.0,
        "patience": 0,
    }
    return FeedbackTrainOptions(**values | overrides)


def _example(i: int) -> TrainingExample:
    text = "How do I " + "really " * (i % 3) + f"open door number {i}?"
    prompt = Prompt(id=str(i), text=text, dataset="d", group=str(i), p_in=0.3)
    return TrainingExample(
        prompt=prompt,
        kind="positive",
        target=float(i % 2),
        ce_weight=1.0,
        kl_weight=1.0,
        base_p_unsafe=0.3,
    )


class _StoppedError(Exception):
    """Stands for a machine that goes away."""


def _train(
    out: Path, options: FeedbackTrainOptions, stop: int = 0
) -> tuple[LoraTrainingResult, Any]:
    """Train on a fresh guard; `stop` is the step at which the machine goes away."""
    scorer = load_scorer("", device="cpu")
    drawn = [_example(i) for i in range(N_EXAMPLES)]
    prompts = [scorer.encode(example.prompt.turns) for example in drawn]

    def on_step(step: int) -> None:
        if stop and step == stop:
            raise _StoppedError

    def validate() -> dict[str, float]:
        scores = scorer.p_unsafe([example.prompt.turns for example in drawn])
        return {"f1": float(scores.mean())}

    peft_model = add_lora(scorer, options)
    examples = EncodedExamples(drawn, prompts)
    result = train_lora(
        scorer, peft_model, examples, validate, options, out, lambda _: None, on_step
    )
    return result, scorer


@pytest.mark.slow
def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """A training that lost its machine ends with the same weights and numbers."""
    uninterrupted, scorer = _train(tmp_path / "whole" / "trained", _options())
    assert uninterrupted.steps == 6
    with pytest.raises(_StoppedError):
        _train(tmp_path / "cut" / "trained", _options(), stop=5)
    resumed, _ = _train(tmp_path / "cut" / "trained", _options())
    folders = [tmp_path / name / "trained" for name in ("whole", "cut")]
    expected, actual = (load_file(f / "adapter_model.safetensors") for f in folders)
    assert expected.keys() == actual.keys()
    assert all((expected[name] == actual[name]).all() for name in expected)
    assert uninterrupted.history == resumed.history
    assert (uninterrupted.best_step, uninterrupted.best_f1) == (
        resumed.best_step,
        resumed.best_f1,
    )
    assert not (tmp_path / "cut" / "checkpoints").exists()
    _loads_by_itself(folders[0], scorer)


@pytest.mark.slow
def test_a_partial_checkpoint_is_skipped(tmp_path: Path) -> None:
    """Ended while writing a checkpoint, and moved: as if nothing had happened."""
    uninterrupted, _ = _train(tmp_path / "whole" / "trained", _options())
    with pytest.raises(_StoppedError):
        _train(tmp_path / "cut" / "trained", _options(), stop=5)
    moved = (tmp_path / "cut").rename(tmp_path / "moved")
    last, *_ = sorted((moved / "checkpoints").iterdir(), reverse=True)
    assert "checkpoint-4" == last.name
    (last / "trainer_state.json").write_text('{"epoch": 1.')

    resumed, _ = _train(moved / "trained", _options())

    expected, actual = (
        load_file(tmp_path / name / "trained" / "adapter_model.safetensors")
        for name in ("whole", "moved")
    )
    assert all((expected[name] == actual[name]).all() for name in expected)
    assert uninterrupted.history == resumed.history


def test_the_best_checkpoint_is_found_in_a_moved_folder(tmp_path: Path) -> None:
    """A folder that was moved keeps its best state; a new one has none to look for."""
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    moved = TrainerState(best_global_step=2, best_model_checkpoint="gone/checkpoint-2")
    fresh = TrainerState()

    for state in (moved, fresh):
        MovedFolderCallback().on_train_begin(args, state, None)

    assert str(tmp_path / "checkpoint-2") == moved.best_model_checkpoint
    assert fresh.best_model_checkpoint is None


def _loads_by_itself(folder: Path, scorer: VerdictScorer) -> None:
    """Check that a folder is a plain adapter with the scores of the learnt guard."""
    turns = [(Turn("user", "How do I open door number 3?"),)]
    loaded = load_scorer("", adapter=str(folder), device="cpu")
    np.testing.assert_allclose(
        loaded.p_unsafe(turns), scorer.p_unsafe(turns), atol=1e-6
    )
    base = load_scorer("", device="cpu").p_unsafe(turns)
    assert abs(base - loaded.p_unsafe(turns)).max() > 1e-3
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert 1 == len(modes)  # who may read one file may read both
    assert "/" not in (folder / "adapter_config.json").read_text(encoding="utf-8")


def test_the_output_layer_does_not_learn(scorer: VerdictScorer) -> None:
    """All linear layers of the trunk are named, the output layer is not."""
    scores = linear_layer_names(scorer.network)
    expected = "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj"
    assert " ".join(scores) == expected


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """Of 15 prompts in batches of 4, the last is shared 1 to 2."""
    options = _options(lora_dropout=0.0, epochs=1.0, keep="last", set=_SGD)

    def learn(name: str) -> None:
        scorer = load_scorer("", device="cpu")
        drawn = [_example(i) for i in range(15)]
        prompts = [scorer.encode(example.prompt.turns) for example in drawn]
        train_lora(
            scorer,
            add_lora(scorer, options),
            EncodedExamples(drawn, prompts),
            lambda: {"f1": 0.5},
            options,
            tmp_path / name / "trained",
            lambda _: None,
        )

    learn("one")
    run_in_group(2, learn, "two")

    one, two = (
        load_file(tmp_path / name / "trained" / "adapter_model.safetensors")
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for key, weights in one.items():
        np.testing.assert_allclose(two[key], weights, atol=1e-6, rtol=0)
    assert max(float(x.abs().max()) for key, x in one.items() if "_B" in key) > 1e-4


@pytest.mark.slow
def test_checkpointed_layers_learn_the_same(tmp_path: Path) -> None:
    """They are computed again in the backward pass, without a cache of the prefix."""
    for name, more in (("plain", ()), ("checkpointed", ("gradient_checkpointing=1",))):
        options = _options(lora_dropout=0.0, epochs=0.3, keep="last", set=_SGD + more)
        _train(tmp_path / name, options)

    one, two = (
        load_file(tmp_path / name / "adapter_model.safetensors")
        for name in ("plain", "checkpointed")
    )
    for key, weights in one.items():
        np.testing.assert_allclose(two[key], weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("metric_for_best_model=f1", "the best F1 under the cap; or --keep last"),
        ("load_best_model_at_end=false", "use --keep instead"),
        ("label_smoothing_factor=0.1", "labels are soft already"),
        ("torch_compile=true", "takes the place of the network's forward pass"),
        ("learning_rat=1", "did you mean 'learning_rate'"),
        ("max_steps=0", "is not from 1 up"),
        ("warmup", "expected key=value"),
    ],
)
def test_library_arguments_are_checked_before_data(given: str, message: str) -> None:
    """One line names what is wrong, and what would work."""
    with pytest.raises(OptionError) as error:
        check_arguments(_options(device="cpu", set=(given,)))

    assert message in error.value.message
    assert "\n" not in error.value.message
