"""Encoded examples, in an order that a resumed training repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset, Sampler

from .objective import Targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from .examples import Drawn

    Ids = tuple[int, ...]

STRETCH = 32  # batches whose rows are sorted by length together


class Examples(Dataset[int]):
    """Examples with their prompts as token ids; rows are what a `Trainer` passes on.

    Weights are divided by their mean, so that the learning rate means the same
    whatever the mix.
    """

    def __init__(self, drawn: Sequence[Drawn], prompts: Sequence[Ids]) -> None:
        assert len(drawn) == len(prompts), f"{len(drawn)} and {len(prompts)}"
        self.prompts = list(prompts)
        self.label = torch.tensor([one.target for one in drawn])
        self.base = torch.tensor([one.base for one in drawn])
        ce = torch.tensor([one.ce for one in drawn])
        kl = torch.tensor([one.kl for one in drawn])
        scale = len(drawn) / ce.sum() if ce.sum() else 1.0
        self.ce, self.kl = ce * scale, kl * scale

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, row: int) -> int:
        return row

    def targets(self, rows: Tensor) -> Targets:
        """Return what the prompts of these rows should come to."""
        columns = (self.label, self.ce, self.base, self.kl)
        return Targets(*(column.to(rows.device)[rows].float() for column in columns))


def collate(rows: Sequence[int]) -> dict[str, Any]:
    """Return a batch: the numbers of its rows."""
    return {"rows": torch.tensor(rows)}


class LengthOrder(Sampler[int]):
    """Shuffled rows, like lengths together; depends on seed and epoch alone."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of that epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        source = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        shuffled: list[int] = torch.randperm(
            len(self.lengths), generator=source
        ).tolist()
        size = self.batch * STRETCH
        batches = []
        for at in range(0, len(shuffled), size):
            rows = sorted(shuffled[at : at + size], key=lambda row: self.lengths[row])
            batches += [
                rows[i : i + self.batch] for i in range(0, len(rows), self.batch)
            ]
        # a short batch stays last: another place would shift all batches after it
        short = [batches.pop()] if batches and len(batches[-1]) < self.batch else []
        order: list[int] = torch.randperm(len(batches), generator=source).tolist()
        for batch in [*(batches[i] for i in order), *short]:
            yield from batch
