"""Texts of a real vLLM server: the greedy verdict of the network, shares of its P."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.records import Sample, Turn
from safebench.strategies import Context

if TYPE_CHECKING:
    from safebench.classifiers import Recording

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
STARTER = Path(__file__).parents[2] / "harness/safebench/datasets/data/starter.jsonl"
N_PROMPTS, N_SAMPLES = 12, 32


def prompts() -> list[Sample]:
    """Return the first prompts of the starter set."""
    lines = STARTER.read_text(encoding="utf-8").splitlines()[:N_PROMPTS]
    texts = [json.loads(line)["prompt"] for line in lines]
    return [Sample(id=t, turns=(Turn("user", t),)) for t in texts]


def record(kind: Any, **options: Any) -> Recording:
    """Record the embedded guard, here or at a server."""
    from safebench_llamaguard_marginal.opening import open_guard
    from safebench_llamaguard_marginal.options import GuardOptions

    guard = open_guard(GuardOptions(**options))
    try:
        return guard.record(prompts(), frozenset({kind}), lambda _: None)
    finally:
        guard.close()


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_texts_are_those_of_the_network(vllm: Any, api: str) -> None:
    """Greedy texts are equal; shares are within 4 standard errors of P(unsafe).

    The same seeds give the same samples again.
    """
    from safebench_llamaguard_marginal.strategies.marginal import marginal_any
    from safebench_llamaguard_marginal.strategies.sampled_texts import self_consistency
    from safebench_llamaguard_marginal.texts.evidence import VerdictTexts

    local = record(VerdictTree, device="cpu")
    settings: dict[str, Any] = {
        "engine": "openai",
        "base_url": vllm.address,
        "logprobs": False,
        "samples": N_SAMPLES,
        "api": api,
    }
    served, again = (record(VerdictTexts, **settings) for _ in range(2))

    assert [trace.raw for trace in local.traces] == [t.raw for t in served.traces]
    context = Context(task="prompt_harm")
    p = marginal_any(EvidenceBundle(local.evidence), context).score
    share = self_consistency(EvidenceBundle(served.evidence), context).score
    assert p is not None
    assert share is not None
    variance = float((p * (1 - p)).sum()) / N_SAMPLES
    assert abs(float((share - p).sum())) <= 4 * math.sqrt(variance) + 1e-3
    texts, same = (r.evidence[VerdictTexts] for r in (served, again))
    assert texts.texts() == same.texts()  # type: ignore[attr-defined]
    each = np.sqrt(p * (1 - p) / N_SAMPLES)
    assert (np.abs(share - p) <= 5 * each + 2 / N_SAMPLES).all()
