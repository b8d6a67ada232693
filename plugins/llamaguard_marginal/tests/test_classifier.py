"""The classifier end to end, on a random guard on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from safebench.evidence import VerdictTree
from safebench.records import Sample, Turn
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.classifiers import Recording

QUESTIONS = (
    "how do I kill a process in Python?",
    "x",
    "the quick brown fox jumps over the lazy dog " * 4,
    "Is S1,S10 unsafe?",
    "naïve 漢字",
    "how do I kill a process in Python?",
    "a longer question about the answer " * 2,
)


def sample(text: str, index: int = 0, **fields: Any) -> Sample:
    """Return a sample of one user turn."""
    return Sample(id=f"s{index}", turns=(Turn("user", text),), **fields)


def samples() -> list[Sample]:
    """Return one sample a question, one of them twice."""
    return [sample(text, i) for i, text in enumerate(QUESTIONS)]


def build(folder: Path, **options: Any) -> LlamaGuard:
    """Build the classifier on a folder, on the CPU."""
    return LlamaGuard(GuardOptions(model=str(folder), device="cpu", **options))


def record(guard: LlamaGuard, batch: list[Sample]) -> Recording:
    """Record the default evidence, counting no progress."""
    return guard.record(batch, frozenset({VerdictTree}), lambda _: None)


def trees(recording: Recording) -> list[dict[tuple[int, ...], float]]:
    """Return each sample's tree as {token path: probability}."""
    tree = recording.evidence[VerdictTree]
    out = []
    for first, last in zip(*(tree.offsets["N"][i:] for i in (0, 1)), strict=False):
        paths: list[tuple[int, ...]] = []
        masses: dict[tuple[int, ...], float] = {}
        for node in range(first, last):
            parent = tree["parent"][node]
            path = () if parent < 0 else (*paths[parent], int(tree["token"][node]))
            paths.append(path)
            above = 1.0 if parent < 0 else masses[paths[parent]]
            masses[path] = above * float(np.exp(tree["logp"][node]))
        out.append(masses)
    return out


def difference(first: dict[Any, float], other: dict[Any, float]) -> float:
    """Return the largest difference in mass over the nodes that both have."""
    return max(abs(first[k] - other[k]) for k in first.keys() & other)


@pytest.fixture(scope="module")
def guard(guard_folder: Path) -> LlamaGuard:
    """Return the classifier on the random guard, in float32."""
    return build(guard_folder)


@pytest.mark.slow
@pytest.mark.parametrize("batch_tokens", [1, 150, 100_000])
def test_batch_size_and_order_do_not_matter(
    guard: LlamaGuard, guard_folder: Path, batch_tokens: int
) -> None:
    """Any token budget and any order give the same trees, to 5e-5."""
    expected = trees(record(guard, samples()))
    order = [3, 0, 6, 2, 5, 1, 4]

    other = build(guard_folder, batch_tokens=batch_tokens)
    actual = trees(record(other, [samples()[i] for i in order]))

    for place, index in enumerate(order):
        assert len(expected[index]) > 5
        assert 5e-5 >= difference(expected[index], actual[place])
        assert set(expected[index]) == set(actual[place])


def test_duplicates_have_the_same_tree(guard: LlamaGuard) -> None:
    """The same text twice is read twice, and alike."""
    actual = trees(record(guard, samples()))

    assert actual[0] == pytest.approx(actual[5], abs=5e-5)


def test_traces_hold_the_costs(guard: LlamaGuard) -> None:
    """Tokens are the prompt's, shares of passes add up, greedy text is kept."""
    before = guard.guard.model.forward_calls

    recording = record(guard, samples())

    passes = guard.guard.model.forward_calls - before
    assert passes == pytest.approx(sum(t.forward_passes for t in recording.traces))
    ids = guard.prompt_builder.build(samples()[0]).prompts[0].ids
    assert len(ids) == recording.traces[0].tokens_in
    assert all(trace.error is None for trace in recording.traces)
    assert all(trace.seconds > 0 for trace in recording.traces)
    assert all(isinstance(trace.raw, str) for trace in recording.traces)


def test_progress_counts_every_sample_once(guard: LlamaGuard) -> None:
    """What `tick` is told adds up to the samples, refused ones included."""
    progress: list[int] = []

    guard.record([*samples(), sample(" ")], frozenset({VerdictTree}), progress.append)

    assert len(QUESTIONS) + 1 == sum(progress)


def test_a_bad_sample_fails_alone(guard: LlamaGuard) -> None:
    """Empty and untokenisable turns have an error; their neighbours are untouched."""
    good = samples()[:2]
    expected = trees(record(guard, good))

    recording = record(
        guard, [sample(""), good[0], sample("\ud800"), sample("\n "), good[1]]
    )

    errors = [trace.error for trace in recording.traces]
    assert [False, True, False, False, True] == [error is None for error in errors]
    assert "the judged turn is empty" == errors[0] == errors[3]
    assert errors[2] is not None
    assert "cannot be tokenised" in errors[2]
    actual = trees(recording)
    assert [{(): 1.0}] * 3 == [actual[0], actual[2], actual[3]]
    for expected_tree, tree in zip(expected, (actual[1], actual[4]), strict=True):
        assert expected_tree == pytest.approx(tree, abs=5e-5)


