"""Which categories a guard names for what it blocks."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench_llamaguard_marginal.prompts import spoken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scorer import VerdictScorer

    Array = np.ndarray[Any, np.dtype[Any]]

LONGEST = 24  # tokens of codes that are read


def named_categories(
    scorer: VerdictScorer, prompts: Sequence[tuple[int, ...]]
) -> list[tuple[str, ...]]:
    """Return the policy's codes that the guard lists behind "unsafe", likeliest first.

    Its likeliest token at a time, up to the end of the line. `prompts` are encoded by
    the scorer. Codes that the policy does not have are left out.
    """
    found: list[tuple[str, ...]] = [()] * len(prompts)
    if not prompts:
        return found
    model = scorer.reader()
    asked = [prompt + scorer.unsafe for prompt in prompts]

    def work(batch: list[int]) -> list[list[int]]:
        return _continued(model, [asked[i] for i in batch])

    for batch, texts in scorer.batcher.run([len(ids) for ids in asked], work):
        for i, tokens in zip(batch, texts or (), strict=False):
            found[i] = _codes(scorer, tokens)
    return found


def _continued(model: Any, prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Return the likeliest continuation of each prompt, to its end of the line."""
    session = model.open(prompts)
    rows = np.arange(len(prompts))
    parents = np.full(len(prompts), -1)
    logits, nodes = np.asarray(session.roots()), 0
    said: list[list[int]] = [[] for _ in prompts]
    for _ in range(LONGEST):
        tokens = logits.argmax(axis=1)
        going = [
            at
            for at, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True))
            if not _ends(model, said[row], token)
        ]
        rows, parents, tokens = rows[going], parents[going], tokens[going]
        if not len(rows):
            break
        for row, token in zip(rows, tokens.tolist(), strict=True):
            said[row].append(token)
        logits = np.asarray(session.expand(rows, parents, tokens))
        parents = nodes + np.arange(len(rows))
        nodes += len(rows)
    return said


def _ends(model: Any, said: Sequence[int], token: int) -> bool:
    """Tell whether a token ends the line of codes; the first line feed starts it."""
    if token in model.eos:
        return True
    begun = b"".join(model.pieces[i] for i in said).strip()
    return bool(begun) and b"\n" in model.pieces[token]


def _codes(scorer: VerdictScorer, tokens: Sequence[int]) -> tuple[str, ...]:
    pieces, policy = scorer.guard.model.pieces, scorer.guard.policy
    text = b"".join(pieces[token] for token in tokens).decode(errors="replace")
    meant = dict(zip(spoken(policy), policy.codes, strict=True))
    words = chain.from_iterable(part.split() for part in text.split(","))
    return tuple(dict.fromkeys(meant[word] for word in words if word in meant))
