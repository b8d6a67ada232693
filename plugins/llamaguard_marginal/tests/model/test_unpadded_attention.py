"""Passes without padding must equal the network's own attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from safebench_llamaguard_marginal.model import row_groups
from safebench_llamaguard_marginal.model.hf_model import HfModel
from safebench_llamaguard_marginal.model.unpadded_attention import (
    UnpaddedCache,
    supports_unpadded,
)

VOCABULARY = 30
PROMPTS = [(1, 2, 3, 4, 5, 6), (1, 2, 3, 9), (1, 2, 3, 4, 7, 8, 9, 10, 11)]
Builder = Callable[..., Any]


def model_of(network: Any, prefixes: Any = ((1, 2, 3),)) -> HfModel:
    """Return the engine's view of a network."""
    return HfModel(network, [bytes([i]) for i in range(VOCABULARY)], {0}, prefixes)


def plain(network: Any, ids: Any) -> Any:
    """Return the logits after `ids`: no cache, no batch."""
    network.get_output_embeddings().selected = None
    with torch.no_grad():
        return network(torch.tensor([ids]), use_cache=False).logits[0, -1].numpy()


@pytest.fixture(params=[0, 30], ids=["whole", "groups"])
def pairs_a_group(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Return how small groups of rows are, 0 for none: of three rows some are two."""
    pairs = int(request.param)
    monkeypatch.setattr(row_groups, "PAIRS_A_GROUP", pairs)
    return pairs


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("prefixes", [(), ((1, 2, 3),), ((1, 2), (1, 2, 3, 4))])
def test_every_kind_equals_its_own_attention(
    network_of: Builder, kind: str, prefixes: Any, pairs_a_group: int
) -> None:
    """Roots, children and grandchildren are right in every architecture that packs."""
    changes = {"sliding_window": None} if kind == "mistral" else {}
    model = model_of(network_of(kind, **changes), prefixes)
    model.in_groups = pairs_a_group > 0
    session = model.open(PROMPTS)
    rows = np.array([0, 1, 1, 2])
    first = session.expand(rows, np.full(4, -1), np.array([4, 5, 6, 7]))
    second = session.expand(rows[1:], np.array([1, 2, 3]), np.array([8, 9, 10]))

    assert isinstance(session._cache, UnpaddedCache)
    for row, prompt in enumerate(PROMPTS):
        expected = plain(model.network, [*prompt])
        assert expected == pytest.approx(session.root_logits()[row], abs=1e-11)
    for at, (row, token) in enumerate([(0, 4), (1, 5), (1, 6), (2, 7)]):
        expected = plain(model.network, [*PROMPTS[row], token])
        assert expected == pytest.approx(first[at], abs=1e-11)
    for at, (row, *path) in enumerate([(1, 5, 8), (1, 6, 9), (2, 7, 10)]):
        expected = plain(model.network, [*PROMPTS[row], *path])
        assert expected == pytest.approx(second[at], abs=1e-11)


def test_buffers_grow_with_deep_trees(network_of: Builder) -> None:
    """A path longer than any room that was set aside stays right to its end."""
    model = model_of(network_of("llama"))
    session = model.open(PROMPTS[:2])
    path: list[int] = []
    for depth in range(30):
        handles = np.array([2 * depth - 2, 2 * depth - 1]) if depth else [-1, -1]
        path.append(depth % VOCABULARY)
        last = session.expand(np.array([0, 1]), np.array(handles), np.full(2, path[-1]))

    for row in range(2):
        expected = plain(model.network, [*PROMPTS[row], *path])
        assert expected == pytest.approx(last[row], abs=1e-11)


def test_only_real_tokens_go_through_the_layers(network_of: Builder) -> None:
    """Ragged prompts and ragged levels cost their tokens, not their padding."""
    network = network_of("llama")
    model = model_of(network)
    seen: list[int] = []
    network.model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].numel()),
        with_kwargs=True,
    )

    session = model.open(PROMPTS)
    session.expand(np.array([0, 0, 0, 2]), np.full(4, -1), np.arange(4))

    assert [3 + 1 + 6, 4] == seen


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"attn_implementation": "eager"}),
        ("mistral", {"sliding_window": 4}),
        ("gemma2", {}),
    ],
)
def test_other_attention_is_left_alone(
    network_of: Builder, kind: str, changes: dict[str, Any]
) -> None:
    """Sliding windows, caps and the eager kernel keep the padded pass."""
    assert not supports_unpadded(network_of(kind, **changes))


def test_the_network_itself_is_unchanged(network_of: Builder) -> None:
    """After a packed pass the network attends as it did before, and says so."""
    network = network_of("llama")
    before = plain(network, [1, 2, 3, 4])
    model_of(network).open(PROMPTS)

    assert "sdpa" == network.config._attn_implementation
    assert np.array_equal(before, plain(network, [1, 2, 3, 4]))


def test_logits_can_stay_on_the_device(network_of: Builder) -> None:
    """With `on_device` the same logits come as tensors."""
    model = model_of(network_of("llama"))
    expected = model.open(PROMPTS).root_logits()
    model.on_device = True

    actual: Any = model.open(PROMPTS).root_logits()

    assert isinstance(actual, torch.Tensor)
    assert np.array_equal(expected, actual.numpy())


def test_groups_hold_every_query_and_nothing_beside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neighbours, as wide as they are; a row without a query is in none."""
    monkeypatch.setattr(row_groups, "PAIRS_A_GROUP", 18)
    counts = [3, 0, 1, 1, 2]
    real = np.zeros((5, 4), dtype=bool)
    for row, count in enumerate(counts):
        real[row, 4 - count :] = True  # padded on the left, as prompts are
    visible = np.zeros((5, 4, 6), dtype=bool)
    visible[real] = [False, False, True, True, True, False]  # columns 2 to 4

    groups = row_groups.groups_of_rows(real, visible, torch.float64)

    assert [(0, 1), (2, 5)] == [(g.rows.start, g.rows.stop) for g in groups]
    assert [(0, 3), (3, 7)] == [(g.tokens.start, g.tokens.stop) for g in groups]
    assert [3, 2] == [g.width for g in groups]
    assert [(2, 5)] * 2 == [(g.columns.start, g.columns.stop) for g in groups]
    assert [0, 1, 2, 2] == groups[1].row.tolist()
    assert [1, 1, 0, 1] == groups[1].slot.tolist()
    assert (1, 1, 3, 3) == tuple(groups[0].bias.shape)
    assert not groups[0].bias.any()
