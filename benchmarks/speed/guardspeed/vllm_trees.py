"""Trees by one-token requests to vLLM with prefix caching, where it is installed."""

from __future__ import annotations

import math
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .setting import Setting

Node = tuple[int, tuple[int, ...], float]  # prompt, path, P(path)
_TOP = 32  # log-probabilities a request


def available() -> bool:
    """Tell whether vLLM can be imported."""
    return find_spec("vllm") is not None


class VllmTrees:
    """Grows all prompts' trees level by level, one request a node."""

    def __init__(self, setting: Setting) -> None:
        self._vllm: Any = import_module("vllm")
        self._setting = setting
        self._folder = TemporaryDirectory()
        setting.network.save_pretrained(Path(self._folder.name))
        self._engine: Any = self._vllm.LLM(
            model=self._folder.name,
            skip_tokenizer_init=True,
            enable_prefix_caching=True,
            max_logprobs=_TOP,
            gpu_memory_utilization=0.45,  # the other methods' network stays loaded
        )

    def grow(self, eps: float, budget: int) -> list[int]:
        """Return how many nodes were run for each prompt."""
        prompts, eos = self._setting.prompts, self._setting.eos
        counts = [0] * len(prompts)
        level: list[Node] = [(row, (), 1.0) for row in range(len(prompts))]
        while level:
            requests = [[*prompts[row], *path] for row, path, _ in level]
            next_level: list[Node] = []
            for (row, path, mass), logprobs in zip(
                level, self._request(requests), strict=True
            ):
                counts[row] += 1
                for token, logp in logprobs.items():
                    child = mass * math.exp(logp)
                    if child >= eps and token not in eos and len(path) + 1 < budget:
                        next_level.append((row, (*path, token), child))
            level = next_level
        return counts

    def _request(self, prompts: list[list[int]]) -> list[dict[int, float]]:
        sampling = self._vllm.SamplingParams(max_tokens=1, temperature=0, logprobs=_TOP)
        inputs = [self._vllm.TokensPrompt(prompt_token_ids=ids) for ids in prompts]
        answers = self._engine.generate(inputs, sampling, use_tqdm=False)
        return [
            {
                token: logprobs.logprob
                for token, logprobs in a.outputs[0].logprobs[0].items()
            }
            for a in answers
        ]
