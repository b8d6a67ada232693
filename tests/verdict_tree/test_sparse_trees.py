"""Trees of models that list a few tokens, against the full distributions."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.errors import OptionError
from safebench.evidence import EvidenceBundle, GreedyPath
from safebench.testing.sparse_view import SparseView
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.bounds import Bounds, LabelPositions, TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, TreeExplorer
from safebench.verdict_tree.grammar import Grammar, Level
from safebench.verdict_tree.sparse_explorer import SparseExplorer
from safebench.verdict_tree.vocabulary import STOP, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree
    from safebench.typing import Array
    from safebench.verdict_tree.sparse_logits import Unlisted
    from safebench.verdict_tree.sparse_model import ListedTokens

TINY = 1e-12
K = (5, 20, 100)
LABELS = ("S1", "S2", "S3", "S10")
WORDS = ["", "safe", "unsafe", "un", "\n", "S", "1", "2", "3", "0", ",", ",S", "S1"]
GRAMMAR = Grammar(
    levels=(Level(name="safe"), Level(name="unsafe", takes_labels=True)),
    labels=LABELS,
    openers=("", "\n"),
    intro="\n",
    separators=(",",),
)


class RandomTable(dict[tuple[int, ...], Any]):
    """Distributions over V tokens after every prefix, peaked on the first few."""

    def __init__(self, seed: int, width: int) -> None:
        self._seed, self._width = seed, width

    def get(self, prefix: tuple[int, ...], default: Any = None) -> Any:
        """Return the distribution after a prefix."""
        if prefix not in self:
            rng = np.random.default_rng([self._seed, *prefix])
            logits = rng.normal(0, 2.5, self._width)
            logits[: len(WORDS)] += 3
            self[prefix] = np.exp(logits) / np.exp(logits).sum()
        return self[prefix]


def random_model(seeds: Sequence[int]) -> TableModel:
    """Return a model of 140 tokens, most of them off the grammar."""
    texts = [*WORDS, *(f"{a}{b}" for a in "xyzw" for b in range(10))]
    texts += [f"{i}" for i in range(4, 91)]
    token_bytes = [text.encode() for text in texts]
    return TableModel(token_bytes, 0, [RandomTable(s, len(texts)) for s in seeds])


@pytest.fixture(scope="module")
def model() -> TableModel:
    """Four prompts with distributions of their own."""
    return random_model(range(4))


def options(eps: float = 1e-3, **other: Any) -> ExploreOptions:
    """Return options for verdicts of at most 6 tokens."""
    return ExploreOptions(eps=eps, max_nodes=None, max_tokens=6, **other)


@pytest.fixture(scope="module")
def exact(model: TableModel) -> TreeBounds:
    """Grow trees of the full distributions, with next to nothing left out."""
    trees = TreeExplorer(model, GRAMMAR, options(1e-7)).explore([[0], [1], [2], [3]])
    return TreeBounds(trees.tree)


def sparse_tree(
    model: TableModel, top_k: int, unlisted: Unlisted, eps: float = 1e-3
) -> VerdictTree:
    """Return the trees of a model of which K tokens are seen."""
    max_ids = 128 if unlisted == "ids" else 0
    view = SparseView.of_table(model, top_k=top_k, max_ids=max_ids)
    explorer = SparseExplorer(view, GRAMMAR, options(eps), unlisted=unlisted)
    return explorer.explore([[0], [1], [2], [3]]).tree


def quantities(tree_bounds: TreeBounds) -> list[Bounds]:
    """Return the bounds of levels, labels, first labels and of no level at all."""
    positive = tree_bounds.level_bounds([False, True])
    return [
        positive,
        tree_bounds.level_bounds([True, False]),
        tree_bounds.invalid_bounds,
        tree_bounds.label_bounds,
        LabelPositions(tree_bounds, 1).bounds,
        LabelPositions(tree_bounds, 2).bounds,
    ]


@pytest.mark.parametrize("unlisted", ["rest", "cap", "ids"])
@pytest.mark.parametrize("top_k", K)
def test_bounds_hold_what_the_full_distributions_say(
    model: TableModel, exact: TreeBounds, top_k: int, unlisted: Unlisted
) -> None:
    """Every exact interval overlaps the sparse bounds, and masses sum to 1."""
    bounds = TreeBounds(sparse_tree(model, top_k, unlisted))

    assert_allclose(
        bounds.sum_by_sample(bounds.partition.mass, bounds.partition.mass > 0),
        1,
        rtol=0,
        atol=TINY,
    )
    for (lower, upper), (below, above) in zip(
        quantities(bounds), quantities(exact), strict=True
    ):
        # the truth lies between `below` and `above`, which are all but equal
        assert (above - below < 2e-3).all()
        assert (lower <= above + TINY).all()
        assert (below <= upper + TINY).all()


class LikeliestAlone(SparseView):
    """A view of which the likeliest token is known, and others by id."""

    def top_tokens(self, contexts: Sequence[Sequence[int]]) -> ListedTokens:
        """List the likeliest token alone, and say so."""
        listed = super().top_tokens(contexts)
        return replace(
            listed,
            ids=listed.ids[:, :1],
            logp=listed.logp[:, :1],
            max_unlisted=listed.logp[:, 0],
            n_top=np.ones(len(contexts), dtype=np.int64),
        )


@pytest.mark.parametrize("max_ids", [0, 128])
@pytest.mark.parametrize("unlisted", ["rest", "cap", "ids"])
def test_bounds_hold_where_the_likeliest_token_alone_is_known(
    model: TableModel, exact: TreeBounds, unlisted: Unlisted, max_ids: int
) -> None:
    """The greedy verdict is the same; what comes next in its places is not known."""
    if unlisted == "ids" and not max_ids:
        pytest.skip("tokens cannot be asked for by id")
    view = LikeliestAlone.of_table(model, top_k=20, max_ids=max_ids)
    explorer = SparseExplorer(view, GRAMMAR, options(), unlisted=unlisted)
    tree = explorer.explore([[0], [1], [2], [3]]).tree

    bounds = TreeBounds(tree)
    for (lower, upper), (below, above) in zip(
        quantities(bounds), quantities(exact), strict=True
    ):
        assert (lower <= above + TINY).all()
        assert (below <= upper + TINY).all()
    greedy = EvidenceBundle({type(tree): tree})[GreedyPath]
    truth = EvidenceBundle({type(tree): exact.tree})[GreedyPath]
    assert truth["token"].tolist() == greedy["token"].tolist()
    assert np.isnan(greedy["top_logp"][:, 1:]).all()
    assert (greedy["top_ids"][:, 1:] == -1).all()
    assert_allclose(greedy["top_logp"][:, 0], truth["top_logp"][:, 0], atol=1e-6)


@pytest.mark.parametrize("unlisted", ["rest", "cap"])
def test_bounds_shrink_as_more_is_listed(model: TableModel, unlisted: Unlisted) -> None:
    """Bounds at a larger K lie within those at a smaller one."""
    nested = [quantities(TreeBounds(sparse_tree(model, k, unlisted))) for k in (2, *K)]

    for wide, narrow in pairwise(nested):
        for outer, inner in zip(wide, narrow, strict=True):
            assert (outer.lower <= inner.lower + TINY).all()
            assert (inner.upper <= outer.upper + TINY).all()
        assert (wide[0].upper - wide[0].lower > narrow[0].upper - narrow[0].lower).all()


def test_the_cap_is_tighter(model: TableModel) -> None:
    """Where the K-th probability says that little can go on, bounds are closer."""
    for top_k in K:
        plain = TreeBounds(sparse_tree(model, top_k, "rest"))
        capped = TreeBounds(sparse_tree(model, top_k, "cap"))
        for outer, inner in zip(quantities(plain), quantities(capped), strict=True):
            assert (outer.lower <= inner.lower + TINY).all()
            assert (inner.upper <= outer.upper + TINY).all()
        assert (capped.open_mass < plain.open_mass).all()


@pytest.mark.parametrize("max_ids", [128, 40])
def test_asking_for_all_tokens_of_the_grammar_gives_the_full_tree(
    model: TableModel, max_ids: int
) -> None:
    """Nodes and remainders are those of logits if one question holds all tokens.

    If it does not, as after ``S1`` with 90 digit strings, the cap bounds the others.
    """
    view = SparseView.of_table(model, top_k=140, max_ids=max_ids)
    explorer = SparseExplorer(view, GRAMMAR, options(), unlisted="ids")
    tree = explorer.explore([[0], [1], [2], [3]]).tree
    full = TreeExplorer(model, GRAMMAR, options()).explore([[0], [1], [2], [3]]).tree

    same = ("parent", "token", "flags", "status", "label", "node", "top_ids")
    assert all((tree[name] == full[name]).all() for name in same)
    for name in ("logp", "stop", "closed", "rest"):
        assert_allclose(tree[name], full[name], rtol=0, atol=1e-12)
    assert not tree["unlisted_forced"].any()
    assert_allclose(tree["unlisted"], 0, atol=1e-12)
    assert tree.meta["listed"] == {"top_logprobs": 140, "unlisted": "ids"}


class UncappedView(SparseView):
    """A view that does not say how likely a token may be that is not listed."""

    def top_tokens(self, contexts: Sequence[Sequence[int]]) -> ListedTokens:
        """List the K likeliest tokens."""
        listed = super().top_tokens(contexts)
        return replace(listed, max_unlisted=np.zeros(len(contexts)))


def test_the_cap_bounds_what_no_question_could_hold(model: TableModel) -> None:
    """Of 94 tokens after ``S1``, 90 are asked for: the K-th bounds the other four."""
    unlisted = []
    for view_class in (SparseView, UncappedView):
        view = view_class.of_table(model, top_k=60, max_ids=90)
        explorer = SparseExplorer(view, GRAMMAR, options(), unlisted="ids")
        tree = explorer.explore([[0], [1], [2], [3]]).tree
        unlisted.append(tree["unlisted"].sum())

    assert 0 < unlisted[0] < 0.8 * unlisted[1]


def test_kinds_of_questions_never_overlap_and_a_level_is_one_call(
    model: TableModel,
) -> None:
    """A level asks once by id, and once more for what the greedy verdicts are."""
    view = SparseView.of_table(model, top_k=20, max_ids=128)
    explorer = SparseExplorer(view, GRAMMAR, options(), unlisted="ids")
    exploration = explorer.explore([[0], [1], [2], [3]])

    assert len(exploration.tree) == 4
    kinds = [kind for kind, _ in view.asked]
    assert kinds[:2] == ["ids", "top"]
    assert kinds.count("ids") == 6  # a verdict has 6 tokens
    assert kinds.count("top") <= 6
    assert view.asked[:2] == [("ids", 4), ("top", 4)]


def test_a_forced_token_that_is_not_listed_is_counted(model: TableModel) -> None:
    """It gets no node, and its probability is at most what its node leaves open."""
    tree = sparse_tree(model, 5, "cap")
    full = TreeExplorer(model, GRAMMAR, options()).explore([[0], [1], [2], [3]]).tree

    assert tree["unlisted_forced"].sum() > 0
    missed = np.nonzero(tree["unlisted_forced"])[0]
    # the root of the first prompt is expanded node 0 in both trees
    root = [n for n in range(1, full.offsets["N"][1]) if full["parent"][n] == 0]
    listed = {t for t, p in zip(tree["token"], tree["parent"], strict=True) if p == 0}
    absent = [full["logp"][n] for n in root if full["token"][n] not in listed]
    assert (np.exp(absent) <= tree["unlisted"][0] + TINY).all()
    assert (tree["unlisted"][missed] > 0).all()


def test_a_model_that_can_be_asked_is_asked_for_forced_tokens(
    model: TableModel,
) -> None:
    """Then every canonical encoding has its own probability, at any K."""
    view = SparseView.of_table(model, top_k=5, max_ids=128)
    explorer = SparseExplorer(view, GRAMMAR, options(), unlisted="cap")
    tree = explorer.explore([[0], [1], [2], [3]]).tree
    full = TreeExplorer(model, GRAMMAR, options()).explore([[0], [1], [2], [3]]).tree

    def forced(trees: VerdictTree) -> Array:
        return trees["logp"][((trees["flags"] & 2) > 0) & (trees["parent"] >= 0)]

    assert not tree["unlisted_forced"].any()
    # openers that are not listed have no node, and force nothing
    assert 40 < len(forced(tree)) <= len(forced(full))
    distance = np.abs(forced(tree)[:, None] - forced(full)).min(axis=1)
    assert_allclose(distance, 0, atol=1e-12)


def test_a_model_that_can_be_asked_is_asked_where_the_cap_says_little(
    model: TableModel,
) -> None:
    """What one question holds is then known; elsewhere the cap was enough."""
    view = SparseView.of_table(model, top_k=100, max_ids=138)
    explorer = SparseExplorer(view, GRAMMAR, options(), unlisted="cap")
    tree = explorer.explore([[0], [1], [2], [3]]).tree
    alone = sparse_tree(model, 100, "cap")

    assert (alone["unlisted"] > 3e-4).any()
    assert (tree["unlisted"] <= 3e-4).all()
    assert (tree["unlisted"] > 0).any()


def test_the_greedy_path_is_that_of_the_full_model(model: TableModel) -> None:
    """Its tokens, probabilities and alternatives are the same at any K."""
    from safebench.verdict_tree.greedy_path import greedy_path

    full = greedy_path(
        TreeExplorer(model, GRAMMAR, options()).explore([[0], [1], [2], [3]]).tree
    )
    path = greedy_path(sparse_tree(model, 3, "rest"))

    assert (path["token"] == full["token"]).all()
    assert_allclose(path["logp"], full["logp"], atol=1e-12)
    assert_allclose(path["top_logp"], full["top_logp"][:, :3], atol=1e-6)
    assert set(path.arrays) == {"token", "logp", "top_ids", "top_logp"}


def test_a_row_without_numbers_fails_its_sample_alone(model: TableModel) -> None:
    """NaN in one prompt's answer is a failed sample, and the others are as before."""
    full = SparseView.of_table(model, top_k=20)

    def broken(contexts: Sequence[Sequence[int]]) -> Array:
        logits = full._next_logits(contexts)
        logits[[context[0] == 1 for context in contexts]] = np.nan
        return logits

    view = SparseView(broken, model.token_bytes, model.eos, top_k=20)
    exploration = SparseExplorer(view, GRAMMAR, options()).explore([[0], [1], [2]])
    expected = SparseExplorer(full, GRAMMAR, options()).explore([[0], [2]])

    errors = [stats.error for stats in exploration.stats]
    assert errors == [None, "the engine gave no probabilities for this prompt", None]
    kept = exploration.tree.select([0, 2])
    assert (kept["logp"] == expected.tree["logp"]).all()


