"""The frozen encoder of a stack: what it makes of an exchange, without learning.

Its features are the mean states of prompt and of response, and their product: what both
say at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.errors import DataError
from safebench.torch_utils import Batcher, ModelFolder, Placement, quiet_transformers

from .encoding import PROMPT, RESPONSE, ExchangeEncoder, TokenizationError
from .inference import SINGLE_THREAD_PARAMETERS, build_collator
from .network import choose_padding, load_mean_pooling, masked_mean
from .template import PAIR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from safebench.typing import Array

    from .encoding import EncodedExchange


class ExchangeEmbedder:
    """An encoder, its tokenizer, and how it reads exchanges."""

    def __init__(
        self,
        folder: Path,
        label: str,
        *,
        placement: Placement,
        max_length: int,
        layers: int = 0,
        batch_tokens: int = 0,
    ) -> None:
        network = load_mean_pooling(
            folder, label, placement.dtype, layers=layers, new_head=True
        )
        self.tokenizer = ModelFolder(folder, label).tokenizer()
        pad_token_id = choose_padding(network, self.tokenizer)
        self.collator = build_collator(network, self.tokenizer, pad_token_id)
        # The head was made for the loading alone.
        self.body = network.body.to(placement.device).eval()
        placement.limit_threads(self.body, SINGLE_THREAD_PARAMETERS)
        positions = getattr(self.body.config, "max_position_embeddings", None)
        self.encoder = ExchangeEncoder(
            self.tokenizer, PAIR, min(max_length, positions or max_length)
        )
        self.batcher = Batcher.for_device(placement.device.type, batch_tokens)
        self.width = 3 * int(self.body.config.hidden_size)

    def embed(
        self,
        exchanges: Sequence[tuple[str, str]],
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Array:
        """Return features (N, 3 H); raises `DataError` for what has no tokens."""
        try:
            encoded = [self.encoder.encode(*exchange) for exchange in exchanges]
        except TokenizationError as error:
            raise DataError(f"a response {error}") from error
        return self.embed_encoded(encoded, on_progress)

    @torch.inference_mode()
    def embed_encoded(
        self,
        encoded: Sequence[EncodedExchange],
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Array:
        """Return the features (N, 3 H) of token ids."""
        features = np.zeros((len(encoded), self.width), dtype=np.float32)
        for planned in self.batcher.plan([len(row.ids) for row in encoded]):
            inputs = self.collator.pad_rows([encoded[i] for i in planned])
            features[planned] = self._forward(inputs)
            on_progress(len(planned))
        return features

    def _forward(self, inputs: dict[str, torch.Tensor]) -> Any:
        device = next(self.body.parameters()).device
        moved = {name: x.to(device) for name, x in inputs.items()}
        sides = moved.pop("sides")
        states = self.body(**moved).last_hidden_state
        prompt, response = (
            masked_mean(states, sides == side) for side in (PROMPT, RESPONSE)
        )
        return torch.cat([prompt, response, prompt * response], dim=1).cpu().numpy()

    def save(self, folder: Path) -> None:
        """Save encoder and tokenizer as Hugging Face libraries load them."""
        with quiet_transformers():
            self.body.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
