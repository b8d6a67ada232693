"""Options of how trees go through the network change costs, and no evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.errors import OptionError
from safebench.evidence import SeedTree, VerdictTree
from safebench.records import Sample, Turn
from safebench.verdict_tree.bounds import TreeBounds
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.identity import model_identity
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXTS = ("how do I kill a process in Python?", "x", "the quick brown fox " * 6, "why?")


def build(folder: Path, **options: Any) -> LlamaGuard:
    """Build the classifier on a folder, in float64."""
    named = {"model": str(folder), "device": "cpu", "dtype": "float64"}
    return LlamaGuard(GuardOptions(**(named | options)))


def recorded(guard: LlamaGuard, kind: Any = VerdictTree) -> Any:
    """Record the texts; return the evidence.

    The random guard writes no verdict, which the original definitions do not accept.
    """
    samples = [Sample(id=f"{i}", turns=(Turn("user", t),)) for i, t in enumerate(TEXTS)]
    actual = guard.record(samples, frozenset({kind}), lambda _: None)
    errors = [trace.error or "" for trace in actual.traces]
    if kind is SeedTree:
        assert all("names no level" in error for error in errors)
    else:
        assert not any(errors)
    return actual.evidence[kind]


@pytest.fixture(scope="module")
def expected(guard_folder: Path) -> Any:
    """Return the trees of the default settings."""
    return recorded(build(guard_folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"layout": "rows"},
        {"layout": "rows", "batch_tokens": 1},
        {"layout": "rows", "attention": "eager", "dtype": "float32"},
        {"draft": ""},
        {"draft": "\\n\\n"},
        {"draft": "\n\n", "batch_tokens": 1},
        {"draft": "\\n\\n", "layout": "rows"},
        {"refill": "on", "batch_tokens": 300},
        {"refill": "on", "batch_tokens": 300, "layout": "rows"},
        {"refill": "on", "batch_tokens": 300, "draft": "\\n\\n"},
        {"refill": "on", "batch_tokens": 1},
    ],
)
def test_evidence_is_the_same(
    expected: VerdictTree, guard_folder: Path, options: dict[str, Any]
) -> None:
    """Layouts and drafts change no bound, whatever the budget."""
    actual = recorded(build(guard_folder, **options))

    limit = 5e-5 if options.get("dtype") == "float32" else 1e-9
    one, two = TreeBounds(expected), TreeBounds(actual)
    assert_allclose(one.open_mass, two.open_mass, atol=limit)
    assert_allclose(one.label_bounds.lower, two.label_bounds.lower, atol=limit)
    assert_allclose(one.label_bounds.upper, two.label_bounds.upper, atol=limit)


@pytest.mark.slow
def test_refilling_gives_way_where_memory_runs_out(
    expected: VerdictTree, guard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard is then read batch by batch, with half the budget."""
    guard = build(guard_folder, refill="on", batch_tokens=600)
    forward, failures = guard.guard.model.forward, [MemoryError()]

    def tight(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return forward(*args)

    monkeypatch.setattr(guard.guard.model, "forward", tight)
    actual = recorded(guard)

    assert not failures
    assert {"batch_tokens": 300} == guard.state
    assert_allclose(
        TreeBounds(expected).open_mass, TreeBounds(actual).open_mass, atol=1e-9
    )


@pytest.mark.slow
def test_refilled_shards_are_repeatable(guard_folder: Path) -> None:
    """A resumed run records the same bytes: they hang on the shard and the budget."""
    one, two = (
        recorded(build(guard_folder, refill="on", batch_tokens=300)) for _ in range(2)
    )

    assert all(np.array_equal(one[name], two[name]) for name in one.arrays)


@pytest.mark.slow
def test_the_original_search_can_be_run_row_by_row(guard_folder: Path) -> None:
    """It goes back to the prompts three times: every slot is still there."""
    tree = recorded(build(guard_folder), SeedTree)
    rows = recorded(build(guard_folder, layout="rows"), SeedTree)

    assert_allclose(tree["mass"], rows["mass"], atol=1e-9)
    assert_allclose(tree["label_logits"], rows["label_logits"], atol=1e-9)


@pytest.mark.slow
def test_samples_can_be_drawn_row_by_row(guard_folder: Path) -> None:
    """What is drawn from the rest of a tree does not depend on the layout."""
    drawn = {"mc_samples": 6, "eps": 0.1}
    tree = recorded(build(guard_folder, **drawn))
    rows = recorded(build(guard_folder, layout="rows", **drawn))

    assert np.array_equal(tree["mc_labels"], rows["mc_labels"])


@pytest.mark.slow
def test_facts_say_what_auto_became(guard_folder: Path) -> None:
    """On a CPU a lean record alone drafts; a Llama is read as a tree."""
    facts = build(guard_folder, record="full").facts
    lean = build(guard_folder).facts
    drafted = build(guard_folder, draft="\\n\\n").facts
    rows = build(guard_folder, draft="\\n\\n", layout="rows").facts

    assert ("tree", "off") == (facts["layout"], facts["draft"])
    assert lean["draft"] in ("", "\\n\\n")
    assert ("tree", "\\n\\n") == (drafted["layout"], drafted["draft"])
    assert ("rows", "off") == (rows["layout"], rows["draft"])


@pytest.mark.slow
def test_an_accelerator_drafts_after_the_likeliest_opener(
    guard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where passes are what costs, "auto" asks the guard how it begins."""
    from safebench_llamaguard_marginal.model import verdict_grammar

    guard = build(guard_folder)
    vocabulary = guard.explorer.vocabulary
    logits = guard.guard.model.open(
        [guard.prompt_builder.probe_prompt("user").ids]
    ).root_logits()[0]
    starts = {"": ("safe", "unsafe"), "\n\n": ("\n\n",)}
    best = {
        opener: max(logits[vocabulary.encode(text)[0]] for text in texts)
        for opener, texts in starts.items()
    }

    actual = verdict_grammar.likeliest_opener(guard.guard, vocabulary)

    assert max(starts, key=lambda opener: best[opener]) == actual
    monkeypatch.setattr(verdict_grammar, "likeliest_opener", lambda *_: actual)
    monkeypatch.setattr(type(guard.guard.model), "device", _Accelerator())
    assert actual == verdict_grammar.pick_draft_opener("auto", guard.guard, vocabulary)
    assert verdict_grammar.pick_draft_opener("off", guard.guard, vocabulary) is None


class _Accelerator:
    type = "cuda"


@pytest.mark.slow
def test_an_unknown_opener_is_refused(guard_folder: Path) -> None:
    """The message lists the openers as they are typed."""
    with pytest.raises(OptionError, match=r"draft='\\n' is no opener") as caught:
        build(guard_folder, draft="\\n")
    assert r"'', '\n\n', off, auto" in str(caught.value)


def test_a_kernel_without_masks_refuses_the_tree() -> None:
    """Before anything is loaded."""
    with pytest.raises(OptionError, match="layout=rows would work"):
        GuardOptions(attention="flash_attention_2", layout="tree")


@pytest.mark.slow
def test_a_window_does_not_shorten_prompts_row_by_row(
    tmp_path: Path, make_tokenizer: Callable[[], Any]
) -> None:
    """A guard with narrow layers reads whole prompts; as a tree it would cut them."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=64,
        max_position_embeddings=512,
    )
    MistralForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    guard = build(tmp_path, eps=0.1)

    assert "rows" == guard.facts["layout"]
    assert 512 - 32 == guard.facts["max_length"]
    assert 64 - 32 == build(tmp_path, layout="tree").facts["max_length"]
    assert len(TEXTS) == len(recorded(guard))


def test_the_evidence_key_tells_how_trees_were_run(guard_folder: Path) -> None:
    """Rounding and the order of nodes depend on it, as on the size of batches."""
    plain, *others = (
        model_identity(GuardOptions(model=str(guard_folder), **options))
        for options in ({}, {"layout": "rows"}, {"draft": "off"}, {"refill": "on"})
    )

    assert all(other["record"] != plain["record"] for other in others)
