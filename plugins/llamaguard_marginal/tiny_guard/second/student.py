"""Students: the first guard's weights, trained on towards the teachers' verdicts.

The students of several seeds start from the same weights, so that the mean of their
weights is a guard, too (Wortsman et al., "Model soups", 2022).
"""

from __future__ import annotations

import copy
import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from tiny_guard.build import LABEL_CONFIDENCE, long_examples, make_examples
from tiny_guard.examples import endless_batches
from tiny_guard.training_loop import (
    AVERAGE_FROM,
    AVERAGE_RATE,
    StageSettings,
    Student,
    update_average,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tiny_guard.examples import EncodedRow
    from tiny_guard.rows import TrainingRow
    from tiny_guard.second.recipe import StudentRecipe

    Array = npt.NDArray[np.float64]
    Say = Callable[[str], None]

LONG_BATCH = 48
# Weight of the squared error of a member's log-odds, in units of their spread.
MEMBER_WEIGHT = 0.3
# Steps between two stored states: about two minutes.
STORE_EVERY = 200
# The whole template from the first step on: the weights already know it.
WHOLE_TEMPLATE = (-2.0, -1.0)


def mixed_targets(
    rows: Sequence[TrainingRow], teacher: Array, label_weight: float
) -> Array:
    """P(unsafe) to learn: label and teacher; the teacher alone without a label."""
    labels = np.array([math.nan if r.unsafe is None else r.unsafe for r in rows])
    certain = np.where(labels > 0, LABEL_CONFIDENCE, 1 - LABEL_CONFIDENCE)
    mixed = label_weight * certain + (1 - label_weight) * teacher
    result: Array = np.where(np.isnan(labels), teacher, mixed)
    return result


@dataclass(frozen=True, slots=True)
class Lessons:
    """What the heads on the middle states learn beside the verdict, one row a text.

    `vectors` (texts, hidden) are the encoder's, `members` (texts, members) each
    teacher's log-odds; both centred and in units of their spread.
    """

    vectors: torch.Tensor
    members: torch.Tensor

    @classmethod
    def of(cls, vectors: Array, members: Array) -> Lessons:
        """Standardise both."""
        return cls(*(_standard(values) for values in (vectors, members)))


def _standard(values: Array) -> torch.Tensor:
    spread = (values - values.mean(0)) / values.std(0)
    return torch.from_numpy(spread.astype(np.float32))


class TaughtStudent(Student):
    """A student whose heads also say what the encoder sees, and each teacher says.

    What a teacher knows of a text is more than its verdict: the heads hand it on.
    """

    def __init__(self, model: Any, tokenizer: Any, lessons: Lessons) -> None:
        super().__init__(model, tokenizer, lessons.vectors)
        self.members = lessons.members
        outputs = self.heads.out_features + self.members.shape[1]
        self.heads = torch.nn.Linear(self.heads.in_features, outputs)

    def heads_loss(
        self, outputs: torch.Tensor, target: torch.Tensor, batch: Sequence[EncodedRow]
    ) -> torch.Tensor:
        """As of any student, and the squared error of the teachers' log-odds."""
        count = self.members.shape[1]
        members = self.members[[example.row_number for example in batch]]
        error = (outputs[:, -count:] - members).square().sum()
        said = super().heads_loss(outputs[:, :-count], target, batch)
        return said + MEMBER_WEIGHT * error


def train_student(
    model: Any,
    tokenizer: Any,
    rows: Sequence[TrainingRow],
    targets: Array,
    recipe: StudentRecipe,
    seed: int,
    states: Path,
    say: Say,
    *,
    lessons: Lessons | None = None,
) -> Any:
    """Train a copy of `model` in both stages; goes on from the states of before."""
    short, long = recipe.limits
    every = list(rows)
    stages = (
        (StageSettings(seed, recipe.steps, recipe.rate, bare=WHOLE_TEMPLATE), short),
        (
            StageSettings(
                seed, recipe.long_steps, recipe.long_rate, LONG_BATCH, WHOLE_TEMPLATE
            ),
            long,
        ),
    )
    student = copy.deepcopy(model)
    student.set_attn_implementation("eager")  # twice as fast on a CPU for short texts
    for place, (settings, limit) in enumerate(stages):
        if not settings.steps:
            continue
        examples = make_examples(tokenizer, every, targets, limit, seed)
        if place:
            examples = long_examples(examples, every, seed)
        say(f"seed {seed}, stage {place + 1}: {len(examples)} examples")
        path = states / f"seed-{seed}-stage-{place + 1}.pt"
        torch.manual_seed(seed)  # for the heads
        taught = (
            Student(student, tokenizer, None)
            if lessons is None
            else TaughtStudent(student, tokenizer, lessons)
        )
        student = run_stage(taught, examples, settings, path, say)
    return student


def run_stage(
    student: Student,
    examples: Sequence[EncodedRow],
    settings: StageSettings,
    path: Path,
    say: Say,
) -> Any:
    """Train for the steps of a stage, in bfloat16 products; the averaged model.

    The state is stored in `path` now and then: started again, it goes on from there,
    with the same batches as without the interruption.
    """
    torch.manual_seed(settings.seed)
    draw = random.Random(settings.seed)  # noqa: S311 - an order, no secret
    noise = torch.Generator().manual_seed(settings.seed)
    weights = [*student.model.parameters(), *student.heads.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=settings.rate, weight_decay=0.05)
    averaged = copy.deepcopy(student.model)
    batches = endless_batches(examples, settings.batch, draw)
    start = _restore(path, student, averaged, optimiser, noise)
    student.model.train()
    began, total = time.process_time(), 0.0
    for step in range(1, settings.steps + 1):
        batch = next(batches)
        if step <= start:
            continue
        optimiser.param_groups[0]["lr"] = settings.rate * rate_share(
            step / settings.steps
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, verdict = student.loss(batch, False, noise)
        optimiser.zero_grad()
        cast("Any", loss).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        keep = AVERAGE_RATE if step / settings.steps > AVERAGE_FROM else 0
        update_average(averaged, student.model, keep)
        total += verdict
        if step % STORE_EVERY == 0 or step == settings.steps:
            _store(path, student, averaged, optimiser, noise, step)
            mean = total / (step - start)
            seconds = time.process_time() - began
            say(f"step {step}: verdict loss {mean:.4f}, {seconds:.0f} CPU-seconds")
    return averaged.eval()


def rate_share(done: float) -> float:
    """Share of the learning rate after `done` (0 to 1) of the steps."""
    warm = min(1.0, done / 0.03 + 0.01)
    return warm * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)


def _store(
    path: Path,
    student: Student,
    averaged: Any,
    optimiser: Any,
    noise: torch.Generator,
    step: int,
) -> None:
    """Write the state of a stage after `step`, whole or not at all."""
    state = {
        "step": step,
        "model": student.model.state_dict(),
        "heads": student.heads.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
        "noise": noise.get_state(),
    }
    fresh = path.with_suffix(".new")
    torch.save(state, fresh)
    fresh.replace(path)


def _restore(
    path: Path, student: Student, averaged: Any, optimiser: Any, noise: torch.Generator
) -> int:
    """Read a stage's state, if there is one; the steps that it has done."""
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    student.model.load_state_dict(state["model"])
    student.heads.load_state_dict(state["heads"])
    averaged.load_state_dict(state["averaged"])
    optimiser.load_state_dict(state["optimiser"])
    noise.set_state(state["noise"])
    return int(state["step"])


def mean_of_weights(models: Sequence[Any]) -> Any:
    """Make a model whose every weight is the mean of the models' weights."""
    mean = copy.deepcopy(models[0])
    with torch.no_grad():
        for places in zip(
            mean.parameters(), *(m.parameters() for m in models), strict=True
        ):
            target, *given = places
            target.copy_(torch.stack([one.detach() for one in given]).mean(0))
    return mean
