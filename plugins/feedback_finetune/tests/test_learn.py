"""Learning on the embedded guard: resumed as if never stopped, saved as PEFT saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import TrainerState, TrainingArguments

from safebench.records import Turn
from safebench_feedback_finetune.batches import Examples, LengthOrder
from safebench_feedback_finetune.examples import Drawn
from safebench_feedback_finetune.learn import learn, linear_layers, with_lora
from safebench_feedback_finetune.prompts import Prompt
from safebench_feedback_finetune.scorer import load_scorer
from safebench_feedback_finetune.train_options import TrainOptions
from safebench_feedback_finetune.trainer import BestHere

if TYPE_CHECKING:
    from pathlib import Path

    from safebench_feedback_finetune.learn import Learned
    from safebench_feedback_finetune.scorer import VerdictScorer

N = 12


def _options(**given: Any) -> TrainOptions:
    small: dict[str, Any] = {
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
    return TrainOptions(**small | given)


def _drawn(i: int) -> Drawn:
    text = "How do I " + "really " * (i % 3) + f"open door number {i}?"
    prompt = Prompt(id=str(i), text=text, dataset="d", group=str(i), p_in=0.3)
    return Drawn(
        prompt=prompt, kind="positive", target=float(i % 2), ce=1.0, kl=1.0, base=0.3
    )


class _StoppedError(Exception):
    """Stands for a machine that goes away."""


def _learn(out: Path, options: TrainOptions, stop: int = 0) -> tuple[Learned, Any]:
    """Train on a fresh guard; `stop` is the step at which the machine goes away."""
    scorer = load_scorer("", device="cpu")
    drawn = [_drawn(i) for i in range(N)]
    prompts = [scorer.encode(one.prompt.turns) for one in drawn]

    def tick(step: int) -> None:
        if stop and step == stop:
            raise _StoppedError

    def validate() -> dict[str, float]:
        found = scorer.p_unsafe([one.prompt.turns for one in drawn])
        return {"f1": float(found.mean())}

    wrapped = with_lora(scorer, options)
    examples = Examples(drawn, prompts)
    learned = learn(
        scorer, wrapped, examples, validate, options, out, lambda _: None, tick
    )
    return learned, scorer


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """A training that lost its machine ends with the same weights and numbers."""
    whole, scorer = _learn(tmp_path / "whole" / "trained", _options())
    assert whole.steps == 6
    with pytest.raises(_StoppedError):
        _learn(tmp_path / "cut" / "trained", _options(), stop=5)
    resumed, _ = _learn(tmp_path / "cut" / "trained", _options())
    folders = [tmp_path / name / "trained" for name in ("whole", "cut")]
    expected, got = (load_file(f / "adapter_model.safetensors") for f in folders)
    assert expected.keys() == got.keys()
    assert all((expected[name] == got[name]).all() for name in expected)
    assert whole.history == resumed.history
    assert (whole.best_step, whole.best_f1) == (resumed.best_step, resumed.best_f1)
    assert not (tmp_path / "cut" / "checkpoints").exists()
    _loads_by_itself(folders[0], scorer)


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """Ended while writing a checkpoint, and moved: as if nothing had happened."""
    whole, _ = _learn(tmp_path / "whole" / "trained", _options())
    with pytest.raises(_StoppedError):
        _learn(tmp_path / "cut" / "trained", _options(), stop=5)
    moved = (tmp_path / "cut").rename(tmp_path / "moved")
    last, *_ = sorted((moved / "checkpoints").iterdir(), reverse=True)
    assert "checkpoint-4" == last.name
    (last / "trainer_state.json").write_text('{"epoch": 1.')

    resumed, _ = _learn(moved / "trained", _options())

    expected, got = (
        load_file(tmp_path / name / "trained" / "adapter_model.safetensors")
        for name in ("whole", "moved")
    )
    assert all((expected[name] == got[name]).all() for name in expected)
    assert whole.history == resumed.history


def test_the_best_state_is_looked_for_beside_the_others(tmp_path: Path) -> None:
    """A folder that was moved keeps its best state; a new one has none to look for."""
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    moved = TrainerState(best_global_step=2, best_model_checkpoint="gone/checkpoint-2")
    fresh = TrainerState()

    for state in (moved, fresh):
        BestHere().on_train_begin(args, state, None)

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
    found = linear_layers(scorer.network)
    expected = "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj"
    assert " ".join(found) == expected


def test_an_order_is_one_of_all_rows() -> None:
    """Each epoch has every row once, another order, and the same one again."""
    order = LengthOrder([5, 9, 1, 7, 3, 8, 2], batch=2, seed=4)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    order.set_epoch(0)
    assert sorted(first) == sorted(second) == list(range(7))
    assert first == list(order)
    assert first != second
