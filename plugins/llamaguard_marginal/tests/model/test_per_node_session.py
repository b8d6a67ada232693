"""One row a node: exact for windows, chunks and kernels that take no mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
)
from transformers.masking_utils import flash_attention_mask

from safebench_llamaguard_marginal.model.architecture import (
    has_local_attention,
    pick_tree_layout,
)
from safebench_llamaguard_marginal.model.hf_model import HfModel
from safebench_llamaguard_marginal.model.per_node_session import PerNodeSession
from safebench_llamaguard_marginal.model.per_prompt_session import PerPromptSession

VOCABULARY = 30
WINDOW = 5  # shorter than the prompts
PROMPTS = [
    (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
    (1, 2, 3, 9),
    (1, 2, 3, 4, 7, 8, 9, 10, 11),
]
WINDOWED: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": WINDOW},
    "qwen2": {
        "use_sliding_window": True,
        "sliding_window": WINDOW,
        "max_window_layers": 1,
    },
    "gemma3_text": {
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "phi3": {"sliding_window": WINDOW},
}
Builder = Callable[..., Any]


def model_of(network: Any, prefixes: Any = ((1, 2, 3),), layout: Any = "rows") -> Any:
    """Return the engine's view of a network."""
    pieces = [bytes([i]) for i in range(VOCABULARY)]
    return HfModel(network, pieces, {0}, prefixes, layout)


def plain(network: Any, ids: Any) -> Any:
    """Return probabilities after `ids`: no cache, no batch."""
    network.get_output_embeddings().selected = None
    with torch.no_grad():
        logits = network(torch.tensor([ids]), use_cache=False).logits[0, -1]
    return torch.softmax(logits, 0).numpy()


def grown(model: Any, prompts: Any) -> Iterator[tuple[Any, Any]]:
    """Grow ragged trees five tokens deep; yield (prompt and path, probabilities)."""
    session = model.open(prompts)
    for prompt, logits in zip(prompts, session.root_logits(), strict=True):
        yield prompt, np.exp(logits) / np.exp(logits).sum()
    rng, count = np.random.default_rng(0), 0
    front: list[tuple[int, int, tuple[int, ...]]] = [
        (row, -1, ()) for row in range(len(prompts))
    ]
    for level in range(5):
        new_nodes = [
            (row, handle, (*path, int(token)))
            for row, handle, path in front
            for token in rng.integers(VOCABULARY, size=1 + (row + level) % 2)
        ]
        if level == 3 and len(prompts) > 1:
            session.drop(np.array([1]))
            new_nodes = [node for node in new_nodes if node[0] != 1]
        rows, handles, tokens = np.array([(r, h, p[-1]) for r, h, p in new_nodes]).T
        logits = session.expand(rows, handles, tokens)
        front = [(row, count + i, path) for i, (row, _, path) in enumerate(new_nodes)]
        count += len(new_nodes)
        for (row, _, path), z in zip(new_nodes, logits, strict=True):
            yield (*prompts[row], *path), np.exp(z) / np.exp(z).sum()


def furthest(model: Any, prompts: Any) -> float:
    """Return the largest error of any probability at any node."""
    return max(
        float(np.abs(p - plain(model.network, ids)).max())
        for ids, p in grown(model, prompts)
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(WINDOWED))
@pytest.mark.parametrize("prefixes", [(), ((1, 2, 3),), ((1, 2, 3, 4, 5, 6, 7),)])
@pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS[:1]])
def test_windows_shorter_than_the_prompt_are_kept(
    network_of: Builder, kind: str, prefixes: Any, prompts: Any
) -> None:
    """Ragged prompts and paths see what the network alone would let them see."""
    model = model_of(network_of(kind, **WINDOWED[kind]), prefixes)

    assert isinstance(model.open(prompts), PerNodeSession)
    assert 1e-12 >= furthest(model, prompts)


def test_the_window_matters(network_of: Builder) -> None:
    """The tree layout, which ignores windows, is far off on the same prompts."""
    network = network_of("mistral", **WINDOWED["mistral"])

    assert 1e-3 < furthest(model_of(network, layout="tree"), PROMPTS)


@pytest.mark.parametrize("tokens_per_pass", [1, 40, 100_000])
def test_a_level_is_split_to_the_token_budget(
    network_of: Builder, tokens_per_pass: int
) -> None:
    """However few rows fit into a pass, the distributions are the same."""
    model = model_of(network_of("llama"))
    model.tokens_per_pass = tokens_per_pass
    widest: list[int] = []
    forward = model.forward

    def watched(tokens: Any, positions: Any, visible: Any, *rest: Any) -> Any:
        if tokens.shape[1] == 1:
            widest.append(visible.size)
        return forward(tokens, positions, visible, *rest)

    model.forward = watched

    assert 1e-12 >= furthest(model, PROMPTS)
    node = max(map(len, PROMPTS)) + 5
    assert max(widest) <= max(tokens_per_pass, node)