@pytest.mark.parametrize("other", [{"mc_samples": 5}, {"draft_opener": ""}])
def test_what_needs_more_is_refused(model: TableModel, other: dict[str, Any]) -> None:
    """Monte Carlo samples and drafts are no options here, and say so."""
    view = SparseView.of_table(model, top_k=20)
    with pytest.raises(OptionError, match=next(iter(other)).split("_")[0]):
        SparseExplorer(view, GRAMMAR, options(**other))


def test_tokens_to_ask_for_begin_with_what_can_still_be_read(
    model: TableModel,
) -> None:
    """Of too many, those that can lead to a label come before dead runs of digits."""
    from safebench.verdict_tree.sparse_logits import WantedTokens

    vocabulary = Vocabulary.of_model(GRAMMAR, model)
    state = vocabulary.automaton.state_after("unsafe\nS1")
    wanted = WantedTokens.of(vocabulary, state, 8)
    everything = WantedTokens.of(vocabulary, state, 128)

    assert (wanted.complete, everything.complete) == (False, True)
    assert wanted.ids == everything.ids[:8]
    assert wanted.ids[0] == 0
    texts = {vocabulary.token_bytes[i] for i in wanted.ids}
    assert {b"0", b",", b",S"} <= texts
    going_on = np.nonzero(vocabulary.transitions(state).kind != STOP)[0]
    assert {0, *going_on.tolist()} == set(everything.ids)


