"""A MiniLM encoder whose last layers learn to tell harmful texts, in bfloat16 products.

The layers below stay as they were published. Their states of every text are computed
once, and all folds and epochs start from them: that is most of the work saved, and a
brake on learning the few rows by heart.
"""

from __future__ import annotations

import copy
import hashlib
import random
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from tiny_guard.examples import shorten_middle
from tiny_guard.teacher import length_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tiny_guard.second.recipe import TeacherRecipe

MAX_TOKENS = 128
# Tokens of a batch that is only read.
READ_BUDGET = 4096
# The head starts from nothing, the layers from their training.
HEAD_RATE = 10.0
WARM_UP = 0.06
WEIGHT_DECAY = 0.01


@dataclass(frozen=True, slots=True)
class TextStates:
    """States of all texts below the trained layers, one text after the other.

    `flat` (tokens of all texts, hidden) in bfloat16; text i has the tokens from
    `starts[i]` up to `starts[i + 1]`.
    """

    flat: torch.Tensor
    starts: torch.Tensor

    def lengths(self, places: Sequence[int]) -> list[int]:
        """Tokens of each of the texts."""
        ends = (self.starts[1:] - self.starts[:-1])[list(places)]
        return [int(n) for n in ends]

    def padded(self, places: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """States (texts, longest, hidden) in float32, and which tokens are there."""
        parts = [self.flat[self.starts[i] : self.starts[i + 1]] for i in places]
        states = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True).float()
        sizes = torch.tensor([len(part) for part in parts])
        return states, torch.arange(states.shape[1]) < sizes[:, None]

    def means(self) -> npt.NDArray[np.float32]:
        """Mean state of each text, (texts, hidden)."""
        ends = self.starts.tolist()
        parts = (self.flat[start:end].float().mean(0) for start, end in pairwise(ends))
        return torch.stack(list(parts)).numpy()


def load_encoder(folder: Path) -> Any:
    """Load MiniLM, with plain attention: twice as fast on a CPU for short texts."""
    model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    model.set_attn_implementation("eager")
    return model.requires_grad_(False)


def states_below(
    folder: Path, recipe: TeacherRecipe, texts: Sequence[str]
) -> TextStates:
    """Run the layers below the trained ones; long texts lose their middle."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = load_encoder(folder)
    model.encoder.layer = model.encoder.layer[: -recipe.trained_layers]
    cut = [shorten_middle(text, recipe.characters) for text in texts]
    ids = tokenizer(cut, truncation=True, max_length=MAX_TOKENS)["input_ids"]
    lengths = [len(one) for one in ids]
    starts = torch.tensor([0, *np.cumsum(lengths)])
    flat = torch.empty(int(starts[-1]), model.config.hidden_size, dtype=torch.bfloat16)
    for batch in length_batches(lengths, READ_BUDGET):
        padded = tokenizer.pad(
            {"input_ids": [ids[i] for i in batch]}, return_tensors="pt"
        )
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model(**padded).last_hidden_state
        for place, i in enumerate(batch):
            flat[starts[i] : starts[i + 1]] = hidden[place, : lengths[i]].bfloat16()
    return TextStates(flat, starts)


def cached_states(
    folder: Path, recipe: TeacherRecipe, texts: Sequence[str], path: Path
) -> TextStates:
    """As `states_below`, kept in a file; ValueError where that is of other texts."""
    digest = hashlib.sha256(
        "\0".join(texts).encode("utf-8", "surrogatepass")
    ).hexdigest()
    if path.is_file():
        flat, starts, stored = torch.load(path, weights_only=True)
        if stored != digest:
            raise ValueError(f"{path} is of other texts; remove it")
        return TextStates(flat, starts)
    states = states_below(folder, recipe, texts)
    fresh = path.with_suffix(".new")
    torch.save((states.flat, states.starts, digest), fresh)
    fresh.replace(path)
    return states


class HarmEncoder:
    """The trained layers, the mean over the text, and the log-odds of unsafe."""

    def __init__(self, folder: Path, recipe: TeacherRecipe, seed: int) -> None:
        torch.manual_seed(seed)
        self.recipe = recipe
        self.seed = seed
        layers = load_encoder(folder).encoder.layer[-recipe.trained_layers :]
        self.layers = copy.deepcopy(layers).requires_grad_(True)
        self.head = torch.nn.Linear(self.layers[0].output.dense.out_features, 1)

    def odds(self, states: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Log-odds (texts,) of states (texts, tokens, hidden)."""
        mask = torch.zeros(there.shape).masked_fill(~there, -1e9)[:, None, None]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for layer in self.layers:
                states = layer(states, mask)
        states = states.float() * there.unsqueeze(-1)
        pooled = states.sum(1) / there.sum(1, keepdim=True)
        result: torch.Tensor = self.head(pooled)[:, 0]
        return result

    def fit(
        self, states: TextStates, places: Sequence[int], labels: npt.NDArray[np.bool_]
    ) -> HarmEncoder:
        """Learn the labels of the texts at `places`; the rate falls to nothing."""
        target = torch.from_numpy(labels.astype(np.float32))
        batches = list(self._batches(states.lengths(places)))
        rate = self.recipe.rate
        groups: list[dict[str, Any]] = [
            {"params": [*self.layers.parameters()], "lr": rate},
            {"params": [*self.head.parameters()], "lr": rate * HEAD_RATE},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
        warm = max(1.0, WARM_UP * len(batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / warm, 1 - step / len(batches))
        )
        self.layers.train()
        for batch in batches:
            odds = self.odds(*states.padded([places[i] for i in batch]))
            loss = functional.binary_cross_entropy_with_logits(odds, target[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(groups[0]["params"], 1.0)
            optimiser.step()
            schedule.step()
        self.layers.eval()
        return self

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """For every epoch batches of texts of like length, in random order."""
        draw = random.Random(self.seed)  # noqa: S311 - an order, no secret
        size = self.recipe.batch
        for _ in range(self.recipe.epochs):
            noisy = [length * draw.uniform(0.9, 1.1) for length in lengths]
            order = sorted(range(len(lengths)), key=noisy.__getitem__)
            batches = [order[i : i + size] for i in range(0, len(order), size)]
            draw.shuffle(batches)
            yield from batches

    def decision_function(
        self, states: TextStates, places: Sequence[int]
    ) -> npt.NDArray[np.float64]:
        """Log-odds of unsafe of the texts at `places`, (places,)."""
        result = np.zeros(len(places))
        for batch in length_batches(states.lengths(places), READ_BUDGET):
            with torch.inference_mode():
                odds = self.odds(*states.padded([places[i] for i in batch]))
                result[batch] = odds.double().numpy()
        return result
