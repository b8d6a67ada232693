"""Point estimates between the bounds, against the enumerated verdicts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.errors import OptionError
from safebench.evidence import VerdictTree
from safebench.evidence.base import EvidenceBundle
from safebench.lazy import import_object
from safebench.strategies.base import Context, Judgements
from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import model_from_texts
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench_llamaguard_marginal.strategies.catalog import SPECS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.typing import Array

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
    by_labels = [(re.findall(r"S\d+", t.replace("|", "")), p) for t, p in odds.items()]
    positions = slice(k - 1, k) if name == "marginal_fixed" else slice(None)
    labels = [
        sum(p for named, p in by_labels if code in named[positions]) for code in CODES
    ]
    return sum(p for text, p in odds.items() if "un" in text), np.array(labels)


def trees(odds: Mapping[str, float], prompts: int = 1, **options: Any) -> VerdictTree:
    """Explore what is said with given odds; a prompt's draws are its own."""
    settings = ExploreOptions(**{"max_tokens": 16, "max_nodes": None, **options})
    prompt_ids = [[row, 0] for row in range(prompts)]
    return explore(
        model_from_texts(PIECES, odds), prompt_ids, llama_guard(CODES), settings
    ).tree


class Point(NamedTuple):
    """Where a strategy put a score, (B,), and categories, (B, labels)."""

    score: Array
    categories: Array
    uncertainty: Array


def judge(name: str, tree: VerdictTree, **options: Any) -> Point:
    """Judge trees for prompt harm."""
    chosen = import_object(LOADED[name].options)(**options)
    context = Context(task="prompt_harm", options=chosen)
    result: Judgements = LOADED[name].code()(
        EvidenceBundle({VerdictTree: tree}), context
    )
    assert result.score is not None
    assert result.categories is not None
    assert result.uncertainty is not None
    return Point(result.score, result.categories, result.uncertainty)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), BOUNDED)
@pytest.mark.parametrize("seed", range(4))
def test_monte_carlo_estimates_are_unbiased(
    name: str, options: dict[str, int], seed: int
) -> None:
    """Over 200 prompts with draws of their own, means are within 4 errors."""
    odds = random_odds(seed)
    tree = trees(odds, SEEDS, eps=0.35, force_canonical=False, mc_samples=10)
    result = judge(name, tree, point="mc", **options)
    score, labels = exact(odds, name, 1)
    drawn = np.column_stack([result.categories, result.score])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(SEEDS)

    assert (error > 0).any()
    off = np.abs(drawn.mean(axis=0) - [*labels, score])
    # What no draw of 2,000 met is too rare to have an error of its own.
    assert (off <= 4 * error + 3 / (10 * SEEDS)).all()
    lower = judge(name, tree, point="lower", **options)
    assert (labels - lower.categories[0] > 4 * error[:-1]).any()
    assert score - lower.score[0] > 4 * error[-1]


@pytest.mark.parametrize(("name", "options", "point"), EXACT)
def test_without_open_mass_every_estimate_is_exact(
    name: str, options: dict[str, int], point: str
) -> None:
    """There is nothing between bounds that meet."""
    odds = random_odds(7)
    result = judge(name, trees(odds, eps=0.0, mc_samples=5), point=point, **options)
    score, labels = exact(odds, name, options.get("k", 1))

    assert_allclose([score], result.score, atol=1e-12)
    assert_allclose([labels], result.categories, atol=1e-12)


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
def test_positions_by_hand(k: int, point: str, expected: list[float]) -> None:
    """Mid splits what is open, renorm leaves it out: of .7 resolved, .2 say S1."""
    result = judge("marginal_fixed", trees(CUT, max_tokens=5), k=k, point=point)

    assert_allclose([expected], result.categories, atol=1e-12)
    assert_allclose([2 / 7 if point == "renorm" else 0.5], result.score)


def test_entropy_is_that_of_a_distribution() -> None:
    """Three labels at .5 each are too much: the uncertainty is that of thirds."""
    tree = trees({"unsafe|\n|S|1": 1.0}, max_tokens=3, force_canonical=False)
    result = judge("marginal_fixed", tree, point="mid")

    assert_allclose([[0.5, 0.5, 0.5]], result.categories)
    assert_allclose([np.log(3)], result.uncertainty)


def test_renormalized_nothing_is_unknown() -> None:
    """A gap of 1 leaves nothing to scale."""
    tree = trees({"unsafe|\n|S|1": 1.0}, max_tokens=3, force_canonical=False)
    result = judge("marginal_fixed", tree, point="renorm")

    assert np.isnan(result.categories).all()
    assert np.isnan([result.score, result.uncertainty]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"k": 1}, "record them with mc_samples"), ({"k": 2}, "k=2\n  choose k=1")],
)
def test_samples_that_were_not_recorded_are_asked_for(
    options: dict[str, int], message: str
) -> None:
    """No draws at all, and draws of another place than the first."""
    drawn = {"mc_samples": 5} if options["k"] > 1 else {}
    tree = trees(CUT, max_tokens=4, **drawn)
    with pytest.raises(OptionError, match=message):
        judge("marginal_fixed", tree, point="mc", **options)
