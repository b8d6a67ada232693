"""An encoder that means: the cost is read off the mean states of prompt and response.

Sentence encoders are trained with mean pooling, and their first token says little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from safebench.neural.loading import one_line, quiet

from .network import keep_head_exact

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "head.safetensors"
PROMPT, RESPONSE, FRAME = 0, 1, -1  # whose token it is


class MeanCost(nn.Module):
    """An encoder with one output; needs `sides`, (N, T): whose token each one is."""

    def __init__(self, body: Any, dropout: float = 0.1) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(2 * body.config.hidden_size, 1)
        self.config = body.config

    def forward(self, sides: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        """Return costs as logits (N, 1)."""
        states = self.body(**inputs).last_hidden_state  # (N, T, H)
        means = [mean_of(states, sides == side) for side in (PROMPT, RESPONSE)]
        logits = self.score(self.dropout(torch.cat(means, dim=1)))
        return SequenceClassifierOutput(logits=logits)


def mean_of(states: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean state of the chosen tokens, (N, H); 0 where there are none."""
    weight = chosen.unsqueeze(-1).float()
    return (states.float() * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def load_pooled(
    folder: Path,
    label: str,
    dtype: torch.dtype,
    *,
    layers: int = 0,
    new_head: bool = False,
) -> Any:
    """Return an encoder under the head that is stored beside it, or a new one."""
    extra = {"num_hidden_layers": layers} if layers else {}
    load: Any = transformers.AutoModel.from_pretrained
    with quiet(), one_line(label):
        body = load(folder, dtype=dtype, local_files_only=True, **extra)
        network = MeanCost(body)
        if not new_head:
            network.score.load_state_dict(load_file(folder / HEAD))
    keep_head_exact(network)
    return network


def save_pooled(network: MeanCost, folder: Path) -> None:
    """Save the encoder as Hugging Face libraries load it, and the head beside it."""
    network.body.save_pretrained(folder)
    head = {name: x.contiguous() for name, x in network.score.state_dict().items()}
    save_file(head, folder / HEAD)
