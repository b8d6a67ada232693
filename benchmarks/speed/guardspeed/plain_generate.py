"""The usual method: the greedy verdict alone, by batched `generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .setting import Prompt, Setting


def generate_greedy(network: Any, setting: Setting, budget: int) -> list[list[int]]:
    """Return each prompt's greedy tokens; batches are of like length, left-padded."""
    order = sorted(range(len(setting.prompts)), key=lambda i: -len(setting.prompts[i]))
    verdicts: list[list[int]] = [[] for _ in order]
    for start in range(0, len(order), setting.plain_batch):
        rows = order[start : start + setting.plain_batch]
        tokens, mask = _padded([setting.prompts[i] for i in rows], setting)
        out = network.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=budget,
            do_sample=False,
            eos_token_id=sorted(setting.eos),
            pad_token_id=setting.pad,
        )
        for row, generated in zip(
            rows, out[:, tokens.shape[1] :].tolist(), strict=True
        ):
            verdicts[row] = generated
    return verdicts


def _padded(prompts: list[Prompt], setting: Setting) -> tuple[Any, Any]:
    width = max(map(len, prompts))
    ids = [[setting.pad] * (width - len(p)) + list(p) for p in prompts]
    mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
    return (
        torch.tensor(ids, device=setting.device),
        torch.tensor(mask, device=setting.device),
    )
