"""A causal language model that answers the prompts which a guard let pass."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
import transformers

from safebench.errors import ModelError
from safebench.records import Turn
from safebench.torch_utils import Batcher, Placement, pad
from safebench_feedback_finetune.guard_loading import load_causal_model
from safebench_llamaguard_marginal import (
    ChatTemplateFormat,
    PromptEncoder,
    PromptError,
    RenderedPrompt,
    end_token_ids,
    locate_model,
    max_prompt_tokens,
    truncate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench_feedback_finetune.options import CollectOptions

    Ids = tuple[int, ...]

# Padded tokens of one batch, answers included.
BATCH_TOKENS_BY_DEVICE = {"cpu": 8192}
DEFAULT_BATCH_TOKENS = 131072


class ResponseGenerator:
    """Answers prompts in batches of similar length, by seeded sampling.

    An answer depends on the seed and on the prompts of its batch. A prompt is rendered
    by the tokenizer's chat template, or continued as it stands if there is none.
    """

    def __init__(self, options: CollectOptions) -> None:
        location = locate_model(options.generator)
        placement = Placement.choose(options.device, options.dtype)
        device = placement.device
        self.options = options
        self.label = location.label
        tokenizer = location.tokenizer()
        self.network = load_causal_model(
            location.folder, location.label, device, placement.dtype
        ).eval()
        self.tokenizer = tokenizer
        self.encoder = PromptEncoder(tokenizer)
        n_embedded = int(self.network.get_input_embeddings().weight.shape[0])
        if len(tokenizer) > n_embedded:
            raise ModelError(
                f"model {self.label!r}: the tokenizer has {len(tokenizer)} tokens, the "
                f"model {n_embedded}; they belong to different models"
            )
        try:
            self.prompt_format = (
                ChatTemplateFormat(tokenizer) if tokenizer.chat_template else None
            )
        except PromptError as error:
            raise ModelError(f"model {self.label!r}: {error}") from error
        self.end_token_ids = sorted(end_token_ids(self.network, tokenizer))
        self.max_prompt_tokens = max_prompt_tokens(
            0, options.max_new_tokens, self.network.config, windows=False
        )
        self.batcher = Batcher(
            BATCH_TOKENS_BY_DEVICE.get(device.type, DEFAULT_BATCH_TOKENS)
        )

    def encode(self, prompt: str) -> Ids:
        """Return the prompt's tokens; one that is too long loses its beginning."""
        turn = Turn("user", prompt)
        if self.prompt_format:
            rendered = self.prompt_format.render([turn])
        else:
            rendered = RenderedPrompt(prompt, ((0, 0, len(prompt)),))
        return truncate(
            self.encoder.encode(rendered), self.max_prompt_tokens, 0, "left"
        ).ids

    def answer(self, prompts: Sequence[str]) -> list[str]:
        """Return an answer to each prompt, "" if the model cannot read the prompt.

        Raises ModelError for a prompt that does not fit into memory alone.
        """
        encoded = [self._encode_or_skip(prompt) for prompt in prompts]
        rows = [row for row, ids in enumerate(encoded) if ids]
        answers = [""] * len(prompts)
        max_new_tokens = self.options.max_new_tokens
        lengths = [len(encoded[row]) + max_new_tokens for row in rows]

        def generate(batch: list[int]) -> list[str]:
            return self._generate([encoded[rows[i]] for i in batch])

        for batch, texts in self.batcher.run(lengths, generate):
            if texts is None:
                raise ModelError(
                    f"model {self.label!r}: no memory for a prompt of "
                    f"{lengths[batch[0]] - max_new_tokens} tokens and its answer"
                )
            for i, text in zip(batch, texts, strict=True):
                answers[rows[i]] = text
        return answers

    def _encode_or_skip(self, prompt: str) -> Ids:
        try:
            return self.encode(prompt)
        except PromptError:
            return ()

    def _generate(self, prompts: Sequence[Ids]) -> list[str]:
        tokens, is_token = pad(prompts)
        device = self.network.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(self._batch_seed(prompts))
            output = self.network.generate(
                input_ids=torch.from_numpy(tokens).to(device),
                attention_mask=torch.from_numpy(is_token.astype("int64")).to(device),
                generation_config=self._generation_config(),
            )
        new_tokens = output[:, tokens.shape[1] :].tolist()
        texts = self.tokenizer.batch_decode(new_tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _generation_config(self) -> Any:
        """Return the sampling of the options, none of the checkpoint's own defaults."""
        options = self.options
        sampling: dict[str, Any] = {}
        if options.temperature:
            sampling = {
                "do_sample": True,
                "temperature": options.temperature,
                "top_p": options.top_p,
                "top_k": 0,  # the library's default of 50 would cut what top_p keeps
            }
        config_class: Any = transformers.GenerationConfig
        return config_class(
            max_new_tokens=options.max_new_tokens,
            eos_token_id=self.end_token_ids or None,
            pad_token_id=self.end_token_ids[0] if self.end_token_ids else 0,
            **sampling,
        )

    def _batch_seed(self, prompts: Sequence[Ids]) -> int:
        """Return a seed of seven bytes (torch takes less than 2**63).

        It is that of the batch, not of the run: a resumed collection starts at another
        batch and must draw the same answers.
        """
        text = repr((self.options.seed, prompts)).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:7])
