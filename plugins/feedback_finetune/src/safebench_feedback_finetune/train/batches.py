"""Encoded training examples as a torch dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

from .loss import LossTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .examples import TrainingExample

    Ids = tuple[int, ...]


class EncodedExamples(Dataset[int]):
    """Examples with their prompts as token ids.

    An item is its own row number: a `Trainer` would pad and move token ids, which the
    scorer does already. Weights are divided by their mean, so that one learning rate
    suits every mix of examples.
    """

    def __init__(
        self, examples: Sequence[TrainingExample], prompts: Sequence[Ids]
    ) -> None:
        assert len(examples) == len(prompts), f"{len(examples)} and {len(prompts)}"
        self.prompts = list(prompts)
        self.label = torch.tensor([example.target for example in examples])
        self.base_p_unsafe = torch.tensor([e.base_p_unsafe for e in examples])
        ce_weight = torch.tensor([example.ce_weight for example in examples])
        kl_weight = torch.tensor([example.kl_weight for example in examples])
        # Both by the mean of one: the ratio of the two losses is the caller's.
        scale = len(examples) / ce_weight.sum() if ce_weight.sum() else 1.0
        self.ce_weight, self.kl_weight = ce_weight * scale, kl_weight * scale

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, row: int) -> int:
        return row

    def targets(self, rows: Tensor) -> LossTargets:
        """Return the targets of rows (B,), on the device of `rows`."""
        columns = (self.label, self.ce_weight, self.base_p_unsafe, self.kl_weight)
        return LossTargets(
            *(column.to(rows.device)[rows].float() for column in columns)
        )


def collate(rows: Sequence[int]) -> dict[str, Any]:
    """Return a batch: its row numbers as a tensor (B,)."""
    return {"rows": torch.tensor(rows)}
