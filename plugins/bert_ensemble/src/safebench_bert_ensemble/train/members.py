"""Members of an ensemble, trained one after another in this process.

Each has its own head, its own order of rows and, with bagging, its own rows; its best
epoch by validation F1 is kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import transformers

from safebench.metrics import metric_value
from safebench.torch_utils import (
    Placement,
    StepSeedCallback,
    last_checkpoint,
    quiet_transformers,
)
from safebench_bert_ensemble.model.checkpoints import new_classifier, share_padding
from safebench_bert_ensemble.model.encoding import collate
from safebench_bert_ensemble.model.evidence import CLASSES
from safebench_bert_ensemble.model.location import MEMBER_FILE

from .callbacks import MemberProgressCallback
from .hardware import pick_precision
from .member_trainer import (
    LengthBatchSampler,
    MemberTrainer,
    padding_shares,
    tokenize_rows,
)
from .training_job import training_arguments, training_overrides

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .callbacks import StepCounter
    from .member_trainer import Rows, TokenizedRows
    from .training_job import TrainingJob

# Seeds of steps are a multiple of this plus the step: those of two members, whose
# trainings are shorter, do not meet.
_STEP_SEED_STRIDE = 1_000_003


def fit_members(
    job: TrainingJob,
    members: Sequence[int],
    say: Callable[[str], None],
    bar: StepCounter | None = None,
) -> None:
    """Train members one after another; rows are tokenized once for each base."""
    tokens_by_base: dict[str, TokenizedRows] = {}
    for member in members:
        base = job.bases[member]
        if base.label not in tokens_by_base:
            tokens = tokenize_rows(job, base)
            tokens_by_base[base.label] = tokens
            share = padding_shares(job, tokens)
            say(
                f"{base.label}: padding is {share['train']:.1%} of the tokens in "
                f"training batches, {share['val']:.1%} in validation batches"
            )
        fit_member(job, member, tokens_by_base[base.label], say, bar)


def fit_member(
    job: TrainingJob,
    member: int,
    tokens: TokenizedRows,
    say: Callable[[str], None],
    bar: StepCounter | None = None,
) -> None:
    """Train a member, or go on from its last checkpoint, and leave its folder.

    The folder appears at once and whole: plain `from_pretrained` loads it.
    """
    started = time.monotonic()
    rows, bag_hash = bagged_rows(job, member, tokens.train)
    title = f"{job.member_name(member)} of {len(job.bases)}"
    progress = MemberProgressCallback(title, say, bar)
    checkpoint = last_checkpoint(job.checkpoint_folder(member))
    with quiet_transformers(), training_overrides(job.arguments).errors():
        trainer = _trainer(job, member, tokens, rows, progress)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.require_finite(trainer.model, "lower --lr, or the learning_rate of --set")
    arguments, base = trainer.args, job.bases[member]
    epochs = epoch_history(trainer.state.log_history)
    metadata = {
        "base": base.label,
        "revision": base.commit,
        "seed": arguments.seed,
        "data_seed": arguments.data_seed,
        "bag_hash": bag_hash,
        "precision": _precision(arguments),
        "device": arguments.device.type,
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "val_f1": _f1_at(trainer.state.best_global_step, trainer.state.log_history),
        "epochs": epochs,
        "seconds": round(time.monotonic() - started, 1),
    }
    # Members of one base share the tokenizer that stands at the root.
    tokenizer = tokens.tokenizer if len(set(job.bases)) > 1 else None
    _save_member(trainer.model, tokenizer, job.member_folder(member), metadata)
    shutil.rmtree(job.checkpoint_folder(member), ignore_errors=True)


def _trainer(
    job: TrainingJob,
    member: int,
    tokens: TokenizedRows,
    rows: Rows,
    progress: MemberProgressCallback,
) -> MemberTrainer:
    """Return the trainer of a member, with a new head."""
    base, options = job.bases[member], job.options
    seed, order_seed = job.member_seed(member, "head"), job.member_seed(member, "order")
    placement = Placement.choose(options.device, "float32")
    device = placement.device
    transformers.set_seed(seed)
    network = new_classifier(base.folder, base.label, CLASSES)
    share_padding(network, tokens.tokenizer)
    placement.limit_threads(network)
    arguments = training_arguments(
        options,
        job.checkpoint_folder(member),
        (seed, order_seed),
        device,
        pick_precision(options.precision, device),
        job.arguments,
    )
    return MemberTrainer(
        model=network,
        args=arguments,
        data_collator=partial(collate, pad_token_id=tokens.tokenizer.pad_token_id),
        train_dataset=rows,
        eval_dataset=tokens.val,
        compute_metrics=validation_scores,
        callbacks=[
            StepSeedCallback(order_seed * _STEP_SEED_STRIDE % 2**32),
            *_early_stopping(options.patience, arguments),
            progress,
        ],
        eval_tokens=options.eval_tokens,
        class_weights=job.class_weights(),
    )


def _early_stopping(
    patience: int, arguments: transformers.TrainingArguments
) -> list[transformers.TrainerCallback]:
    """Return what ends a training; nothing where no best state is looked for."""
    if not arguments.load_best_model_at_end:
        return []
    return [transformers.EarlyStoppingCallback(patience)]


def _f1_at(step: int | None, logs: list[dict[str, float]]) -> float | None:
    """Return the validation F1 of a step; of the last evaluation without one."""
    values = {entry["step"]: entry["eval_f1"] for entry in logs if "eval_f1" in entry}
    last = max(values, default=None)
    return None if last is None else values.get(step or last)


def _precision(arguments: transformers.TrainingArguments) -> str:
    return "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32"


def _save_member(
    network: Any, tokenizer: Any, folder: Path, metadata: dict[str, Any]
) -> None:
    """Leave a member's folder at once; no tokenizer: the root's serves."""
    # The prefix keeps what an interruption leaves out of the hash of the weights.
    part = folder.with_name(f"checkpoint-{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with quiet_transformers():
        network.save_pretrained(part)
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
    text = json.dumps(metadata, indent=2)
    (part / MEMBER_FILE).write_text(text + "\n", encoding="utf-8")
    part.replace(folder)


def validation_scores(prediction: transformers.EvalPrediction) -> dict[str, float]:
    """Return F1 (positive = harmful), accuracy, AUROC and loss; 0 where undefined.

    The library averages the loss over batches, which here differ in size; this one is
    over rows, and takes its place.
    """
    logits: Any = prediction.predictions  # (n, 2)
    y, margin = prediction.label_ids, logits[:, 1] - logits[:, 0]
    columns = {"f1": margin > 0, "accuracy": margin > 0, "auroc": margin}
    scores = {name: metric_value(name, y, x) or 0.0 for name, x in columns.items()}
    signed = np.where(y == 1, margin, -margin).astype(float)
    # log(1 + exp(-margin of the right class)), which overflows for no margin
    return scores | {"loss": float(np.logaddexp(0.0, -signed).mean())}


def epoch_history(logs: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return the validation numbers of each epoch from a trainer's log."""
    names = ("epoch", "eval_f1", "eval_accuracy", "eval_auroc", "eval_loss")
    return [
        {name: entry[name] for name in names if name in entry}
        for entry in logs
        if "eval_f1" in entry
    ]


