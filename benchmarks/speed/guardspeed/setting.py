"""The input of every method: one network, one grammar, one list of prompts."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from safebench_llamaguard_marginal import SelectiveLogitHead

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.policies import Policy
    from safebench.verdict_tree import Encode, Grammar

Prompt = tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class Setting:
    """A guard and prompts (token ids) that all start with `prefix`.

    `batch_tokens` bounds rows x longest prompt of the engine's batches, `plain_batch`
    the rows of a batched `generate`: the classifier's own default, and what was fastest
    on a CPU. `shaped` says what was done to the logits. `truth` says of each prompt
    whether it is unsafe, and is empty where nobody knows.
    """

    name: str
    network: Any
    pieces: Sequence[bytes]
    eos: frozenset[int]
    pad: int
    grammar: Grammar
    spell: Encode | None
    policy: Policy | None
    prompts: list[Prompt]
    prefix: Prompt
    batch_tokens: int = 8192
    plain_batch: int = 16
    shaped: str = "no"
    truth: tuple[bool, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.device
        return device

    @property
    def block_parameters(self) -> int:
        """The weights that every token passes: all but embedding and head."""
        network = self.network
        total = sum(int(p.numel()) for p in network.model.parameters())
        return total - int(network.get_input_embeddings().weight.numel())

    @property
    def head_parameters(self) -> int:
        """The weights of the output layer."""
        return int(unwrapped_head(self.network).weight.numel())


def unwrapped_head(network: Any) -> Any:
    """Return the network's own output layer, whether the engine has wrapped it."""
    head = network.get_output_embeddings()
    return head.inner if isinstance(head, SelectiveLogitHead) else head


@contextmanager
def with_own_head(setting: Setting) -> Iterator[Any]:
    """Lend the network with its own output layer, as `transformers` loads it."""
    network = setting.network
    wrapped = network.get_output_embeddings()
    network.set_output_embeddings(unwrapped_head(network))
    try:
        yield network
    finally:
        network.set_output_embeddings(wrapped)


def scale_logits(setting: Setting, temperature: float) -> None:
    """Divide the logits by `temperature`, so that trees get wider or narrower.

    The output layer becomes one of its own, untied from the embedding.
    """
    network, head_now = setting.network, unwrapped_head(setting.network)
    base = getattr(head_now, "unheated", head_now.weight.detach())
    head = torch.nn.Linear(base.shape[1], base.shape[0], bias=False, device="meta")
    scaled = (base.float() / temperature).to(base.dtype)
    head.weight = torch.nn.Parameter(scaled, requires_grad=False)
    head.unheated = base
    network.set_output_embeddings(head)
    if hasattr(network, "_tied_weights_keys"):
        network.config.tie_word_embeddings = False
    setting.shaped = f"logits divided by {temperature:.3f}"