def test_older_nodes_can_be_expanded(network_of: Builder) -> None:
    """Parents of any depth, in one pass, whenever they were run."""
    model = model_of(network_of("mistral", **WINDOWED["mistral"]))
    session = model.open(PROMPTS)
    session.expand(np.array([0, 1]), np.array([-1, -1]), np.array([4, 5]))
    session.expand(np.array([0, 1]), np.array([0, 1]), np.array([6, 7]))
    rows, parents, tokens = np.array([[0, -1, 8], [0, 2, 9], [1, 1, 10], [2, -1, 11]]).T

    logits = session.expand(rows, parents, tokens)

    paths = [(0, 8), (0, 4, 6, 9), (1, 5, 10), (2, 11)]
    for z, (row, *path) in zip(logits, paths, strict=True):
        expected = plain(model.network, [*PROMPTS[row], *path])
        assert expected == pytest.approx(np.exp(z) / np.exp(z).sum(), abs=1e-12)


def unpadded(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any
) -> tuple[Any, None]:
    """Attend as flash kernels do: real tokens only, causal from the end, a window."""
    assert attention_mask is None or attention_mask.ndim == 2
    groups, out = query.shape[1] // key.shape[1], torch.zeros_like(query)
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    for row in range(len(query)):
        real = torch.ones(key.shape[2], dtype=torch.bool)
        if attention_mask is not None:
            real = attention_mask[row]
        asking = real[-query.shape[2] :]
        q, k, v = query[row][:, asking], key[row][:, real], value[row][:, real]
        place = torch.arange(q.shape[1])[:, None] + k.shape[1] - q.shape[1]
        seen = torch.arange(k.shape[1]) <= place
        if window := kwargs.get("sliding_window"):
            seen &= torch.arange(k.shape[1]) > place - window
        scores = (q @ k.transpose(1, 2) * kwargs["scaling"]).masked_fill(
            ~seen, -torch.inf
        )
        out[row][:, asking] = torch.softmax(scores, -1) @ v
    return out.transpose(1, 2), None


@pytest.mark.parametrize(("kind", "changes"), [("llama", {}), *WINDOWED.items()])
def test_kernels_without_masks_get_none(
    network_of: Builder, kind: str, changes: dict[str, Any]
) -> None:
    """A kernel that is told nothing but padding gives what sdpa gives without it."""
    AttentionInterface.register("flash_stand_in", unpadded)
    AttentionMaskInterface.register("flash_stand_in", flash_attention_mask)
    network = network_of(kind, **changes)
    expected = network_of(kind, **changes)
    network.config._attn_implementation = "flash_stand_in"
    model = model_of(network)

    assert "rows" == pick_tree_layout("auto", network.config)
    for ids, p in grown(model, PROMPTS):
        assert plain(expected, ids) == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize("fault", ["path", "positions", "padding"])
def test_wrong_gathers_and_positions_are_far_off(
    network_of: Builder, fault: str
) -> None:
    """A path left out, wrong places, or padding that is seen: far from rounding."""
    model = model_of(network_of("llama"))
    forward = model.forward

    def faulty(
        tokens: Any, positions: Any, visible: Any, cache: Any, selected: Any
    ) -> Any:
        level = tokens.shape[1] == 1
        visible = visible.copy()
        if fault == "path" and level:
            visible[:, -2] = False
        if fault == "positions" and level:
            positions = np.full_like(positions, visible.shape[1] - 1)
        if fault == "padding" and level:
            visible[:] = True
        return forward(tokens, positions, visible, cache, selected)

    model.forward = faulty

    assert 1e-3 < furthest(model, PROMPTS)


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("llama", {}, "tree"),
        ("qwen2", {}, "tree"),
        ("mistral", {"sliding_window": None}, "tree"),
        *((kind, changes, "rows") for kind, changes in WINDOWED.items()),
        ("gemma2", {}, "rows"),
    ],
)
def test_the_layout_follows_from_the_configuration(
    kind: str, changes: dict[str, Any], expected: str
) -> None:
    """Windows ask for a row a node; whoever names a layout gets it."""
    config = AutoConfig.for_model(kind, num_hidden_layers=2, **changes)

    assert expected == pick_tree_layout("auto", config)
    assert (expected == "rows") is has_local_attention(config)
    assert {"tree", "rows"} == {pick_tree_layout(w, config) for w in ("tree", "rows")}


def test_the_tree_is_the_default(network_of: Builder) -> None:
    """Without a layout a prompt is a row."""
    pieces = [bytes([i]) for i in range(VOCABULARY)]

    session = HfModel(network_of("llama"), pieces, {0}).open(PROMPTS)

    assert isinstance(session, PerPromptSession)
