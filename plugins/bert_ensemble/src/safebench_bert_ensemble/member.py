"""Train one member: its own head, its own order, the best epoch by validation F1."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from transformers.trainer_callback import PrinterCallback

from safebench.neural.checkpoints import last_checkpoint
from safebench.neural.device import choose_threads, pick_device, pick_precision
from safebench.neural.loading import quiet
from safebench.statistics import metric_value

from .arguments import training_arguments
from .batching import plan, waste
from .encoding import as_rows, collate, encode, token_limit
from .job import CLASSES
from .loading import load_padding_tokenizer, new_classifier
from .locate import FACTS
from .sampling import LengthBatches
from .watching import StepSeeds, Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .bases import Base
    from .job import Job, Part
    from .watching import Counter

    Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Training and validation rows of one base, tokenised once for all its members."""

    tokenizer: Any
    train: Rows
    val: Rows


def tokenise(job: Job, base: Base) -> Tokens:
    """Return the rows of a job as one base's tokenizer reads them."""
    tokenizer = load_padding_tokenizer(base.folder, base.label)
    with quiet():
        config = transformers.AutoConfig.from_pretrained(base.folder)
    limit = token_limit(config, tokenizer, job.options.max_length)
    return Tokens(
        tokenizer, *(_rows(tokenizer, p, limit) for p in (job.train, job.val))
    )


def _rows(tokenizer: Any, part: Part, limit: int) -> Rows:
    rows = as_rows(encode(tokenizer, part.texts, limit))
    return [row | {"labels": y} for row, y in zip(rows, part.labels, strict=True)]


def padding(job: Job, tokens: Tokens) -> dict[str, float]:
    """Return the share of padding in training and evaluation batches of a base."""
    train, val = _lengths(tokens.train), _lengths(tokens.val)
    batches = LengthBatches(train, job.options.batch_size, job.seed).batches()
    return {
        "train": waste(train, batches),
        "val": waste(val, plan(val, job.options.eval_tokens)),
    }


