"""The strategies on verdict trees, as inert records; nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.evidence import GreedyPath, VerdictTree
from safebench.specs import StrategySpec

if TYPE_CHECKING:
    from safebench.specs import Kinds

_HERE = __package__
_TREE: Kinds = frozenset({VerdictTree})
_IN_SEED = frozenset(
    {
        "greedy",
        "token_probability",
        "marginal_fixed",
        "marginal_any",
        "probability_uncertainty",
        "entropy_uncertainty",
    }
)
_NO_TOP_P = "the tree is cut by eps alone, and what was cut is recorded"


def _spec(
    name: str,
    summary: str,
    emits: str,
    *,
    load: str = "",
    options: str = "reading:PositiveOptions",
    alias: str = "",
    needs: Kinds = _TREE,
) -> StrategySpec:
    """Describe a strategy; `load` and `options` are "module:attribute" of here."""
    return StrategySpec(
        name=name,
        aliases=(alias,) if alias else (),
        summary=summary,
        load=f"{_HERE}.{load or f'{name}:judge'}",
        options=f"{_HERE}.{options}" if options else "",
        needs=needs,
        emits=frozenset(emits.split()),
        record={"eps": "min", "max_new_tokens": "max"},
        ignores={"top_p": _NO_TOP_P},
        variants={"compat=seed": f"seed_{name}"} if name in _IN_SEED else {},
        decision_from="" if "score" in emits.split() else "greedy",
    )


def _unsure(name: str, summary: str, *fields: str) -> StrategySpec:
    """Describe an uncertainty of the greedy path that reads optional `fields`."""
    needs: Kinds = {GreedyPath: frozenset(fields)}
    return _spec(
        name,
        summary,
        "uncertainty",
        load=f"sequence:{name}",
        options="",
        needs=needs,
    )


SPECS: list[StrategySpec] = [
    _spec(
        "greedy",
        "the verdict that the model would write, as 0 or 1",
        "score categories uncertainty",
        alias="greedy_generation",
    ),
    _spec(
        "first_token",
        "a positive level's share of all levels, where a level is said first",
        "score probability uncertainty",
    ),
    _spec(
        "token_probability",
        "levels and labels given what the written verdict says before them",
        "score probability categories uncertainty",
        options="token_probability:TokenProbabilityOptions",
    ),
    _spec(
        "joint",
        "the probability of the written verdict up to its level or label",
        "score probability categories uncertainty",
    ),
    _spec(
        "marginal_fixed",
        "the probability that a verdict says unsafe, or names a category k-th",
        "score probability categories uncertainty bounds",
        options="marginal_fixed:MarginalFixedOptions",
        alias="marginal_probability_at_fixed_place",
    ),
    _spec(
        "marginal_slot1",
        "as first_token; categories named first, canonically spelled",
        "score probability categories uncertainty bounds",
    ),
    _spec(
        "marginal_any",
        "the probability that a verdict says unsafe, or names a category",
        "score probability categories uncertainty bounds",
        options="marginal_any:MarginalAnyOptions",
        alias="marginal_probability_at_any_place",
    ),
    _spec(
        "probability_uncertainty",
        "P(unsafe); unsure where no first label is likely",
        "score probability categories uncertainty",
        load="label_uncertainty:probability",
    ),
    _spec(
        "entropy_uncertainty",
        "P(unsafe); unsure where many first labels are likely",
        "score probability categories uncertainty",
        load="label_uncertainty:entropies",
    ),
    _spec(
        "verdict_entropy",
        "P(unsafe); unsure where verdicts of different meaning are likely",
        "score probability categories uncertainty bounds",
        options="verdict_entropy:VerdictEntropyOptions",
    ),
    _unsure("msp", "how unlikely the written verdict is"),
    _unsure("perplexity", "how unlikely its tokens are on average"),
    _unsure("mean_token_entropy", "mean entropy of its tokens", "entropy"),
    _unsure("max_token_entropy", "largest entropy of its tokens", "entropy"),
    _unsure("margin", "smallest lead of a token of it over the second likeliest"),
    _unsure("energy", "mean free energy of its tokens' logits", "log_norm"),
    _spec(
        "ccp",
        "how unlikely its level and labels are among those of their place",
        "uncertainty",
        options="",
    ),
]
