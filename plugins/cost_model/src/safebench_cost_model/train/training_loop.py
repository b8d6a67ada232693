"""The training of one network, from its base to weights and costs on disk.

A training of several networks trains one after another. What a finished one leaves is
all that the others and the evaluation need, so an interrupted training goes on with
the next one.
"""

from __future__ import annotations

import gc
import json
import shutil
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.errors import ModelError
from safebench.metrics import mean_interval
from safebench.torch_utils import quiet_transformers
from safebench.training import is_main_process
from safebench_cost_model.model.artifact import (
    CHECKPOINT_FOLDER,
    MEMBER_FILE,
    atomic_folder,
    member_folder_name,
)
from safebench_cost_model.model.network import predict_costs

from .evaluation import ranking_correct, sign_correct
from .hf_trainer import (
    build_trainer,
    progress_callback,
    resume_checkpoint,
    training_arguments,
    training_overrides,
)
from .prepared_model import save_network

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from transformers import EvalPrediction

    from safebench.training import Training
    from safebench.typing import Array
    from safebench_cost_model.options import CostTrainOptions

    from .dataset import EncodedPairs, PairSplits
    from .evaluation import PairLabels
    from .prepared_model import PreparedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class CostMember:
    """One of `total` networks, counted from 1; alone it stands in `out` itself."""

    number: int
    total: int
    seed: int
    out: Path
    weights_name: str

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"member {self.number}"

    @property
    def title(self) -> str:
        """The title of its progress bar."""
        return f"{self.name}/{self.total}" if self.total > 1 else "training"

    @property
    def line_prefix(self) -> str:
        """The start of its lines of progress; empty for one alone."""
        return f"{self.title}: " if self.total > 1 else ""

    @property
    def folder(self) -> Path:
        """The folder of its weights and, until it is finished, its checkpoints."""
        return self.out / member_folder_name(self.number, self.total)

    @property
    def weights(self) -> Path:
        """The folder of its weights; it is there if and only if it is finished."""
        return self.folder / self.weights_name

    @property
    def finished(self) -> bool:
        """Tell whether there is nothing left to train."""
        # It is renamed into place when it is whole: there is no half of it.
        return self.weights.is_dir()

    def save(
        self,
        save_weights: Callable[[Path], None],
        costs: Mapping[str, Array],
        **metadata: Any,
    ) -> None:
        """Write weights, costs (N, 2) by split, and metadata, all at once.

        In a launched group, the main process alone writes.
        """
        if not is_main_process():
            return
        content = {
            "seed": self.seed,
            **metadata,
            "costs": {split: values.tolist() for split, values in costs.items()},
        }
        with atomic_folder(self.weights) as folder:
            save_weights(folder)
            text = json.dumps(content)
            (folder / MEMBER_FILE).write_text(text + "\n", encoding="utf-8")

    def read_costs(self) -> dict[str, Array]:
        """Return the costs (N, 2) of each split that it was measured on."""
        path = self.weights / MEMBER_FILE
        try:
            costs = json.loads(path.read_text(encoding="utf-8"))["costs"]
            return {split: np.array(values) for split, values in costs.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ModelError(
                f"{path} is damaged: remove {self.weights}, and train again with "
                "--resume"
            ) from None

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of a finished member."""
        if is_main_process():
            shutil.rmtree(self.folder / CHECKPOINT_FOLDER, ignore_errors=True)


def list_members(training: Training, weights_name: str) -> list[CostMember]:
    """Return the members of a training; `weights_name` is the folder they leave."""
    total = training.options.members
    return [
        CostMember(
            number=i + 1,
            total=total,
            seed=training.seed + i,
            out=training.out,
            weights_name=weights_name,
        )
        for i in range(total)
    ]


def train_member(
    model: PreparedModel, member: CostMember, splits: PairSplits, training: Training
) -> None:
    """Train a member from where it stands, and leave its folder.

    What is kept are the weights of its best evaluation.
    """
    options: CostTrainOptions = training.options
    started = time.monotonic()
    checkpoints = member.folder / CHECKPOINT_FOLDER

    def say(line: str) -> None:
        training.say(f"{member.line_prefix}{line}")

    if member.total > 1:
        say(f"seed {member.seed}")
    arguments = training_arguments(
        options,
        checkpoints,
        rows=len(splits.train.encoded),
        # LoRA has few weights, which start at zero: they take larger steps than a
        # network that is trained already.
        lr=options.lr or (1e-4 if model.lora else 2e-5),
        seed=member.seed,
        overrides=training.arguments,
    )
    checkpoint = resume_checkpoint(checkpoints, resume=training.resume, say=say)
    with (
        progress_callback(member.title, say) as progress,
        quiet_transformers(),
        training_overrides(training.arguments).errors(),
    ):
        trainer = build_trainer(
            model,
            splits,
            options,
            arguments,
            compute_metrics=ValidationMetrics(splits.val.labels),
            progress=progress,
        )
        trainer.train(resume_from_checkpoint=checkpoint)
    trainer.require_finite(model.network, "lower --lr")
    member.save(
        partial(save_network, model.network, model.tokenizer),
        costs={
            name: pair_costs(model, encoded, 2 * options.batch)
            for name, encoded in splits.scored.items()
        },
        steps=trainer.state.global_step,
        best_step=trainer.state.best_global_step,
        seconds=round(time.monotonic() - started, 1),
    )
    # The other processes must find the folder before they ask whether it is there.
    trainer.accelerator.wait_for_everyone()
    member.remove_checkpoints()


def free_memory() -> None:
    """Give back the memory of a network, and of its optimizer, before the next one."""
    gc.collect()  # a trainer refers to itself, so counting references is not enough
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class ValidationMetrics:
    """Computes metrics of predicted costs on the validation pairs, for the trainer."""

    labels: PairLabels

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Return both accuracies with the ends of their intervals, and their mean.

        Raises `ModelError` where costs are not finite.
        """
        costs = np.asarray(prediction.predictions)
        if not np.isfinite(costs).all():
            raise ModelError("training diverged: costs are no numbers; lower --lr")
        columns = {
            "sign_accuracy": sign_correct(self.labels, costs),
            "ranking_accuracy": ranking_correct(self.labels, costs),
        }
        metrics: dict[str, float] = {}
        for name, column in columns.items():
            interval = mean_interval(column, self.labels.group)
            values = {
                name: interval.value,
                f"{name}_low": interval.low,
                f"{name}_high": interval.high,
            }
            metrics |= {key: x for key, x in values.items() if x is not None}
        # One number chooses the checkpoint, and the model is to be good at both.
        metrics["merit"] = sum(metrics[name] for name in columns) / len(columns)
        return metrics


def pair_costs(model: PreparedModel, encoded: EncodedPairs, batch_size: int) -> Array:
    """Return the costs (N, 2) of encoded pairs."""
    costs = []
    for start in range(0, len(encoded), batch_size):
        inputs = model.collator(encoded.pairs[start : start + batch_size])
        row_index = inputs.pop("row_index")
        del inputs["targets"]
        costs.append(predict_costs(model.network, [inputs])[row_index])
    stacked: Array = torch.cat(costs).numpy().astype(float)
    return stacked
