"""A causal language model that answers the prompts which a guard let pass."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
import transformers

from safebench.errors import ModelError
from safebench.neural.device import pick_device, pick_dtype
from safebench.neural.loading import load_tokenizer
from safebench.records import Turn
from safebench_llamaguard_marginal.batching import Batcher
from safebench_llamaguard_marginal.limits import prompt_limit
from safebench_llamaguard_marginal.loading import end_tokens
from safebench_llamaguard_marginal.locate import locate
from safebench_llamaguard_marginal.padding import left_padded
from safebench_llamaguard_marginal.prompts import ChatLayout, PromptError, Rendered
from safebench_llamaguard_marginal.tokens import Encoder, fit

from .loading import load_causal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .options import CollectOptions

BATCH_TOKENS = {"cpu": 8192}
BATCH_TOKENS_ELSEWHERE = 131072


class Generator:
    """Answers prompts in batches of like length, by seeded draws.

    An answer depends on the seed and on the prompts that it is asked with. Each prompt
    is written by the tokenizer's chat template, or stands alone if there is none.
    """

    def __init__(self, options: CollectOptions) -> None:
        found = locate(options.generator)
        device = pick_device(options.device)
        self.options = options
        self.label = found.label
        tokenizer = load_tokenizer(found.folder, found.label)
        self.network = load_causal(
            found.folder, found.label, device, pick_dtype(options.dtype, device)
        ).eval()
        self.tokenizer = tokenizer
        self.encoder = Encoder(tokenizer)
        self.layout = ChatLayout(tokenizer) if tokenizer.chat_template else None
        self.ends = sorted(end_tokens(self.network, tokenizer))
        self.limit = prompt_limit(
            0, options.max_new_tokens, self.network.config, windows=False
        )
        usual = BATCH_TOKENS.get(device.type, BATCH_TOKENS_ELSEWHERE)
        self.batcher = Batcher(usual)

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Return the prompt's tokens, its oldest text cut if it is too long."""
        turn = Turn("user", prompt)
        if self.layout:
            rendered = self.layout.render([turn])
        else:
            rendered = Rendered(prompt, ((0, 0, len(prompt)),))
        return fit(self.encoder.encode(rendered), self.limit, 0, "left").ids

    def answer(self, prompts: Sequence[str]) -> list[str]:
        """Return an answer to each prompt; "" for one that the model cannot be asked.

        Raises ModelError for a prompt that does not fit into memory alone.
        """
        encoded = [self._encoded(prompt) for prompt in prompts]
        asked = [i for i, ids in enumerate(encoded) if ids]
        answers = [""] * len(prompts)
        extra = self.options.max_new_tokens
        lengths = [len(encoded[i]) + extra for i in asked]

        def work(batch: list[int]) -> list[str]:
            return self._generate([encoded[asked[i]] for i in batch])

        for batch, found in self.batcher.run(lengths, work):
            if found is None:
                raise ModelError(
                    f"model {self.label!r}: no memory for a prompt of "
                    f"{lengths[batch[0]] - extra} tokens and its answer"
                )
            for i, text in zip(batch, found, strict=True):
                answers[asked[i]] = text
        return answers

    def _encoded(self, prompt: str) -> tuple[int, ...]:
        try:
            return self.encode(prompt)
        except PromptError:
            return ()

    def _generate(self, prompts: Sequence[tuple[int, ...]]) -> list[str]:
        tokens, real = left_padded(prompts)
        device = self.network.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(self._seed(prompts))
            out = self.network.generate(
                input_ids=torch.from_numpy(tokens).to(device),
                attention_mask=torch.from_numpy(real.astype("int64")).to(device),
                generation_config=self._settings(),
            )
        new = out[:, tokens.shape[1] :].tolist()
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _settings(self) -> Any:
        """Return how answers are drawn, and nothing of what the checkpoint would."""
        options = self.options
        drawn: dict[str, Any] = {}
        if options.temperature:
            drawn = {
                "do_sample": True,
                "temperature": options.temperature,
                "top_p": options.top_p,
                "top_k": 0,
            }
        settings: Any = transformers.GenerationConfig
        return settings(
            max_new_tokens=options.max_new_tokens,
            eos_token_id=self.ends or None,
            pad_token_id=self.ends[0] if self.ends else 0,
            **drawn,
        )

    def _seed(self, prompts: Sequence[tuple[int, ...]]) -> int:
        text = repr((self.options.seed, prompts)).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:7])
