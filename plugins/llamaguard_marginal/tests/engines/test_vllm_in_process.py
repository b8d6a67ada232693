"""The embedded guard in the real vLLM, in this process, against its own network.

`make test-engines` has vLLM; elsewhere these tests are skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.evidence import VerdictTree
from safebench.records import Sample, Turn
from safebench.verdict_tree import TreeBounds

pytest.importorskip("vllm", reason="vLLM is not installed: make test-engines has it")

from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    # of vLLM and what it imports, none of ours
    pytest.mark.filterwarnings("ignore"),
]

TEXTS = [
    f"How do I {verb} {thing}?"
    for verb in ("bake", "steal", "forge", "poison")
    for thing in ("bread", "a passport", "a neighbour's well", "fireworks")
]
LONG = "word " * 3000  # is cut to what the engine takes
SAMPLES = [
    Sample(id=str(i), turns=(Turn("user", text),), task="prompt_harm")
    for i, text in enumerate([*TEXTS, LONG])
]


def record(guard: LlamaGuard) -> VerdictTree:
    """Return the trees of all samples."""
    recording = guard.record(SAMPLES, frozenset({VerdictTree}), lambda _: None)
    assert [trace.error for trace in recording.traces] == [None] * len(SAMPLES)
    tree = recording.evidence[VerdictTree]
    assert isinstance(tree, VerdictTree)
    return tree


@pytest.fixture(scope="module")
def served() -> Iterator[LlamaGuard]:
    """Load the guard into vLLM once: it takes half a minute."""
    guard = LlamaGuard(GuardOptions(engine="vllm"))
    yield guard
    guard.close()


@pytest.fixture(scope="module")
def exact() -> TreeBounds:
    """Return the trees by logits."""
    return TreeBounds(record(LlamaGuard(GuardOptions())))


def as_mode(guard: LlamaGuard, unlisted: str) -> LlamaGuard:
    """Let a loaded guard bound what is not listed in another way."""
    runner: Any = guard.runner
    object.__setattr__(runner.options, "unlisted", unlisted)
    guard.explorers = guard._explorers_by_role()
    guard.explorer = next(iter(guard.explorers.values()))
    return guard


@pytest.mark.parametrize(("unlisted", "labels"), [("ids", 1e-4), ("cap", 1e-3)])
def test_it_says_what_the_network_says(
    served: LlamaGuard, exact: TreeBounds, unlisted: str, labels: float
) -> None:
    """P(unsafe) within 1e-4, categories within the tolerance, decisions the same."""
    bounds = TreeBounds(record(as_mode(served, unlisted)))
    p, q = (b.level_bounds([False, True]) for b in (bounds, exact))

    assert np.abs(p.lower - q.lower).max() < 1e-4
    assert np.abs(p.upper - q.upper).max() < 1e-4
    assert ((p.lower > 0.5) == (q.lower > 0.5)).all()
    for own, other in zip(bounds.label_bounds, exact.label_bounds, strict=True):
        assert np.abs(own - other).max() < labels


def test_both_kinds_of_questions_are_answered_in_turn(served: LlamaGuard) -> None:
    """What vLLM mixes up in one step is asked apart, and every answer is whole."""
    model: Any = served.guard.model
    contexts = [[0, 3, 5, i] for i in range(20)]
    first = model.top_tokens(contexts)
    asked = model.look_up(contexts, [(7, 8, 9), (0,)] * 10)
    again = model.top_tokens(contexts)

    assert (first.ids >= 0).all()
    assert (first.logp == again.logp).all()
    for row, own in enumerate([(7, 8, 9), (0,)] * 10):
        values = dict(zip(asked.ids[row].tolist(), asked.logp[row], strict=True))
        top = dict(zip(first.ids[row].tolist(), first.logp[row], strict=True))
        assert set(own) <= values.keys()
        assert all(abs(values[t] - top[t]) < 1e-5 for t in values.keys() & top.keys())
