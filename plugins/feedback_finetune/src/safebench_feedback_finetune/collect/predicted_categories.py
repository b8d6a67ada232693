"""Predict which categories of its policy a guard names for what it blocks."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from safebench_llamaguard_marginal import category_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench_feedback_finetune.scorer import VerdictScorer
    from safebench_llamaguard_marginal import HfModel

    Ids = tuple[int, ...]

MAX_CATEGORY_TOKENS = 24  # more than a line of a few codes needs


def predict_categories(
    scorer: VerdictScorer, prompts: Sequence[Ids]
) -> list[tuple[str, ...]]:
    """Return the category codes that the guard lists after "unsafe" for each prompt.

    Decoded greedily, to the end of the line. `prompts` are encoded by the scorer. Codes
    that the policy does not have are left out.
    """
    categories: list[tuple[str, ...]] = [()] * len(prompts)
    if not prompts:
        return categories
    model = scorer.inference_model()
    inputs = [prompt + scorer.unsafe_ids for prompt in prompts]

    def decode(batch: list[int]) -> list[list[int]]:
        return _greedy_continuations(model, [inputs[i] for i in batch])

    for batch, continuations in scorer.batcher.run(
        [len(ids) for ids in inputs], decode
    ):
        # None stands for a prompt that does not fit into memory. Its scores are known
        # by now; it goes without categories rather than ending the collection.
        for i, tokens in zip(batch, continuations or (), strict=False):
            categories[i] = _policy_codes(scorer, tokens)
    return categories


def _greedy_continuations(model: HfModel, prompts: Sequence[Ids]) -> list[list[int]]:
    """Return the likeliest tokens after each prompt, to the end of the line."""
    session = model.open(prompts)
    # `rows` are the prompts that still go on, `parents` the tree nodes of their last
    # tokens: -1 is a prompt's root, and each expanded token gets the next number.
    rows = np.arange(len(prompts))
    parents = np.full(len(prompts), -1)
    logits, n_nodes = np.asarray(session.root_logits()), 0
    continuations: list[list[int]] = [[] for _ in prompts]
    for _ in range(MAX_CATEGORY_TOKENS):
        tokens = logits.argmax(axis=1)
        unfinished = [
            i
            for i, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True))
            if not _ends_category_line(model, continuations[row], token)
        ]
        rows, parents, tokens = (
            rows[unfinished],
            parents[unfinished],
            tokens[unfinished],
        )
        if not len(rows):
            break
        for row, token in zip(rows, tokens.tolist(), strict=True):
            continuations[row].append(token)
        logits = np.asarray(session.expand(rows, parents, tokens))
        parents = n_nodes + np.arange(len(rows))
        n_nodes += len(rows)
    return continuations


def _ends_category_line(model: HfModel, before: Sequence[int], token: int) -> bool:
    """Return whether a token ends the line of codes.

    The first line feed begins that line: Llama Guard writes its codes below "unsafe".
    """
    if token in model.eos:
        return True
    has_text = b"".join(model.token_bytes[i] for i in before).strip()
    return bool(has_text) and b"\n" in model.token_bytes[token]


def _policy_codes(scorer: VerdictScorer, tokens: Sequence[int]) -> tuple[str, ...]:
    """Return the policy's codes in a decoded line, each once, in the line's order."""
    token_bytes, policy = scorer.guard.model.token_bytes, scorer.guard.policy
    text = b"".join(token_bytes[token] for token in tokens).decode(errors="replace")
    # The prompt lists codes other than a letter and a number as S1, S2, ..., and the
    # guard answers with those.
    code_of = dict(zip(category_labels(policy), policy.codes, strict=True))
    words = chain.from_iterable(part.split() for part in text.split(","))
    return tuple(dict.fromkeys(code_of[word] for word in words if word in code_of))
