"""Sessions of a model must give what plain forward passes without a cache give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from safebench_llamaguard_marginal.model.hf_model import HfModel
from safebench_llamaguard_marginal.model.kv_columns import NodeTable

VOCABULARY = 40
PROMPTS = [
    (1, 2, 3, 4, 5, 6),
    (1, 2, 3, 9),
    (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
    (1, 2, 3, 4, 5, 30),
]


Builder = Callable[..., HfModel]


@pytest.fixture(scope="module")
def model_of(make_network: Callable[..., Any]) -> Builder:
    """Return what builds the engine's view of a random network of 40 tokens."""

    def build(
        dtype: torch.dtype = torch.float64,
        prefixes: Any = (),
        layout: Any = "tree",
        **changes: Any,
    ) -> HfModel:
        network = make_network(VOCABULARY, **changes).to(dtype)
        pieces = [bytes([i]) for i in range(VOCABULARY)]
        return HfModel(network, pieces, {0}, prefixes, layout)

    return build


def grow(model: HfModel, prompts: Any, seed: int = 3, drop: bool = False) -> Any:
    """Grow ragged random trees; return {(prompt, path): log-probabilities}.

    What is grown for a prompt depends on the prompt alone, not on its neighbours.
    """
    session = model.open(prompts)
    seen = {
        (tuple(p), ()): row
        for p, row in zip(prompts, session.root_logits(), strict=True)
    }
    paths: dict[int, tuple[int, tuple[int, ...]]] = {}
    frontier = [(row, -1, ()) for row in range(len(prompts))]
    for level in range(4):
        new_nodes = []
        for row, handle, path in sorted(frontier):
            rng = np.random.default_rng([seed, level, *prompts[row], *path])
            tokens = rng.choice(VOCABULARY, rng.integers(0, 4), replace=False)
            new_nodes += [(row, handle, (*path, int(token))) for token in tokens]
        if drop:
            active = {row for row, _, _ in new_nodes}
            session.drop(np.array([r for r in range(len(prompts)) if r not in active]))
        if not new_nodes:
            break
        logits = session.expand(
            np.array([row for row, _, _ in new_nodes]),
            np.array([handle for _, handle, _ in new_nodes]),
            np.array([path[-1] for _, _, path in new_nodes]),
        )
        frontier = []
        for (row, _, path), vector in zip(new_nodes, logits, strict=True):
            seen[tuple(prompts[row]), path] = vector
            frontier.append((row, len(paths), path))
            paths[len(paths)] = (row, path)
    return {key: log_softmax(vector) for key, vector in seen.items()}


def log_softmax(logits: Any) -> Any:
    """Return log-probabilities in float64."""
    wide = logits.astype(np.float64)
    return wide - np.logaddexp.reduce(wide)


def plain(model: HfModel, prompt: Any, path: Any) -> Any:
    """Return log-probabilities after prompt and path: no cache, no mask, no batch."""
    model._head.selected = None
    with torch.no_grad():
        out = model.network(torch.tensor([[*prompt, *path]]), use_cache=False)
    return log_softmax(out.logits[0, -1].numpy())