def bagged_rows(job: TrainingJob, member: int, rows: Rows) -> tuple[Rows, str | None]:
    """Return a member's rows, and the hash of the draw if it has its own.

    Groups are drawn with replacement, and rows of a group stay together: near copies
    of one prompt are one observation.
    """
    if not job.options.bagging:
        return rows, None
    rows_by_group: dict[str, list[int]] = {}
    for row, group in enumerate(job.train.groups):
        rows_by_group.setdefault(group, []).append(row)
    groups = list(rows_by_group.values())
    rng = np.random.default_rng(job.member_seed(member, "bag"))
    picks = rng.integers(len(groups), size=len(groups))
    drawn = [row for pick in picks for row in groups[pick]]
    digest = hashlib.sha256(np.asarray(drawn, dtype="<i8").tobytes()).hexdigest()
    return [rows[row] for row in drawn], digest


def steps_per_member(job: TrainingJob) -> int:
    """Return how many steps a member takes that does not stop early."""
    overrides, options = job.arguments, job.options
    if overrides.get("max_steps", 0) > 0:
        return int(overrides["max_steps"])
    epochs: float = overrides.get("num_train_epochs", options.epochs)
    batch_size = overrides.get("per_device_train_batch_size", options.batch_size)
    accumulated: int = overrides.get(
        "gradient_accumulation_steps", options.grad_accumulation
    )
    drop_last = overrides.get("dataloader_drop_last", False)
    batches = len(
        LengthBatchSampler(job.train.labels, batch_size, 0, drop_last=drop_last)
    )
    return math.ceil(epochs * math.ceil(batches / accumulated))