class MemberTrainer(transformers.Trainer):
    """A `Trainer` whose batches hold rows of like length."""

    def __init__(self, *args: Any, eval_tokens: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eval_tokens = eval_tokens

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """Return shuffled batches of like length, the same for the same epoch."""
        seed = self.args.data_seed or 0
        batches = LengthBatches(
            _lengths(self.train_dataset), self.args.train_batch_size, seed
        )
        return self._loader(self.train_dataset, batches)

    def get_eval_dataloader(
        self, eval_dataset: Any = None
    ) -> torch.utils.data.DataLoader[Any]:
        """Return batches under the token budget."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        return self._loader(rows, plan(_lengths(rows), self.eval_tokens))

    def _loader(self, rows: Any, batches: Any) -> torch.utils.data.DataLoader[Any]:
        loader = torch.utils.data.DataLoader(
            rows, batch_sampler=batches, collate_fn=self.data_collator
        )
        prepared: torch.utils.data.DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared


def fit_member(
    job: Job,
    member: int,
    tokens: Tokens,
    say: Callable[[str], None],
    bar: Counter | None = None,
) -> None:
    """Train a member, or go on from its last checkpoint, and leave its folder.

    The folder appears at once and whole: plain `from_pretrained` loads it.
    """
    started = time.monotonic()
    rows, bag = drawn(job, member, tokens.train)
    watch = Watch(f"{job.name(member)} of {len(job.bases)}", say, bar)
    trainer = _trainer(job, member, tokens, rows, watch)
    last = last_checkpoint(job.checkpoints(member))
    with quiet():
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    arguments, base = trainer.args, job.bases[member]
    facts = {
        "base": base.label,
        "revision": base.revision,
        "seed": arguments.seed,
        "data_seed": arguments.data_seed,
        "bag_hash": bag,
        "precision": _precision(arguments),
        "device": arguments.device.type,
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "val_f1": trainer.state.best_metric,
        "epochs": history(trainer.state.log_history),
        "seconds": round(time.monotonic() - started, 1),
    }
    own = tokens.tokenizer if len(set(job.bases)) > 1 else None
    _keep(trainer.model, own, job.folder(member), facts)
    shutil.rmtree(job.checkpoints(member), ignore_errors=True)


def _trainer(
    job: Job, member: int, tokens: Tokens, rows: Rows, watch: Watch
) -> MemberTrainer:
    """Return the trainer of a member, with a new head."""
    base, options = job.bases[member], job.options
    seeds = (job.member_seed(member, "head"), job.member_seed(member, "order"))
    device = pick_device(options.device)
    transformers.set_seed(seeds[0])
    network = new_classifier(base.folder, base.label, CLASSES)
    choose_threads(network, device)
    arguments = training_arguments(
        options,
        job.checkpoints(member),
        seeds,
        device,
        pick_precision(options.precision, device),
        job.arguments,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001 - one member, one GPU
    trainer = MemberTrainer(
        model=network,
        args=arguments,
        data_collator=partial(collate, pad=tokens.tokenizer.pad_token_id),
        train_dataset=rows,
        eval_dataset=tokens.val,
        compute_metrics=validation_scores,
        callbacks=[
            StepSeeds(seeds[1]),
            transformers.EarlyStoppingCallback(options.patience),
            watch,
        ],
        eval_tokens=options.eval_tokens,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _precision(arguments: transformers.TrainingArguments) -> str:
    return "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32"


def validation_scores(prediction: transformers.EvalPrediction) -> dict[str, float]:
    """Return F1 (positive = harmful), accuracy, AUROC and loss; 0 where undefined.

    The library averages the loss over batches, which here differ in size; this one is
    over rows, and takes its place.
    """
    logits: Any = prediction.predictions  # (n, 2)
    y, margin = prediction.label_ids, logits[:, 1] - logits[:, 0]
    columns = {"f1": margin > 0, "accuracy": margin > 0, "auroc": margin}
    found = {name: metric_value(name, y, x) or 0.0 for name, x in columns.items()}
    signed = np.where(y == 1, margin, -margin).astype(float)
    return found | {"loss": float(np.logaddexp(0.0, -signed).mean())}


def history(logs: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return the validation numbers of each epoch from a trainer's log."""
    names = ("epoch", "eval_f1", "eval_accuracy", "eval_auroc", "eval_loss")
    return [
        {k: entry[k] for k in names if k in entry}
        for entry in logs
        if "eval_f1" in entry
    ]


def drawn(job: Job, member: int, rows: Rows) -> tuple[Rows, str | None]:
    """Return a member's rows, and the hash of the draw if it has its own.

    Groups are drawn with replacement, and rows of a group stay together.
    """
    if not job.options.bagging:
        return rows, None
    members: dict[str, list[int]] = {}
    for at, group in enumerate(job.train.groups):
        members.setdefault(group, []).append(at)
    groups = list(members.values())
    rng = np.random.default_rng(job.member_seed(member, "bag"))
    drawn = [
        at for g in rng.integers(len(groups), size=len(groups)) for at in groups[g]
    ]
    digest = hashlib.sha256(np.asarray(drawn, dtype="<i8").tobytes()).hexdigest()
    return [rows[at] for at in drawn], digest


def _keep(network: Any, tokenizer: Any, folder: Path, facts: dict[str, Any]) -> None:
    """Leave a member's folder at once; tokenizer None: the root's serves."""
    part = folder.with_name(f"checkpoint-{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with quiet():
        network.save_pretrained(part)
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
    text = json.dumps(facts, indent=2)
    (part / FACTS).write_text(text + "\n", encoding="utf-8")
    part.replace(folder)


def _lengths(rows: Any) -> list[int]:
    return [len(row["input_ids"]) for row in rows]
