"""The training of one network, from its base to weights and measured costs on disk."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.errors import ModelError
from safebench.neural.loading import quiet

from .arguments import arguments_for
from .artifact import save
from .checkpoints import resumed_from
from .layout import CHECKPOINTS
from .measures import order_right, sign_right
from .network import score
from .trainer import build_trainer
from .watching import watched

if TYPE_CHECKING:
    from safebench.training import Training

    from .batches import EncodedPairs
    from .measures import Told
    from .members import Member
    from .options import TrainOptions
    from .parts import Parts
    from .ready import Ready

    Array = np.ndarray[Any, np.dtype[Any]]


def learn(ready: Ready, member: Member, parts: Parts, training: Training) -> None:
    """Train a member from where it stands, and leave its folder.

    What is kept are the weights of its best evaluation.
    """
    options: TrainOptions = training.options
    started = time.monotonic()
    folder = member.folder / CHECKPOINTS

    def say(line: str) -> None:
        training.say(f"{member.before}{line}")

    if member.total > 1:
        say(f"seed {member.seed}")
    arguments = arguments_for(
        options,
        folder,
        pairs=len(parts.train.encoded),
        lr=options.lr or (1e-4 if ready.lora else 2e-5),
        seed=member.seed,
        given=training.arguments,
    )
    measure = Evaluation(parts.val.truth)
    last = resumed_from(folder, resume=training.resume, say=say)
    with watched(member.title, say) as watch, quiet():
        trainer = build_trainer(
            ready, parts, options, arguments, measure=measure, watch=watch
        )
        trainer.train(resume_from_checkpoint=last)
    member.keep(
        partial(save, ready.network, ready.tokenizer),
        costs={
            name: costs_of_pairs(ready, part.encoded, 2 * options.batch)
            for name, part in parts.measured.items()
        },
        steps=trainer.state.global_step,
        best_step=trainer.state.best_global_step,
        seconds=round(time.monotonic() - started, 1),
    )
    trainer.accelerator.wait_for_everyone()
    member.tidy()


def free() -> None:
    """Give back the memory of a network, and of its optimiser, before the next one."""
    gc.collect()  # a trainer refers to itself
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Turns predictions on the validation part into numbers with their intervals."""

    truth: Told

    def __call__(self, predicted: Any) -> dict[str, float]:
        """Return both accuracies with the ends of their intervals, and their mean."""
        from safebench.statistics import mean_interval

        costs = np.asarray(predicted.predictions)
        if not np.isfinite(costs).all():
            raise ModelError("training diverged: costs are no numbers; lower --lr")
        columns = {
            "sign_accuracy": sign_right(self.truth, costs),
            "ranking_accuracy": order_right(self.truth, costs),
        }
        found: dict[str, float] = {}
        for name, column in columns.items():
            got = mean_interval(column, self.truth.group)
            ends = {name: got.value, f"{name}_low": got.low, f"{name}_high": got.high}
            found |= {key: end for key, end in ends.items() if end is not None}
        found["merit"] = sum(found[name] for name in columns) / len(columns)
        return found


def costs_of_pairs(ready: Ready, encoded: EncodedPairs, batch: int) -> Array:
    """Return the costs (N, 2) of encoded pairs."""
    found = []
    for start in range(0, len(encoded), batch):
        inputs = ready.collator(encoded.pairs[start : start + batch])
        where = inputs.pop("where")
        del inputs["targets"]
        found.append(score(ready.network, [inputs])[where])
    costs: Array = torch.cat(found).numpy().astype(float)
    return costs