@pytest.mark.parametrize("unlisted", ["rest", "cap", "ids"])
@pytest.mark.parametrize("top_k", K)
def test_enumerated_values_lie_within_the_bounds(
    case: dict[str, Any], top_k: int, unlisted: Unlisted
) -> None:
    """On table models whose verdicts were enumerated, at any K and eps."""
    vocabulary, expected = case["vocabulary"], case["expected"]
    rows = {tuple(map(int, k.split())): p for k, p in case["model"].items()}
    tokens = [text.encode() for text in vocabulary["pieces"]]
    model = TableModel(tokens, vocabulary["eos"], [rows])
    max_ids = 128 if unlisted == "ids" else 0
    view = SparseView.of_table(model, top_k=top_k, max_ids=max_ids)
    grammar = Grammar.from_json(case["grammar"])
    own = ExploreOptions(eps=1e-3, max_nodes=None, max_tokens=case["D"])
    explorer = SparseExplorer(view, grammar, own, unlisted=unlisted)
    bounds = TreeBounds(explorer.explore([[0]]).tree)

    positive = bounds.level_bounds(grammar.positive_mask("prompt_harm"))
    assert positive.lower[0] <= expected["positive"] + 1e-9
    assert expected["positive"] <= positive.upper[0] + 1e-9
    labels = np.array([expected["A"][label] for label in grammar.labels])
    assert (bounds.label_bounds.lower[0] <= labels + 1e-9).all()
    assert (labels <= bounds.label_bounds.upper[0] + 1e-9).all()
    assert bounds.invalid_bounds.lower[0] <= expected["invalid"] + 1e-9
    assert expected["invalid"] <= bounds.invalid_bounds.upper[0] + 1e-9