def furthest(model: HfModel, grown: Any) -> float:
    """Return the largest error of any probability at any node."""
    return max(
        float(np.abs(np.exp(vector) - np.exp(plain(model, *key))).max())
        for key, vector in grown.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("prefixes", [(), [(1, 2, 3, 4, 5, 6, 7)], [(5,), (1, 2, 3)]])
@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_nodes_equal_forward_passes_without_cache(
    model_of: Builder, prefixes: Any, drop: bool, layout: str
) -> None:
    """Ragged prompts, shared prefixes and dropped rows leave no trace in float64."""
    model = model_of(prefixes=prefixes, layout=layout)

    grown = grow(model, PROMPTS, drop=drop)

    assert len(grown) > 25
    assert 1e-12 >= furthest(model, grown)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 1},
        {"hidden_size": 64},
        {"attn_implementation": "eager"},
    ],
)
def test_float32_stays_within_rounding(
    model_of: Builder, changes: dict[str, Any]
) -> None:
    """In float32 a node's distribution is right to 5e-5, with either kernel."""
    model = model_of(torch.float32, **changes)

    assert 5e-5 >= furthest(model, grow(model, PROMPTS))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_batch_and_order_do_not_matter(model_of: Builder, layout: str) -> None:
    """A prompt's nodes are the same alone, in a batch, and in a reversed batch."""
    together = grow(model_of(torch.float32, layout=layout), PROMPTS)
    reverse = grow(model_of(torch.float32, layout=layout), PROMPTS[::-1])
    alone: Any = {}
    for prompt in PROMPTS:
        alone |= grow(model_of(torch.float32, layout=layout), [prompt])

    assert together.keys() == reverse.keys() == alone.keys()
    for key, vector in together.items():
        assert np.exp(vector) == pytest.approx(np.exp(reverse[key]), abs=5e-5)
        assert np.exp(vector) == pytest.approx(np.exp(alone[key]), abs=5e-5)


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_duplicates_are_separate_rows(model_of: Builder, layout: str) -> None:
    """The same prompt twice gives the same root twice, and trees of its own."""
    model = model_of(layout=layout)
    session = model.open([PROMPTS[0], PROMPTS[0]])
    first = session.expand(np.array([0, 1]), np.array([-1, -1]), np.array([7, 8]))
    second = session.expand(np.array([0, 1]), np.array([0, 1]), np.array([9, 9]))

    assert plain(model, PROMPTS[0], [7]) == pytest.approx(log_softmax(first[0]))
    assert plain(model, PROMPTS[0], [7, 9]) == pytest.approx(log_softmax(second[0]))
    assert plain(model, PROMPTS[0], [8, 9]) == pytest.approx(log_softmax(second[1]))


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_forward_calls_are_one_prefix_one_prefill_one_level_each(
    model_of: Builder, layout: str
) -> None:
    """The number of passes depends on depth, not on how many prompts there are."""
    model = model_of(prefixes=[(1, 2, 3)], layout=layout)
    assert 1 == model.forward_calls
    session = model.open(PROMPTS)
    assert 2 == model.forward_calls
    for depth in range(3):
        handles = np.arange(4) - 4 + 4 * depth if depth else np.full(4, -1)
        session.expand(np.arange(4), handles, np.full(4, depth))
    assert 5 == model.forward_calls

    model.open(PROMPTS)

    assert 6 == model.forward_calls  # the prefix is still there


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_a_prefix_leaves_every_prompt_its_last_token(
    model_of: Builder, layout: str
) -> None:
    """A prompt that is a prefix itself is still asked for what comes next."""
    model = model_of(prefixes=[(1, 2, 3, 4)], layout=layout)

    session = model.open([(1, 2, 3, 4), (1, 2, 3, 4, 5)])

    actual = log_softmax(session.root_logits()[0])
    assert plain(model, (1, 2, 3, 4), ()) == pytest.approx(actual, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["siblings", "columns", "padding"])
def test_wrong_masks_and_positions_are_far_off(
    monkeypatch: pytest.MonkeyPatch, model_of: Builder, fault: str
) -> None:
    """Seeing siblings, counting columns, or seeing padding is far from rounding."""
    model = model_of()
    forward = model.forward

    def faulty(
        tokens: Any, positions: Any, visible: Any, cache: Any, selected: Any
    ) -> Any:
        level = tokens.shape[1] < visible.shape[2]  # a tree level, not the prefill
        if fault == "siblings" and level:
            visible = visible.copy()
            visible[:, :, -tokens.shape[1] :] = True
        if fault == "columns" and level:
            first = visible.shape[2] - tokens.shape[1]
            positions = np.broadcast_to(
                first + np.arange(tokens.shape[1]), positions.shape
            )
        if fault == "padding" and not level:
            visible = np.broadcast_to(
                np.tri(visible.shape[2], dtype=bool), visible.shape
            )
        return forward(tokens, positions, visible, cache, selected)

    monkeypatch.setattr(model, "forward", faulty)

    assert 1e-3 < furthest(model, grow(model, PROMPTS))


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_logits_that_are_no_numbers_stay_in_their_row(
    model_of: Builder, layout: str
) -> None:
    """One prompt's NaN stays its own: the others are as without it."""
    model = model_of(layout=layout)
    network = model.network
    with torch.no_grad():
        network.model.embed_tokens.weight[39] = float("nan")
    bad = (1, 2, 39)

    session = model.open([PROMPTS[0], bad])

    assert np.isnan(session.root_logits()[1]).all()
    expected = plain(model, PROMPTS[0], ())
    assert expected == pytest.approx(log_softmax(session.root_logits()[0]), abs=1e-12)


def test_the_head_widens_bfloat16(model_of: Builder) -> None:
    """Logits of a bfloat16 network come from float32 products of the final states."""
    model = model_of(torch.bfloat16)
    states: list[torch.Tensor] = []
    model._head.register_forward_pre_hook(lambda _, args: states.append(args[0]))

    roots = model.open([PROMPTS[0]]).root_logits()

    weight = model._head.inner.weight.float()
    expected = states[0][0, -1].float() @ weight.T
    assert expected.detach().numpy() == pytest.approx(roots[0], abs=1e-5)
    assert np.float32 == roots.dtype


def test_ancestors_by_hand() -> None:
    """A grandchild sees its parent's and grandparent's columns."""
    table = NodeTable()
    table.add(np.array([0, 0]), np.array([-1, -1]), np.array([10, 11]))
    table.add(np.array([0]), np.array([1]), np.array([12]))
    nodes = table.add(np.array([0, 0]), np.array([2, 0]), np.array([13, 14]))

    ancestors = [(w.tolist(), c.tolist()) for w, c in table.ancestors(nodes)]

    assert [([0, 1], [12, 10]), ([0], [11])] == ancestors
    assert [1, 1, 2, 3, 2] == table.depth.tolist()
