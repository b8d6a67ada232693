"""Steps a second of a cost model and of a guard's LoRA, both on random weights."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bert_ensemble_speed import word_tokenizer
from guardspeed.random_llama import random_network
from transformers import LlamaConfig, LlamaForCausalLM

from safebench.records import Dataset, GroundTruth, Label, Sample, Turn
from safebench.training import Training
from safebench_cost_model.model.artifact import MEMBER_FILE
from safebench_cost_model.options import CostTrainOptions
from safebench_cost_model.train.trainer import fit
from safebench_feedback_finetune import VerdictScorer
from safebench_feedback_finetune.collect.prompts import Prompt
from safebench_feedback_finetune.options import FeedbackTrainOptions as LoraOptions
from safebench_feedback_finetune.train.batches import EncodedExamples
from safebench_feedback_finetune.train.examples import TrainingExample
from safebench_feedback_finetune.train.lora_training import add_lora, train_lora
from safebench_llamaguard_marginal import GuardOptions, HfModel, load_guard

if TYPE_CHECKING:
    from .setup import Setup

# As Qwen3-0.6B, the default base of a cost model; its vocabulary is made up.
COST_SHAPE: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
}
TINY_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
WORDS = 30_000


class RandomScorer(VerdictScorer):
    """Reads verdicts of random weights, which write neither word."""

    def _check_verdicts(self) -> None:
        pass


def measure(setup: Setup) -> dict[str, Any]:
    """Return steps, seconds and steps a second of both."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            "cost_model": cost_model(setup, Path(folder)),
            "lora": lora(setup, Path(folder)),
        }


def cost_model(setup: Setup, folder: Path) -> dict[str, Any]:
    """Train adapters of a decoder for an epoch; seconds hold two evaluations."""
    base, out = folder / "base", folder / "cost"
    _save_decoder(setup, base)
    training = Training(
        name="cost_model",
        options=CostTrainOptions(
            base=str(base), epochs=1.0, batch=setup.pick(16, 2), patience=0
        ),
        out=out,
        train=_pairs(setup, setup.pick(640, 4), "train"),
        val=_pairs(setup, setup.pick(32, 2), "val"),
        test=_pairs(setup, setup.pick(32, 2), "test"),
    )
    fit(training)
    (path,) = out.rglob(MEMBER_FILE)
    member = json.loads(path.read_text(encoding="utf-8"))
    steps, seconds = member["steps"], member["seconds"]
    return {
        "base": "random decoder of Qwen3-0.6B's shape" if not setup.dry else "tiny",
        "pairs_a_step": training.options.batch,
        "words_a_pair": 2 * setup.pick(160, 6),
        "steps": steps,
        "seconds": seconds,
        "steps_per_second": steps / seconds if seconds else None,
    }


def lora(setup: Setup, folder: Path) -> dict[str, Any]:
    """Train a LoRA of the random 8B on the verdict, prompts as the guard builds them.

    Tokenizer and template are those of the embedded guard.
    """
    embedded = load_guard(GuardOptions(device="cpu"))
    network = random_network(setup.shape, torch.device(setup.device), setup.dtype)
    parts = embedded.model
    guard = replace(embedded, model=HfModel(network, parts.token_bytes, parts.eos))
    scorer = RandomScorer(guard)
    options = LoraOptions(
        collected="c",
        out="o",
        benign=("b",),
        batch_size=setup.pick(8, 2),
        epochs=1.0,
        eval_steps=1000,
        patience=0,
        keep="last",
        device=setup.device,
    )
    drawn = [_example(i, setup) for i in range(setup.pick(160, 4))]
    prompts = [scorer.encode(example.prompt.turns) for example in drawn]
    began = time.monotonic()
    result = train_lora(
        scorer,
        add_lora(scorer, options),
        EncodedExamples(drawn, prompts),
        lambda: {"f1": 0.0},
        options,
        folder / "lora",
        print,
    )
    return {
        "guard": f"random Llama, {setup.shape}",
        "rank": options.lora_r,
        "prompts_a_step": options.batch_size,
        "tokens_a_prompt": float(np.mean([len(prompt) for prompt in prompts])),
        "steps": result.steps,
        "seconds": result.seconds,
        "seconds_with_saving": round(time.monotonic() - began, 1),
        "steps_per_second": result.steps / result.seconds if result.seconds else None,
    }


def _save_decoder(setup: Setup, folder: Path) -> None:
    """Save a random decoder and a tokenizer of numbered words."""
    tokenizer = word_tokenizer(WORDS)
    tokenizer.eos_token = "[SEP]"  # noqa: S105
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        **setup.pick(COST_SHAPE, TINY_SHAPE),
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        bos_token_id=2,
        eos_token_id=3,
    )
    network: Any = LlamaForCausalLM(config)
    network.to(setup.dtype).save_pretrained(folder)


def _pairs(setup: Setup, count: int, name: str) -> Dataset:
    """Return pairs of a safe and an unsafe response of numbered words."""
    rng = np.random.default_rng(len(name))
    words = setup.pick(80, 3)
    samples, golds = [], []
    for i in range(count):
        prompt = f"{name} {i} {_words(rng, words)}"
        for rank, unsafe in (("unsafer", True), ("safer", False)):
            turns = (Turn("user", prompt), Turn("assistant", _words(rng, words)))
            key = f"{name}/{i}"
            samples.append(
                Sample(
                    id=f"{key}-{rank}", turns=turns, task="response_harm", group=prompt
                )
            )
            pair: Any = (key, rank)
            golds.append(GroundTruth(label=Label(value=unsafe), pair=pair))
    return Dataset(
        name="numbered pairs",
        config=None,
        split=name,
        task="response_harm",
        policy=None,
        revision="made up",
        samples=samples,
        ground_truth=golds,
    )


def _words(rng: np.random.Generator, count: int) -> str:
    return " ".join(f"w{n}" for n in rng.integers(0, WORDS, count))


def _example(i: int, setup: Setup) -> TrainingExample:
    text = "How do I " + "really " * (i % setup.pick(60, 3)) + f"open door number {i}?"
    return TrainingExample(
        prompt=Prompt(id=str(i), text=text, dataset="d", group=str(i), p_in=0.3),
        kind="positive",
        target=float(i % 2),
        ce_weight=1.0,
        kl_weight=1.0,
        base_p_unsafe=0.3,
    )
