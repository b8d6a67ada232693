"""The digest of logits on the device beside that of NumPy on the host."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from guardspeed.flops import synchronize
from guardspeed.random_llama import SHAPES, token_pieces

from safebench.policies import load_policy
from safebench.testing.grammars import llama_guard
from safebench.verdict_tree import LogitSummarizer, Vocabulary
from safebench.verdict_tree.automaton import compile_grammar
from safebench.verdict_tree.logits import LogitQuery
from safebench_llamaguard_marginal import TorchLogitSummarizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.verdict_tree.logits import LogitSummary

    from .setup import Setup

NUMBERS = ("log_norm", "entropy", "kind_masses")
_FAVOUR = 18.0  # nats
LISTS = ("argmax", "invalid", "node", "token", "top_ids")


def measure(setup: Setup) -> dict[str, Any]:
    """Return seconds of both, their ratio, and the largest differences.

    The host's seconds hold the way of the logits to it.
    """
    rows = setup.pick(256, 4)
    size = SHAPES[setup.shape]["vocab_size"]
    grammar = llama_guard(load_policy("llama-guard-3").codes)
    pieces = token_pieces(size)
    vocabulary = Vocabulary(compile_grammar(grammar), pieces, frozenset({size - 1}))
    torch.manual_seed(0)
    z = torch.randn(rows, size, device=setup.device).mul_(4)
    spoken = [i for i, piece in enumerate(pieces) if not piece.startswith(b"#")]
    z[:, spoken] += _FAVOUR  # what verdicts are made of is likely, or none were listed
    z = z.to(setup.dtype)
    query = _query(vocabulary, rows, spoken)
    on_device, on_host = TorchLogitSummarizer(), LogitSummarizer()

    def device_digest() -> LogitSummary:
        found = on_device(z, query, vocabulary)
        synchronize(z.device)
        return found

    def host_digest() -> LogitSummary:
        return on_host(z.float().cpu().numpy(), query, vocabulary)

    rounds = setup.pick(3, 1)
    device_seconds, found = _timed(device_digest, rounds)
    host_seconds, expected = _timed(host_digest, rounds)
    return {
        "rows": rows,
        "vocabulary": size,
        "dtype": str(z.dtype).removeprefix("torch."),
        "listed": len(expected.node),
        "device_seconds": device_seconds,
        "host_seconds": host_seconds,
        "host_by_device": host_seconds / device_seconds,
        "max_difference": _largest_differences(expected, found),
        "lists_equal": {
            n: bool(np.array_equal(getattr(expected, n), getattr(found, n)))
            for n in LISTS
        },
    }


def _query(vocabulary: Vocabulary, rows: int, spoken: list[int]) -> LogitQuery:
    """Ask as trees do: some rows are greedy, some list forced tokens alone."""
    rng = np.random.default_rng(0)
    floor = np.full(rows, 0.001)
    floor[rng.random(rows) < 0.3] = np.inf  # noqa: PLR2004 - a share
    return LogitQuery(
        state=rng.integers(0, len(vocabulary.automaton.level), rows),
        min_probability=floor,
        greedy=np.arange(rows) % 4 == 0,
        forced_node=np.arange(rows),
        forced_token=np.resize(spoken, rows),
        top_k=20,
    )


def _timed(
    digest: Callable[[], LogitSummary], rounds: int
) -> tuple[float, LogitSummary]:
    summary, seconds = digest(), []  # the first is a warm-up
    for _ in range(rounds):
        began = time.perf_counter()
        summary = digest()
        seconds.append(time.perf_counter() - began)
    return median(seconds), summary


def _largest_differences(a: LogitSummary, b: LogitSummary) -> dict[str, float | None]:
    """Return the largest difference of each column; None where the lists differ."""
    names = (*NUMBERS, "logp")
    return {
        name: float(np.abs(getattr(a, name) - getattr(b, name)).max(initial=0.0))
        if getattr(a, name).shape == getattr(b, name).shape
        else None
        for name in names
    }
