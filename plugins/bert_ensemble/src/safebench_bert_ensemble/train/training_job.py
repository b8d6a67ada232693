"""An ensemble's training: its data, its members, and the arguments of the library.

A job is plain data, because it is handed to worker processes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError
from safebench.torch_utils import ModelFolder, TrainingOverrides
from safebench_bert_ensemble.model.encoding import context_and_text
from safebench_bert_ensemble.options import BALANCED, N_CLASSES, EnsembleTrainOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    import transformers

    from safebench.records import Dataset

CHECKPOINT_FOLDER = "checkpoint-{}"
_RESERVED = {
    "use_cpu": "--device",
    "full_determinism": "--seed",
    "bf16": "--precision",
    "fp16": "--precision",
    "per_device_eval_batch_size": "--eval-tokens",
}
# What an evaluation returns, and the best epoch may be the best in.
VALIDATION_METRICS = ("f1", "accuracy", "auroc", "loss")


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts as (context, text), with 1 for harmful, and what is drawn together."""

    texts: list[tuple[str, str]]
    labels: list[int]
    groups: list[str]

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> LabelledTexts:
        """Return what members learn from, of rows that all have a label."""
        return cls(
            texts=[context_and_text(sample) for sample in dataset.samples],
            labels=[int(truth.label.value is True) for truth in dataset.ground_truth],
            groups=[sample.group or sample.content for sample in dataset.samples],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """Members to train: a base each, options, data, and the folder they are left in."""

    options: EnsembleTrainOptions
    bases: tuple[ModelFolder, ...]
    out: Path
    train: LabelledTexts
    val: LabelledTexts
    seed: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the job as text, for a process that trains some of its members."""
        return json.dumps(asdict(self), default=str)  # paths as text

    @classmethod
    def from_json(cls, text: str) -> TrainingJob:
        """Return the job that `to_json` wrote."""
        content = json.loads(text)
        lists = ("bases", "class_weights")
        options = content["options"] | {k: tuple(content["options"][k]) for k in lists}
        bases = (base | {"folder": Path(base["folder"])} for base in content["bases"])
        # JSON has no tuples and no paths: all get their types again.
        splits = {
            name: LabelledTexts(
                **content[name]
                | {"texts": [tuple(text) for text in content[name]["texts"]]}
            )
            for name in ("train", "val")
        }
        return cls(
            **content
            | splits
            | {
                "options": EnsembleTrainOptions(**options),
                "bases": tuple(ModelFolder(**base) for base in bases),
                "out": Path(content["out"]),
            }
        )

    def class_weights(self) -> tuple[float, ...]:
        """Return the weights of safe and harmful rows; () where none are asked for.

        Balanced are n / (2 n_c), as scikit-learn has them: their mean over rows is 1.
        Raises `DataError` where a class has no row.
        """
        given = self.options.class_weights
        if given != (BALANCED,):
            return tuple(map(float, given))
        counts = [self.train.labels.count(label) for label in range(N_CLASSES)]
        if not all(counts):
            raise DataError(
                "--class-weights balanced: the training rows are all of one class"
            )
        return tuple(sum(counts) / (N_CLASSES * count) for count in counts)

    def member_name(self, member: int) -> str:
        """Return the name of a member, which is that of its folder."""
        width = max(2, len(str(len(self.bases))))
        return f"member-{member + 1:0{width}d}"

    def member_folder(self, member: int) -> Path:
        """Return a member's folder; it is there if and only if it is finished."""
        return self.out / self.member_name(member)

    def checkpoint_folder(self, member: int) -> Path:
        """Return where an unfinished member keeps its checkpoints."""
        return self.out / CHECKPOINT_FOLDER.format(self.member_name(member))

    def member_seed(self, member: int, purpose: str) -> int:
        """Return a seed of 31 bits for one purpose (head, order, bag) of one member.

        A hash, so that neither neighbouring members nor purposes share a stream.
        """
        text = f"{self.seed}\x1f{member}\x1f{purpose}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


def training_overrides(overrides: Mapping[str, Any]) -> TrainingOverrides:
    """Return the library's fields that a user set, checked and converted."""
    return TrainingOverrides(overrides, _RESERVED, metrics=VALIDATION_METRICS)


def training_arguments(
    options: EnsembleTrainOptions,
    folder: Path,
    seeds: tuple[int, int],
    device: torch.device,
    precision: str,
    overrides: Mapping[str, Any],
) -> transformers.TrainingArguments:
    """Return the arguments of one member; `seeds` are for weights and for the order."""
    defaults: dict[str, Any] = {
        "num_train_epochs": options.epochs,
        "per_device_train_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.grad_accumulation,
        "learning_rate": options.lr,
        "warmup_steps": options.warmup,
        "weight_decay": options.weight_decay,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_strategy": "epoch",
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "f1",
        "greater_is_better": True,
        "report_to": "none",
        # The patience that is left must survive an interruption.
        "restore_callback_states_from_checkpoint": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": device.type == "cuda",
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
    }
    fixed = {
        "output_dir": str(folder),
        "seed": seeds[0],
        "data_seed": seeds[1],
        "use_cpu": device.type == "cpu",
    }
    return training_overrides(overrides).build(defaults, fixed, one_gpu=True)
