"""Train a LoRA on a guard's verdict, and keep the best state by validation F1.

F1 is that at the best threshold whose false positives are under the cap. Validations
and checkpoints come together, so that the best state is always on disk.
"""

from __future__ import annotations

import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from safebench import write_json
from safebench.errors import ModelError, SafebenchError
from safebench.torch_utils import (
    Placement,
    StepSeedCallback,
    TrainingOverrides,
    batch_of_process,
    last_checkpoint,
    quiet_transformers,
)
from safebench.training import is_main_process
from safebench_feedback_finetune.process_group import GROUP_TIMEOUT

from .adapters import CONFIG_FILE, copy_permissions, scale_adapter
from .training_folder import WEIGHTS_FILE
from .verdict_trainer import (
    MovedFolderCallback,
    VerdictProgressCallback,
    VerdictTrainer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from safebench_feedback_finetune.options import FeedbackTrainOptions
    from safebench_feedback_finetune.scorer import VerdictScorer

    from .batches import EncodedExamples

CHECKPOINTS_FOLDER = "checkpoints"
PROGRESS_KEYS = ("step", "epoch")
_BEST = "the best state is that of the best F1 under the cap; or --keep last"
_BATCHED = "prompts are scored in batches of tokens"
_OWN_FORWARD = "the verdict's loss takes the place of the network's forward pass"
_RESERVED = {
    **dict.fromkeys(("metric_for_best_model", "greater_is_better"), _BEST),
    **dict.fromkeys(
        ("per_device_eval_batch_size", "eval_accumulation_steps"), _BATCHED
    ),
    **dict.fromkeys(
        (
            *("torch_compile", "torch_compile_backend", "torch_compile_mode"),
            *("use_liger_kernel", "liger_kernel_config"),
        ),
        _OWN_FORWARD,
    ),
    "use_cpu": "--device",
    "load_best_model_at_end": "--keep",
    "label_smoothing_factor": "labels are soft already: see --soft",
}
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


@dataclass(slots=True)
class LoraTrainingResult:
    """The outcome of a training; `history` has the metrics of each validation."""

    steps: int
    best_step: int | None
    best_f1: float | None
    seconds: float
    history: list[dict[str, float]] = field(default_factory=list)


def add_lora(scorer: VerdictScorer, options: FeedbackTrainOptions) -> Any:
    """Add a fresh LoRA to the scorer's network, and return PEFT's wrapper of it.

    It covers all linear layers but the output layer. That one may be tied to the
    embedding, or pruned to the words of the verdict: its adapter would have to store it
    whole.
    """
    import peft

    config = peft.LoraConfig(
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=linear_layer_names(scorer.network),
        task_type="CAUSAL_LM",
    )
    transformers.set_seed(options.seed)
    with quiet_transformers():
        peft_model: Any = peft.get_peft_model(scorer.network, config)
    return peft_model


def linear_layer_names(network: Any) -> list[str]:
    """Return the names (last part) of the linear layers outside the output layer."""
    head = network.get_output_embeddings()
    in_head = {id(module) for module in head.modules()} if head is not None else set()
    # Layers in 4 bits are subclasses of torch.nn.Linear as well.
    names = {
        name.rpartition(".")[2]
        for name, module in network.named_modules()
        if id(module) not in in_head and isinstance(module, torch.nn.Linear)
    }
    return sorted(names)


def train_lora(
    scorer: VerdictScorer,
    peft_model: Any,
    examples: EncodedExamples,
    validate: Callable[[], Mapping[str, float]],
    options: FeedbackTrainOptions,
    out: Path,
    say: Callable[[str], None],
    on_progress: Callable[[int], None] = lambda _: None,
) -> LoraTrainingResult:
    """Train the LoRA of `peft_model`, from its last checkpoint on if there is one.

    `validate` returns the metric f1, and others that are reported with it. The adapter
    is written to `out`, and stays in the network. `on_progress` gets the number of
    steps so far.
    """
    progress = VerdictProgressCallback(say, on_progress)
    callbacks: list[transformers.TrainerCallback] = [
        # The seed in the upper half: on a GPU no two runs share the seed of a step.
        StepSeedCallback(options.seed << 32),
        MovedFolderCallback(),
        progress,
    ]
    checkpoints = out.parent / CHECKPOINTS_FOLDER
    arguments = training_arguments(
        options, checkpoints, scorer.network.device.type, len(examples)
    )
    if arguments.load_best_model_at_end and options.patience:
        callbacks.append(transformers.EarlyStoppingCallback(options.patience))
    keep_best = arguments.load_best_model_at_end
    overrides = training_overrides(options)
    with quiet_transformers(), overrides.errors():
        trainer = VerdictTrainer(
            scorer,
            examples,
            validate,
            _kl_factor(options),
            model=peft_model,
            args=arguments,
            eval_dataset=examples,
            callbacks=callbacks,
        )
    checkpoint = last_checkpoint(checkpoints)
    if checkpoint:
        say("goes on from its last checkpoint")
    scale_adapter(scorer.network, 1.0)
    try:
        with quiet_transformers(), _one_line_failures(checkpoint), overrides.errors():
            output = trainer.train(
                resume_from_checkpoint=str(checkpoint) if checkpoint else None
            )
    finally:
        progress.close()
    scorer.network.eval()
    trainer.require_finite(
        scorer.network, f"lower --learning-rate, and delete {checkpoints}"
    )
    # All processes read the best checkpoint before it is removed.
    trainer.accelerator.wait_for_everyone()
    if is_main_process():
        _write_adapter(peft_model, out, scorer.label)
        shutil.rmtree(checkpoints, ignore_errors=True)
    state = trainer.state
    return LoraTrainingResult(
        steps=state.global_step,
        best_step=state.best_global_step if keep_best else None,
        best_f1=state.best_metric if keep_best else None,
        seconds=round(float(output.metrics.get("train_runtime", 0.0)), 1),
        history=_validations(state.log_history),
    )


@contextmanager
def _one_line_failures(checkpoint: Path | None) -> Iterator[None]:
    """Turn what the library raises while it trains into one line."""
    try:
        yield
    except SafebenchError:
        raise
    # What the library raises for arguments, for the machine, and for a checkpoint that
    # holds anything.
    except (
        *(ImportError, ValueError, TypeError, RuntimeError, OSError, LookupError),
        *(AttributeError, EOFError),
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        remedy = f"; delete {checkpoint} to go on without it" if checkpoint else ""
        raise ModelError(f"the training failed: {reason}{remedy}") from error


def _validations(log_history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return step, epoch and metrics of each validation in a trainer's log."""
    return [
        {
            key: value
            for key, value in sorted(entry.items())
            if key in PROGRESS_KEYS or key.startswith("eval_")
        }
        for entry in log_history
        if "eval_f1" in entry
    ]


def _kl_factor(options: FeedbackTrainOptions) -> float:
    return options.kl if options.recipe in ("ours", "labels_only") else 0.0


def _write_adapter(peft_model: Any, out: Path, label: str) -> None:
    """Write the adapter's weights and config, without the library's model card."""
    partial = out.with_name(f"{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    with quiet_transformers():
        peft_model.save_pretrained(partial)
    config = json.loads((partial / CONFIG_FILE).read_text(encoding="utf-8"))
    # A hub id tells others which base the adapter needs; a local path only tells how
    # the folders of this machine are named.
    config["base_model_name_or_path"] = label if _HUB_ID.fullmatch(label) else None
    out.mkdir(parents=True, exist_ok=True)
    (partial / WEIGHTS_FILE).replace(out / WEIGHTS_FILE)
    write_json(out / CONFIG_FILE, config)
    copy_permissions(out)
    shutil.rmtree(partial)


def check_arguments(options: FeedbackTrainOptions) -> None:
    """Raise OptionError for what the library would refuse, before data are read."""
    device = Placement.choose(options.device).device.type
    # Of a folder that none of this makes.
    training_arguments(options, Path(CHECKPOINTS_FOLDER), device, options.batch_size)


def training_overrides(options: FeedbackTrainOptions) -> TrainingOverrides:
    """Return the library's fields that a user set, checked and converted."""
    return TrainingOverrides(options.set, _RESERVED)


def training_arguments(
    options: FeedbackTrainOptions, folder: Path, device: str, n_examples: int
) -> transformers.TrainingArguments:
    """Return the library's arguments; raises OptionError for values it refuses."""
    step_size = options.batch_size * options.gradient_accumulation
    steps_per_epoch = max(1, -(-n_examples // step_size))
    # A short training is validated once an epoch at least, or no state would be kept.
    interval = min(options.eval_steps, steps_per_epoch)
    values = {
        "output_dir": str(folder),
        "num_train_epochs": options.epochs,
        "per_device_train_batch_size": batch_of_process(
            options.batch_size, "batch_size"
        ),
        "gradient_accumulation_steps": options.gradient_accumulation,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": options.warmup_steps,
        "weight_decay": options.weight_decay,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "logging_strategy": "steps",
        "eval_steps": interval,
        "save_steps": interval,
        "logging_steps": interval,
        "save_total_limit": 2,
        "load_best_model_at_end": options.keep == "best",
        "metric_for_best_model": "eval_f1",
        "greater_is_better": True,
        # early stopping has to remember how long F1 has not improved
        "restore_callback_states_from_checkpoint": True,
        "remove_unused_columns": False,  # batches hold row numbers, no model inputs
        "dataloader_pin_memory": False,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": options.seed,
        "data_seed": options.seed,
        "use_cpu": device == "cpu",
        "ddp_timeout": int(GROUP_TIMEOUT.total_seconds()),
        # Each adapter takes part in each step; looking for others costs time.
        "ddp_find_unused_parameters": False,
    }
    # On several GPUs the library would replicate the model, while the scorer goes on
    # calling its own network.
    return training_overrides(options).build(values, one_gpu=True)
