"""A `transformers.Trainer` whose batches hold rows of like length.

Encoders of this size spend most of their time on padding where rows come in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.torch_utils import Batcher, DataParallelTrainer
from safebench_bert_ensemble.model.checkpoints import load_padding_tokenizer
from safebench_bert_ensemble.model.encoding import (
    encode_windows,
    token_limit,
    window_rows,
)
from safebench_bert_ensemble.model.ensemble import MIN_LENGTH_RATIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.torch_utils import ModelFolder
    from safebench.typing import Array

    from .training_job import LabelledTexts, TrainingJob

    Rows = list[dict[str, Any]]
    Loader = torch.utils.data.DataLoader[Any]

WINDOW_BATCHES = 50  # batches whose rows are sorted by length together


class LengthBatchSampler(torch.utils.data.Sampler[list[int]]):
    """Batches of rows for each epoch, by `seed` and epoch alone.

    So a resumed training sees the batches that an uninterrupted one would. Rows are
    shuffled, sorted by length within windows of 50 batches, and the batches shuffled.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        drop_last: bool = False,
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        self.drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self.epoch = epoch

    def __len__(self) -> int:
        n_full, short = divmod(len(self.lengths), self.batch_size)
        return n_full + bool(short and not self.drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches()

    def batches(self) -> list[list[int]]:
        """Return this epoch's batches of row numbers; the short one comes last."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        size = WINDOW_BATCHES * self.batch_size
        windows = [order[start : start + size] for start in range(0, len(order), size)]
        rows = np.concatenate([self._sorted(window) for window in windows])
        n_full = len(rows) // self.batch_size * self.batch_size
        full = rows[:n_full].reshape(-1, self.batch_size)
        short = rows[n_full:]
        batches: list[list[int]] = full[rng.permutation(len(full))].tolist()
        has_short = len(short) and not self.drop_last
        return [*batches, short.tolist()] if has_short else batches

    def _sorted(self, rows: Array) -> Array:
        # Longest first, so that the short last batch holds short rows.
        return rows[np.argsort(-self.lengths[rows], kind="stable")]


class MemberTrainer(DataParallelTrainer):
    """Trains on `LengthBatchSampler`, and evaluates on batches of like length."""

    def __init__(
        self, *, eval_tokens: int, class_weights: Sequence[float] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.eval_tokens = eval_tokens
        self.class_weights = torch.tensor(class_weights) if class_weights else None
        if class_weights:  # the loss is ours, and a mean over rows
            self.model_accepts_loss_kwargs = False

    def batch_loss(self, model: Any, inputs: dict[str, Any]) -> tuple[Any, Any]:
        """Return the mean over B rows of weight * cross-entropy, and the outputs.

        The weights are not divided by their sum in the batch: a row counts the same in
        whichever batch it falls.
        """
        if self.class_weights is None:
            return super().batch_loss(model, inputs)
        labels = inputs["labels"]
        outputs = model(**{k: x for k, x in inputs.items() if k != "labels"})
        losses = torch.nn.functional.cross_entropy(
            outputs.logits.float(),
            labels,
            reduction="none",
            label_smoothing=self.args.label_smoothing_factor,
        )
        weights = self.class_weights.to(losses.device)[labels]
        return (weights * losses).mean(), {"loss": None, "logits": outputs.logits}

    def train_batches(self) -> LengthBatchSampler:
        """Return shuffled batches of like length, the same for the same epoch."""
        return LengthBatchSampler(
            row_lengths(self.train_dataset),
            self.args.train_batch_size,
            self.args.data_seed or 0,
            drop_last=self.args.dataloader_drop_last,
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Loader:
        """Return batches under the token budget."""
        rows: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        loader: Loader = torch.utils.data.DataLoader(
            rows,
            batch_sampler=eval_batches(row_lengths(rows), self.eval_tokens),
            collate_fn=self.data_collator,
            **self.loader_settings,
        )
        prepared: Loader = self.accelerator.prepare(loader)
        return prepared


@dataclass(frozen=True, slots=True)
class TokenizedRows:
    """Training and validation rows of one base, tokenized once for all its members."""

    tokenizer: Any
    train: Rows
    val: Rows


def tokenize_rows(job: TrainingJob, base: ModelFolder) -> TokenizedRows:
    """Return the rows of a job as one base's tokenizer reads them."""
    tokenizer = load_padding_tokenizer(base.folder, base.label)
    config = base.config()
    max_length = token_limit(config, tokenizer, job.options.max_length)
    return TokenizedRows(
        tokenizer,
        train=_labelled_rows(tokenizer, job.train, max_length),
        val=_labelled_rows(tokenizer, job.val, max_length),
    )


def _labelled_rows(tokenizer: Any, data: LabelledTexts, max_length: int) -> Rows:
    rows = window_rows(encode_windows(tokenizer, data.texts, max_length))
    return [row | {"labels": y} for row, y in zip(rows, data.labels, strict=True)]


def padding_shares(job: TrainingJob, tokens: TokenizedRows) -> dict[str, float]:
    """Return the share of padding in training and evaluation batches of a base."""
    train, val = row_lengths(tokens.train), row_lengths(tokens.val)
    batches = LengthBatchSampler(train, job.options.batch_size, job.seed).batches()
    return {
        "train": padding_share(train, batches),
        "val": padding_share(val, eval_batches(val, job.options.eval_tokens)),
    }


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Return the share of padding among all tokens of some batches, in [0, 1)."""
    real = sum(lengths[row] for batch in batches for row in batch)
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    return 1 - real / padded if padded else 0.0


def eval_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return batches as the ensemble makes them when it classifies."""
    return Batcher(budget, MIN_LENGTH_RATIO).plan(lengths)


def row_lengths(rows: Any) -> list[int]:
    """Return the tokens of each row."""
    return [len(row["input_ids"]) for row in rows]