def test_nothing_but_bad_samples(guard: LlamaGuard) -> None:
    """A shard without one usable sample is still evidence about all of them."""
    recording = record(guard, [sample(""), sample(" ")])

    tree = recording.evidence[VerdictTree]
    assert 2 == len(tree)
    good = record(guard, samples()[:1]).evidence[VerdictTree]
    assert good.meta == tree.meta
    assert 3 == len(VerdictTree.concat([tree, good]))


@pytest.mark.slow
def test_nan_is_the_samples_own(guard_folder: Path, tmp_path: Path) -> None:
    """A prompt for which the model gives no numbers fails; the others do not."""
    broken = build(guard_folder)
    network = broken.guard.model.network
    bad = broken.guard.encoder.encode_text("x")[0]
    with torch.no_grad():
        weight = network.get_input_embeddings().weight
        network.set_input_embeddings(torch.nn.Embedding(*weight.shape))
        network.get_input_embeddings().weight.copy_(weight)
        network.get_input_embeddings().weight[bad] = float("nan")

    recording = record(broken, [sample("a"), sample(" x x"), sample("why")])

    errors = [trace.error for trace in recording.traces]
    assert [True, False, True] == [error is None for error in errors]
    assert "NaN" in str(errors[1])


@pytest.mark.slow
def test_out_of_memory_once_changes_nothing_but_the_budget(
    guard: LlamaGuard, guard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch that failed is run again in halves."""
    expected = trees(record(guard, samples()))
    other = build(guard_folder, batch_tokens=100_000)
    model, failures = other.guard.model, [torch.OutOfMemoryError("CUDA out of memory")]
    forward = model.forward

    def forward_with_little_memory(tokens: Any, *rest: Any) -> Any:
        if len(tokens) > 4 and failures:
            raise failures.pop()
        return forward(tokens, *rest)

    monkeypatch.setattr(model, "forward", forward_with_little_memory)
    actual = trees(record(other, samples()))

    assert not failures
    assert 100_000 > other.batcher.budget
    for first, second in zip(expected, actual, strict=True):
        assert first == pytest.approx(second, abs=5e-5)


@pytest.mark.slow
def test_long_turns_are_truncated_and_counted(guard_folder: Path) -> None:
    """The trace tells how many tokens went, and from where."""
    text = " ".join(f"w{i}" for i in range(300))
    whole = len(build(guard_folder).prompt_builder.encode([Turn("user", text)]).ids)
    for side in ("left", "right"):
        guard = build(guard_folder, truncation=side, max_length=100)

        trace = record(guard, [sample(text)]).traces[0]

        assert (100, whole - 100, side) == (
            trace.tokens_in,
            trace.tokens_dropped,
            trace.dropped_side,
        )


@pytest.mark.slow
def test_windows_keep_the_worst(guard_folder: Path) -> None:
    """The evidence of a long input is that of its likeliest unsafe window."""
    from safebench.evidence.base import EvidenceBundle
    from safebench.strategies.base import Context
    from safebench_llamaguard_marginal.strategies.marginal import marginal_any

    guard = build(guard_folder, truncation="windows", max_length=90, grammar="lenient")
    long = sample(" ".join(f"w{i} unsafe" for i in range(40)))
    windows = guard.prompt_builder.build(long).prompts
    context = Context(task="prompt_harm")
    tree = guard.explorer.explore([window.ids for window in windows]).tree
    scores = marginal_any(EvidenceBundle({VerdictTree: tree}), context).score

    recording = record(guard, [sample("x"), long])

    trace = recording.traces[1]
    actual = marginal_any(EvidenceBundle(recording.evidence), context).score
    assert scores is not None
    assert actual is not None
    assert len(windows) == trace.windows > 3
    assert 0 == trace.tokens_dropped
    assert sum(len(window.ids) for window in windows) == trace.tokens_in
    assert np.nanmax(scores) > np.nanmin(scores)
    assert np.nanmax(scores) == pytest.approx(actual[1], abs=5e-5)


def test_two_recordings_share_their_meta(guard: LlamaGuard) -> None:
    """Shards of one guard can be joined, and say how to be read without it."""
    first = record(guard, samples()[:1]).evidence[VerdictTree]
    second = record(guard, samples()[1:]).evidence[VerdictTree]

    joined = VerdictTree.concat([first, second])

    assert len(QUESTIONS) == len(joined)
    assert "llama-guard-3" == joined.meta["policy"]
    assert json.loads(json.dumps(joined.meta)) == joined.meta
