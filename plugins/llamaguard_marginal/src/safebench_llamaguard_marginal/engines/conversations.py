"""Samples as conversations, which a chat endpoint makes its own prompts of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench_llamaguard_marginal.prompt.prompt_builder import turns_up_to_judged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.records import Sample
    from safebench_llamaguard_marginal.prompt.prompt_builder import SamplePrompts

    from .chat_model import ChatModel


def start_conversations(
    model: ChatModel,
    samples: Sequence[Sample],
    prompts: Sequence[Sequence[SamplePrompts]],
) -> list[str | None]:
    """Tell a model which conversation stands behind the prompt of each sample.

    Returns why a sample cannot be asked about, None where it can.
    """
    conversations = {}
    problems: list[str | None] = []
    for sample, parts in zip(samples, prompts, strict=True):
        problem = _no_conversation(sample, parts)
        problems.append(problem)
        if problem is None and parts[0].prompts:
            ids = tuple(parts[0].prompts[0].ids)
            turns = turns_up_to_judged(sample)
            conversations[ids] = [{"role": t.role, "content": t.text} for t in turns]
    model.converse(conversations)
    return problems


def _no_conversation(sample: Sample, parts: Sequence[SamplePrompts]) -> str | None:
    """Say why a sample is no conversation that a server could make its prompt of."""
    if sample.documents:
        return "a chat endpoint takes no documents"
    if len(parts) > 1:
        return "a chat endpoint takes one question about a sample"
    prompts = parts[0].prompts
    cut = any(p.tokens_dropped and p.dropped_side != "template" for p in prompts)
    if cut or len(prompts) > 1:
        return "too long for a chat endpoint, which takes no part of a conversation"
    return None
