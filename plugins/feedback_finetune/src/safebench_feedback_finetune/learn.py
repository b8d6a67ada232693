"""Teach a guard its own verdicts anew: LoRA, a `Trainer`, and an eye on the cap.

The best state by validation F1 with false positives under the cap is kept. The guard
is asked through its `VerdictScorer`, while it learns as when it is measured.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import transformers

from safebench.errors import OptionError
from safebench.files import write_json
from safebench.neural.checkpoints import last_checkpoint
from safebench.neural.loading import quiet

from .adapters import CONFIG, WEIGHTS, readable, scale_adapter
from .trainer import BestHere, StepSeeds, Told, VerdictTrainer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .batches import Examples
    from .scorer import VerdictScorer
    from .train_options import TrainOptions

CHECKPOINTS = "checkpoints"
AT = ("step", "epoch")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


@dataclass(slots=True)
class Learned:
    """What a training came to; `history` has each validation by its step."""

    steps: int
    best_step: int | None
    best_f1: float | None
    seconds: float
    history: list[dict[str, float]] = field(default_factory=list)


def with_lora(scorer: VerdictScorer, options: TrainOptions) -> Any:
    """Put a fresh LoRA into the scorer's network and return its PEFT wrapper.

    All linear layers learn but the output layer: one position of it is read, and a
    pruned or tied one would have to be saved whole.
    """
    import peft

    config = peft.LoraConfig(
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=linear_layers(scorer.network),
        task_type="CAUSAL_LM",
    )
    transformers.set_seed(options.seed)
    with quiet():
        wrapped: Any = peft.get_peft_model(scorer.network, config)
    return wrapped


def linear_layers(network: Any) -> list[str]:
    """Return the names (last part) of the linear layers outside the output layer."""
    head = network.get_output_embeddings()
    within = {id(module) for module in head.modules()} if head is not None else set()
    found = {
        name.rpartition(".")[2]
        for name, module in network.named_modules()
        if id(module) not in within and _is_linear(module)
    }
    return sorted(found)


def _is_linear(module: Any) -> bool:
    # Layers in 4 bits are subclasses of it, too.
    return isinstance(module, torch.nn.Linear)


def learn(
    scorer: VerdictScorer,
    wrapped: Any,
    examples: Examples,
    validate: Callable[[], Mapping[str, float]],
    options: TrainOptions,
    out: Path,
    say: Callable[[str], None],
    tick: Callable[[int], None] = lambda _: None,
) -> Learned:
    """Train the LoRA of `wrapped`, or go on from its last checkpoint.

    `validate` returns f1 and what else is to be told. `out` gets a plain PEFT
    adapter.
    """
    told = Told(say, tick)
    callbacks: list[transformers.TrainerCallback] = [
        StepSeeds(options.seed),
        BestHere(),
        told,
    ]
    best = options.keep == "best"
    if best and options.patience:
        callbacks.append(transformers.EarlyStoppingCallback(options.patience))
    folder = out.parent / CHECKPOINTS
    trainer = VerdictTrainer(
        scorer,
        examples,
        validate,
        _strength(options),
        model=wrapped,
        args=_arguments(options, folder, scorer.network.device.type, len(examples)),
        eval_dataset=examples,
        callbacks=callbacks,
    )
    last = last_checkpoint(folder)
    if last:
        say("goes on from its last checkpoint")
    scale_adapter(scorer.network, 1.0)
    try:
        with quiet():
            done = trainer.train(resume_from_checkpoint=str(last) if last else None)
    finally:
        told.end()
    scorer.network.eval()
    _write(wrapped, out, scorer.label)
    shutil.rmtree(folder, ignore_errors=True)
    history = [
        {k: v for k, v in sorted(entry.items()) if k in AT or k.startswith("eval_")}
        for entry in trainer.state.log_history
        if "eval_f1" in entry
    ]
    return Learned(
        steps=trainer.state.global_step,
        best_step=trainer.state.best_global_step if best else None,
        best_f1=trainer.state.best_metric if best else None,
        seconds=round(float(done.metrics.get("train_runtime", 0.0)), 1),
        history=history,
    )


def _strength(options: TrainOptions) -> float:
    return options.kl if options.recipe in ("ours", "labels_only") else 0.0


def _write(wrapped: Any, out: Path, label: str) -> None:
    """Write the adapter's two files, and no model card.

    The base is named if it is on the hub; where else it lay is nobody's business.
    """
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with quiet():
        wrapped.save_pretrained(part)
    config = json.loads((part / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = label if _HUB_ID.fullmatch(label) else None
    out.mkdir(parents=True, exist_ok=True)
    (part / WEIGHTS).replace(out / WEIGHTS)
    write_json(out / CONFIG, config)
    readable(out)
    shutil.rmtree(part)


def _arguments(
    options: TrainOptions, folder: Path, device: str, n: int
) -> transformers.TrainingArguments:
    """Return the library's arguments; validations and checkpoints come together."""
    per_step = options.batch_size * options.gradient_accumulation
    epoch = max(1, -(-n // per_step))
    often = min(options.eval_steps, epoch)
    try:
        found = transformers.TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_size,
            gradient_accumulation_steps=options.gradient_accumulation,
            learning_rate=options.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=options.warmup_steps,
            weight_decay=options.weight_decay,
            eval_strategy="steps",
            save_strategy="steps",
            logging_strategy="steps",
            eval_steps=often,
            save_steps=often,
            logging_steps=often,
            save_total_limit=2,
            load_best_model_at_end=options.keep == "best",
            metric_for_best_model="eval_f1",
            greater_is_better=True,
            restore_callback_states_from_checkpoint=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            report_to="none",
            disable_tqdm=True,
            seed=options.seed,
            data_seed=options.seed,
            use_cpu=device == "cpu",
        )
    except (ValueError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise OptionError(f"training: {reason}") from error
    found._n_gpu = min(found.n_gpu, 1)  # noqa: SLF001 - the scorer has one network
    return found
