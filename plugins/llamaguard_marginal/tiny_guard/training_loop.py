"""The training loop: answer-only loss, soft verdict targets, averaged weights."""

from __future__ import annotations

import copy
import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional
from transformers import DynamicCache

from tiny_guard.examples import EncodedRow, endless_batches, shared_prefix_cached

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Share of prompt tokens replaced by random ones.
NOISE = 0.08
# Template tokens after the text, which carry no noise.
TEMPLATE_SUFFIX_TOKENS = 14
# Start of the part of training whose weights are averaged, and the averaging rate.
AVERAGE_FROM = 0.5
AVERAGE_RATE = 0.98


@dataclass(frozen=True, slots=True)
class StageSettings:
    """Settings of one stage of training; the learning rate is a cosine over `steps`.

    Between the two parts of `bare`, rows without the template's shared start give way
    to rows with it: on its ninety constant tokens, attention finds the text late.
    """

    seed: int
    steps: int
    rate: float = 2e-3
    batch: int = 64
    bare: tuple[float, float] = (0.15, 0.3)


def pad_with_noise(
    batch: Sequence[EncodedRow], vocabulary: int, draw: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids (rows, longest), right-padded, with prompt noise; answer mask; text mask."""
    longest = max(len(example.ids) for example in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    is_answer = torch.zeros(len(batch), longest, dtype=torch.bool)
    is_text = torch.zeros(len(batch), longest, dtype=torch.bool)
    for place, example in enumerate(batch):
        end, start = len(example.ids), len(example.ids) - example.answer_length
        ids[place, :end] = torch.tensor(example.ids)
        is_answer[place, start:end] = True
        # The closing words of the template and of the answer stay as they are.
        is_text[place, : max(1, start - TEMPLATE_SUFFIX_TOKENS)] = True
    random_ids = torch.randint(300, vocabulary, ids.shape, generator=draw)
    hit = torch.rand(ids.shape, generator=draw) < NOISE
    return torch.where(hit & is_text, random_ids, ids), is_answer, is_text


def hidden_states(
    model: Any, prefix: list[int], ids: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Hidden states (rows, tokens, hidden) after each layer, the last one normed.

    The prefix, which all rows share, is computed once.
    """
    cache = DynamicCache(config=model.config)
    model.model(torch.tensor([prefix]), past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(ids))
    output = model.model(
        ids, past_key_values=cache, use_cache=True, output_hidden_states=True
    )
    return tuple(output.hidden_states)


class Student:
    """The model in training, with throw-away heads on its middle states.

    The heads read the mean over the text after all layers but the last, and say the
    verdict and the sentence vector. They make the text's states carry meaning early;
    without them the answer's place looks only at the template for a long time.
    """

    def __init__(
        self, model: Any, tokenizer: Any, vectors: torch.Tensor | None
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.vectors = vectors
        width = 0 if vectors is None else vectors.shape[1]
        # One output for the verdict, the others for the sentence vector.
        self.heads = torch.nn.Linear(model.config.hidden_size, 1 + width)
        self.safe, self.unsafe = (
            tokenizer.convert_tokens_to_ids(word) for word in ("safe", "unsafe")
        )

    def loss(
        self, batch: Sequence[EncodedRow], bare: bool, draw: torch.Generator
    ) -> tuple[torch.Tensor, float]:
        """Mean over rows of all losses, and the verdict's share of it.

        `bare` leaves out the shared start of the template, but for the BOS token.
        """
        prefix = shared_prefix_cached(self.tokenizer, batch[0].agent)
        prefix = prefix[:1] if bare else prefix
        ids, is_answer, is_text = pad_with_noise(batch, len(self.tokenizer), draw)
        *_, middle, last = hidden_states(self.model, prefix, ids)
        rows, places = is_answer.nonzero(as_tuple=True)
        # The state before an answer token predicts it.
        log_p = self.model.lm_head(last[rows, places - 1]).log_softmax(-1)
        gold = ids[rows, places]
        picked = -log_p[torch.arange(len(gold)), gold]
        is_verdict = (gold == self.safe) | (gold == self.unsafe)
        starts = is_answer.int().argmax(1)  # where "\n\n" stands in each row
        target = torch.tensor([example.target for example in batch])
        verdict = self._verdict_loss(last[torch.arange(len(ids)), starts], target)
        total = verdict + picked[~is_verdict].sum()
        total = total + self._middle_loss(middle, is_text, target, batch)
        return total / len(batch), float(verdict.detach()) / len(batch)

    def _verdict_loss(self, states: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        log_p = self.model.lm_head(states).log_softmax(-1)
        good, bad = log_p[:, self.safe], log_p[:, self.unsafe]
        loss: torch.Tensor = -(target * bad + (1 - target) * good).sum()
        return loss

    def _middle_loss(
        self,
        middle: torch.Tensor,
        is_text: torch.Tensor,
        target: torch.Tensor,
        batch: Sequence[EncodedRow],
    ) -> torch.Tensor:
        weight = is_text / is_text.sum(1, keepdim=True)  # (rows, tokens)
        pooled = torch.einsum("rt,rth->rh", weight, middle)
        pooled = functional.layer_norm(pooled, pooled.shape[-1:])
        return self.heads_loss(self.heads(pooled), target, batch)

    def heads_loss(
        self, outputs: torch.Tensor, target: torch.Tensor, batch: Sequence[EncodedRow]
    ) -> torch.Tensor:
        """Loss of the heads' outputs (rows, 1 + vector), summed over rows."""
        loss = functional.binary_cross_entropy_with_logits(
            outputs[:, 0], target, reduction="sum"
        )
        if self.vectors is None:
            return loss
        target_vectors = self.vectors[[example.row_number for example in batch]]
        similarity = functional.cosine_similarity(outputs[:, 1:], target_vectors)
        return loss + (1 - similarity).sum()


def train_stage(
    student: Student,
    examples: Sequence[EncodedRow],
    recipe: StageSettings,
    progress: Callable[[str], None],
) -> Any:
    """Train for the given number of steps and return the averaged model."""
    torch.manual_seed(recipe.seed)
    draw = random.Random(recipe.seed)  # noqa: S311 - an order, no secret
    noise = torch.Generator().manual_seed(recipe.seed)
    weights = [*student.model.parameters(), *student.heads.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=0.05)
    averaged = copy.deepcopy(student.model)
    began, losses = time.process_time(), 0.0
    student.model.train()
    batches = endless_batches(examples, recipe.batch, draw)
    for step in range(1, recipe.steps + 1):
        batch, done = next(batches), step / recipe.steps
        warm = min(1.0, done / 0.03 + 0.01)
        cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2
        optimiser.param_groups[0]["lr"] = recipe.rate * warm * cosine
        bare = draw.uniform(*recipe.bare) > done
        loss, verdict = student.loss(batch, bare, noise)
        optimiser.zero_grad()
        cast("Any", loss).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        update_average(
            averaged, student.model, AVERAGE_RATE if done > AVERAGE_FROM else 0
        )
        losses += verdict
        if step % 50 == 0:
            spent = time.process_time() - began
            progress(f"step {step:5d}  {spent:5.0f} s  verdict loss {losses / 50:.3f}")
            losses = 0.0
    return averaged.eval()


def update_average(averaged: Any, model: Any, keep: float) -> None:
    """Move the averaged weights towards the model's: new = keep old + (1-keep) it."""
    with torch.no_grad():
        for old, new in zip(averaged.parameters(), model.parameters(), strict=True):
            old.lerp_(new, 1 - keep)
