"""Identities and bounds that hold for any guard, against regular expressions."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import entropy

from safebench.evidence import VerdictTree
from safebench.evidence.base import EvidenceBundle
from safebench.strategies.base import Context, Judgements
from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import model_from_texts
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench_llamaguard_marginal.strategies.catalog import SPECS
from safebench_llamaguard_marginal.strategies.marginal import MarginalFixedOptions

PIECES = ["safe", "unsafe", "un", "\n\n", "\n", "S", "1", "2", "10", "0", ",", ",S"]
PIECES += ["1,", "x"]
CODES = ("S1", "S2", "S10")
BUDGET = 16
TINY = 1e-9
LOADED = {spec.name: spec.code() for spec in SPECS}


class Said(NamedTuple):
    """One verdict as regular expressions read it, and how likely it is."""

    level: str | None
    labels: tuple[str, ...]
    p: float


def random_text(rng: np.random.Generator, *, repeats: bool) -> list[str]:
    """Say something, mostly on the grammar, in some spelling."""

    def pick(*ways: str) -> list[str]:
        return ways[int(rng.integers(len(ways)))].split()

    out = pick("", "", "NN", "N N") + pick(
        "safe", "safe", "unsafe", "unsafe", "un safe"
    )
    if rng.random() < 0.1:
        return [*out, "x"] if rng.random() < 0.5 else ["x"]
    if not {"un", "unsafe"}.intersection(out) or rng.random() < 0.1:
        return out
    labels = [pick("1", "1"), pick("2"), pick("10", "1 0")]
    count = int(rng.integers(1, 4))
    order = rng.choice(3, size=count, replace=repeats)
    out += ["N", "S"]
    for i, which in enumerate(order):
        out += [*(pick(", S", ",S") if i else []), *labels[which]]
    return out + pick("", "", "", "x", ",")


def random_odds(seed: int, *, repeats: bool) -> dict[str, float]:
    """Draw what a guard may say, with odds from likely to very unlikely."""
    rng = np.random.default_rng(seed)
    texts = {tuple(random_text(rng, repeats=repeats)) for _ in range(25)}
    odds = rng.dirichlet(np.full(len(texts), 0.3))
    newlines = {"NN": "\n\n", "N": "\n"}
    return {
        "|".join(newlines.get(piece, piece) for piece in text): float(p)
        for text, p in zip(sorted(texts), odds, strict=True)
        if p > 0
    }


def read(odds: dict[str, float]) -> list[Said]:
    """Read every verdict with regular expressions."""
    out = []
    for pieces, p in odds.items():
        text = pieces.replace("|", "")
        word = re.match(r"(?:\n\n)?(unsafe|safe)(?![\w-])", text)
        labels: list[str] = []
        rest, joint = text[word.end() :] if word else "", r"\n"
        while word and word[1] == "unsafe":
            label = re.match(rf"{joint}(S\d+)", rest)
            if not label or label[1] not in CODES:
                break
            labels.append(label[1])
            rest, joint = rest[label.end() :], "(?:, |,)"
        out.append(Said(word[1] if word else None, tuple(labels), p))
    return out


def sums(verdicts: list[Said], k: int = 0) -> np.ndarray[Any, Any]:
    """Sum the odds of each label: anywhere, or as label number k."""
    return np.array(
        [
            sum(
                v.p
                for v in verdicts
                if code in (v.labels[k - 1 : k] if k else v.labels)
            )
            for code in CODES
        ]
    )


def judge(name: str, tree: VerdictTree, options: Any = None) -> Judgements:
    """Judge trees for prompt harm."""
    context = Context(task="prompt_harm", options=options)
    result: Judgements = LOADED[name](EvidenceBundle({VerdictTree: tree}), context)
    return result


def tree_of(odds: dict[str, float], eps: float) -> VerdictTree:
    """Explore what is said with given odds."""
    return _explored(tuple(odds.items()), eps)


@cache
def _explored(odds: tuple[tuple[str, float], ...], eps: float) -> VerdictTree:
    # most identities are of the same trees
    options = ExploreOptions(eps=eps, max_tokens=BUDGET, max_nodes=None)
    return explore(
        model_from_texts(PIECES, dict(odds)), [[0]], llama_guard(CODES), options
    ).tree


def fixed(tree: VerdictTree, k: int) -> Judgements:
    """Judge label number k."""
    return judge("marginal_fixed", tree, MarginalFixedOptions(k=k))


SEEDS = pytest.mark.parametrize("seed", range(12))
EPS = [0.0, 1e-3, 1e-2, 0.1]


@SEEDS
@pytest.mark.parametrize("eps", EPS)
def test_exact_values_lie_in_the_bounds(seed: int, eps: float) -> None:
    """Whatever was cut, and exactly where nothing was."""
    odds = random_odds(seed, repeats=True)
    verdicts, tree = read(odds), tree_of(odds, eps)
    unsafe = sum(v.p for v in verdicts if v.level == "unsafe")
    pairs = [(judge("marginal_any", tree), sums(verdicts))]
    pairs += [(fixed(tree, k), sums(verdicts, k)) for k in (1, 2, 3)]

    for result, exact in pairs:
        for lower, value, upper in [
            (result.lower, unsafe, result.upper),
            (result.category_lower, exact, result.category_upper),
        ]:
            assert lower is not None
            assert upper is not None
            assert (lower - TINY <= value).all()
            assert (value <= upper + TINY).all()
            if eps == 0:
                assert_allclose(lower - value, 0, atol=TINY)


@SEEDS
@pytest.mark.parametrize("eps", EPS)
def test_verdict_entropy_is_that_of_the_outcomes(seed: int, eps: float) -> None:
    """It is the entropy of level and label set, or its bounds hold that."""
    odds = random_odds(seed, repeats=True)
    mass: dict[Any, float] = defaultdict(float)
    for v in read(odds):
        mass[v.level, frozenset(v.labels)] += v.p
    exact = entropy(list(mass.values()))
    result = judge("verdict_entropy", tree_of(odds, eps))
    lower, upper = result.uncertainty_lower, result.uncertainty_upper
    assert lower is not None
    assert upper is not None

    assert lower[0] - TINY <= exact <= upper[0] + TINY
    if eps == 0:
        assert_allclose([exact], result.uncertainty, atol=TINY)


@SEEDS
def test_positions_sum_to_anywhere(seed: int) -> None:
    """A = sum of F_k where lists repeat nothing, and at most that where they do."""
    for repeats in (False, True):
        odds = random_odds(seed, repeats=repeats)
        tree = tree_of(odds, 0.0)
        anywhere = judge("marginal_any", tree).categories
        places = sum(np.array(fixed(tree, k).categories) for k in (1, 2, 3))
        assert anywhere is not None
        assert (anywhere <= places + TINY).all()
        if not repeats:
            assert_allclose(places, anywhere, atol=TINY)


@SEEDS
def test_first_labels_sum_to_any_label(seed: int) -> None:
    """Sum F_1 = P(a label), sum A = E|V|, F_1 <= A <= P(unsafe), slot1 <= F_1."""
    odds = random_odds(seed, repeats=True)
    verdicts, tree = read(odds), tree_of(odds, 0.0)
    result = judge("marginal_any", tree)
    first, whole, score = (
        fixed(tree, 1).categories,
        result.categories,
        result.score,
    )
    spelled = judge("marginal_slot1", tree).categories
    assert first is not None
    assert whole is not None
    assert score is not None
    assert spelled is not None

    assert_allclose(sum(v.p for v in verdicts if v.labels), first.sum(), atol=TINY)
    assert_allclose(
        sum(v.p * len({*v.labels}) for v in verdicts), whole.sum(), atol=TINY
    )
    assert (first <= whole + TINY).all()
    assert (whole <= score + TINY).all()
    assert (np.nan_to_num(spelled) <= first + TINY).all()


@SEEDS
@pytest.mark.parametrize("eps", EPS)
def test_joint_is_at_most_anywhere(seed: int, eps: float) -> None:
    """One text that names a label is no likelier than all of them together."""
    tree = tree_of(random_odds(seed, repeats=True), eps)
    one, all_ = judge("joint", tree).categories, judge("marginal_any", tree)
    assert one is not None
    assert all_.category_upper is not None

    assert (np.nan_to_num(one) <= all_.category_upper + TINY).all()


@SEEDS
@pytest.mark.parametrize("eps", EPS)
def test_levels_and_their_absence_sum_to_one(seed: int, eps: float) -> None:
    """Lower bounds of levels, P(invalid) and what is open before a level make 1."""
    cut = TreeBounds(tree_of(random_odds(seed, repeats=True), eps))
    levels = sum(cut.level_bounds([i == j for j in (0, 1)]).lower for i in (0, 1))
    open_ = cut.invalid_bounds.upper - cut.invalid_bounds.lower

    assert_allclose([1.0], levels + cut.invalid_bounds.lower + open_, atol=TINY)


@pytest.mark.slow
@SEEDS
def test_values_on_forced_paths_do_not_depend_on_eps(seed: int) -> None:
    """What was recorded whatever its probability is the same however much was cut."""
    odds = random_odds(seed, repeats=True)
    whole = tree_of(odds, 0.0)
    for eps in EPS[1:]:
        tree = tree_of(odds, eps)
        for name in ("token_probability", "joint", "msp", "margin", "ccp"):
            expected, result = judge(name, whole), judge(name, tree)
            for column in ("score", "categories", "uncertainty"):
                value = getattr(expected, column)
                if value is not None:
                    assert_allclose(value, getattr(result, column), atol=TINY)
