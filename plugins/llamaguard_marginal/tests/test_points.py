"""Where `point` puts probabilities between their bounds, against what is said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.engine.explore import ExploreOptions, explore
from safebench.engine.grammars import llama_guard
from safebench.errors import OptionError
from safebench.evidence import VerdictTree
from safebench.evidence.bundle import Bundle
from safebench.judgements import Context, Judgements
from safebench.specs import resolve
from safebench.testing.spoken import spoken
from safebench_llamaguard_marginal.strategies.catalog import SPECS

if TYPE_CHECKING:
    from collections.abc import Mapping

    Array = np.ndarray[Any, np.dtype[Any]]

PIECES = ["safe", "unsafe", "\n\n", "\n", "S", "1", "2", "0", ","]
CODES = ("S1", "S2", "S20")
POINTS = ["lower", "mid", "renorm", "mc"]
LOADED = {spec.name: spec for spec in SPECS}
BOUNDED = [("marginal_any", {}), ("verdict_entropy", {}), ("marginal_fixed", {"k": 1})]
EXACT = [(*pair, point) for pair in BOUNDED for point in POINTS]
EXACT += [("marginal_fixed", {"k": 2}, point) for point in POINTS[:-1]]
SEEDS = 200


def random_odds(seed: int) -> dict[str, float]:
    """Draw verdicts of up to three labels, repeats included, and their odds.

    Two are likely after an opener, so that a level too is left open where much is cut.
    """
    rng = np.random.default_rng(seed)
    likely = {"\n\n|safe": 0.3, "\n\n|unsafe|\n|S|1": 0.3}
    texts = {"safe", *likely}
    for _ in range(20):
        picked = rng.choice(["S|1", "S|2", "S|2|0"], size=rng.integers(1, 4))
        opener = rng.choice(["", "\n\n|"])
        texts.add(f"{opener}unsafe|\n|" + "|,|".join(picked))
    odds = 0.4 * rng.dirichlet(np.full(len(texts), 0.6))
    drawn = dict(zip(sorted(texts), odds.tolist(), strict=True))
    return {text: p + likely.get(text, 0.0) for text, p in drawn.items()}


def exact(odds: Mapping[str, float], name: str, k: int) -> tuple[float, Any]:
    """Return P(unsafe), and P(label) anywhere or as label number k."""
    read = [(re.findall(r"S\d+", said.replace("|", "")), odds[said]) for said in odds]
    places = slice(None) if name != "marginal_fixed" else slice(k - 1, k)
    labels = [sum(p for said, p in read if code in said[places]) for code in CODES]
    return sum(p for said, p in odds.items() if "un" in said), np.array(labels)


def trees(odds: Mapping[str, float], prompts: int = 1, **options: Any) -> VerdictTree:
    """Explore what is said with given odds; a prompt's draws are its own."""
    wanted = ExploreOptions(**{"budget": 16, "max_nodes": None, **options})
    asked = [[row, 0] for row in range(prompts)]
    return explore(spoken(PIECES, odds), asked, llama_guard(CODES), wanted).tree


class Point(NamedTuple):
    """Where a strategy put a score, (B,), and categories, (B, labels)."""

    score: Array
    categories: Array
    uncertainty: Array


def judge(name: str, tree: VerdictTree, **options: Any) -> Point:
    """Judge trees for prompt harm."""
    chosen = resolve(LOADED[name].options)(**options)
    context = Context(task="prompt_harm", options=chosen)
    found: Judgements = LOADED[name].code()(Bundle({VerdictTree: tree}), context)
    assert found.score is not None
    assert found.categories is not None
    assert found.uncertainty is not None
    return Point(found.score, found.categories, found.uncertainty)


@pytest.mark.parametrize(("name", "options"), BOUNDED)
@pytest.mark.parametrize("seed", range(4))
def test_draws_are_unbiased(name: str, options: dict[str, int], seed: int) -> None:
    """Over 200 prompts with draws of their own, means are within 4 errors."""
    odds = random_odds(seed)
    tree = trees(odds, SEEDS, eps=0.35, forced=False, mc_samples=10)
    found = judge(name, tree, point="mc", **options)
    score, labels = exact(odds, name, 1)
    drawn = np.column_stack([found.categories, found.score])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(SEEDS)

    assert (error > 0).any()
    off = np.abs(drawn.mean(axis=0) - [*labels, score])
    # What no draw of 2,000 met is too rare to have an error of its own.
    assert (off <= 4 * error + 3 / (10 * SEEDS)).all()
    lower = judge(name, tree, point="lower", **options)
    assert (labels - lower.categories[0] > 4 * error[:-1]).any()
    assert score - lower.score[0] > 4 * error[-1]


@pytest.mark.parametrize(("name", "options", "point"), EXACT)
def test_without_a_gap_every_point_is_exact(
    name: str, options: dict[str, int], point: str
) -> None:
    """There is nothing between bounds that meet."""
    odds = random_odds(7)
    found = judge(name, trees(odds, eps=0.0, mc_samples=5), point=point, **options)
    score, labels = exact(odds, name, options.get("k", 1))

    assert_allclose([score], found.score, atol=1e-12)
    assert_allclose([labels], found.categories, atol=1e-12)


# At four tokens the second is open after its first label: .3 is the gap.
CUT = {"unsafe|\n|S|1": 0.2, "unsafe|\n|S|2|,|S|1": 0.3, "safe": 0.5}


@pytest.mark.parametrize(
    ("k", "point", "expected"),
    [
        (1, "lower", [0.2, 0.3, 0.0]),
        (1, "mid", [0.2, 0.3, 0.0]),
        (1, "renorm", [2 / 7, 0.0, 0.0]),
        (2, "lower", [0.0, 0.0, 0.0]),
        (2, "mid", [0.15, 0.15, 0.15]),
        (2, "renorm", [0.0, 0.0, 0.0]),
    ],
)
def test_places_by_hand(k: int, point: str, expected: list[float]) -> None:
    """Mid splits what is open, renorm leaves it out: of .7 resolved, .2 say S1."""
    found = judge("marginal_fixed", trees(CUT, budget=5), k=k, point=point)

    assert_allclose([expected], found.categories, atol=1e-12)
    assert_allclose([2 / 7 if point == "renorm" else 0.5], found.score)


def test_entropy_is_that_of_a_distribution() -> None:
    """Three labels at .5 each are too much: the uncertainty is that of thirds."""
    tree = trees({"unsafe|\n|S|1": 1.0}, budget=3, forced=False)
    found = judge("marginal_fixed", tree, point="mid")

    assert_allclose([[0.5, 0.5, 0.5]], found.categories)
    assert_allclose([np.log(3)], found.uncertainty)


def test_renormed_nothing_is_unknown() -> None:
    """A gap of 1 leaves nothing to scale."""
    tree = trees({"unsafe|\n|S|1": 1.0}, budget=3, forced=False)
    found = judge("marginal_fixed", tree, point="renorm")

    assert np.isnan(found.categories).all()
    assert np.isnan([found.score, found.uncertainty]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"k": 1}, "record them with mc_samples"), ({"k": 2}, "k=2\n  choose k=1")],
)
def test_draws_that_were_not_recorded_are_asked_for(
    options: dict[str, int], message: str
) -> None:
    """No draws at all, and draws of another place than the first."""
    drawn = {"mc_samples": 5} if options["k"] > 1 else {}
    tree = trees(CUT, budget=4, **drawn)
    with pytest.raises(OptionError, match=message):
        judge("marginal_fixed", tree, point="mc", **options)
