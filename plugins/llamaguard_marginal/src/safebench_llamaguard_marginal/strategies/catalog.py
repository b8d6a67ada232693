"""Specs of the strategies on verdict trees; imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench import StrategySpec
from safebench.evidence import GreedyPath, VerdictTree
from safebench_llamaguard_marginal.texts.evidence import GreedyVerdict, VerdictTexts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.evidence import Evidence

    # Kinds of evidence, or each with the optional fields that are read.
    Kinds = frozenset[type[Evidence]] | Mapping[type[Evidence], frozenset[str]]

_PACKAGE = __package__
_TREE: Kinds = frozenset({VerdictTree})
_SAMPLED_TEXTS: Kinds = {VerdictTexts: frozenset({"sample"})}
_WITH_ORIGINAL = frozenset(
    {
        "greedy",
        "token_probability",
        "marginal_fixed",
        "marginal_any",
        "probability_uncertainty",
        "entropy_uncertainty",
    }
)
# Of levels and labels, which every opener is followed by in a whole tree.
ON_CANONICAL_SPELLINGS = (
    "first_token",
    "token_probability",
    "joint",
    "marginal_slot1",
    "probability_uncertainty",
    "entropy_uncertainty",
    "ccp",
)
# Why `top_p`, an option of the original implementation, has no effect here.
_NO_TOP_P = "the tree is cut by eps alone, and what was cut is recorded"


def _spec(
    name: str,
    module: str,
    summary: str,
    emits: str,
    *,
    options: str = "common:PositiveOptions",
    alias: str = "",
    needs: Kinds = _TREE,
    joins_questions: bool = False,
) -> StrategySpec:
    """Describe a strategy, which is a function of its name in `module`."""
    return StrategySpec(
        name=name,
        aliases=(alias,) if alias else (),
        summary=summary,
        load=f"{_PACKAGE}.{module}:{name}",
        options=f"{_PACKAGE}.{options}",
        needs=needs,
        emits=frozenset(emits.split()),
        record={"eps": "min", "max_new_tokens": "max"},
        ignores={"top_p": _NO_TOP_P},
        replacements=_original(name) if name in _WITH_ORIGINAL else {},
        # An uncertainty alone is judged by the errors of greedy that it finds.
        decision_fallback="" if "score" in emits.split() else "greedy",
        joins_questions=joins_questions,
        per_sample=True,
    )


def _original(name: str) -> dict[str, str]:
    """Map the option that asks for the first implementation, in both spellings."""
    return dict.fromkeys(("compat=original", "compat=seed"), f"original_{name}")


def _greedy_path_spec(name: str, summary: str, *fields: str) -> StrategySpec:
    """Describe an uncertainty of the greedy path that reads optional `fields`."""
    needs: Kinds = {GreedyPath: frozenset(fields)}
    return _spec(
        name,
        "greedy_verdict",
        summary,
        "uncertainty",
        options="common:VerdictOptions",
        needs=needs,
    )


SPECS: list[StrategySpec] = [
    _spec(
        "greedy",
        "greedy_verdict",
        "the verdict that the model would write, as 0 or 1",
        "score categories uncertainty",
        alias="greedy_generation",
        needs=frozenset({GreedyVerdict}),
    ),
    _spec(
        "first_token",
        "canonical_spelling",
        "a positive level's share of all levels, where a level is said first",
        "score probability uncertainty",
    ),
    _spec(
        "token_probability",
        "canonical_spelling",
        "levels and labels given what the written verdict says before them",
        "score probability categories uncertainty",
        options="canonical_spelling:TokenProbabilityOptions",
    ),
    _spec(
        "joint",
        "canonical_spelling",
        "the probability of the written verdict up to its level or label",
        "score probability categories uncertainty",
    ),
    _spec(
        "marginal_fixed",
        "marginal",
        "the probability that a verdict says unsafe, or names a category k-th",
        "score probability categories uncertainty bounds",
        options="marginal:MarginalFixedOptions",
        alias="marginal_probability_at_fixed_place",
    ),
    _spec(
        "marginal_slot1",
        "canonical_spelling",
        "as first_token; categories named first, canonically spelled",
        "score probability categories uncertainty bounds",
    ),
    _spec(
        "marginal_any",
        "marginal",
        "the probability that a verdict says unsafe, or names a category",
        "score probability categories uncertainty bounds",
        options="marginal:MarginalAnyOptions",
        alias="marginal_probability_at_any_place",
    ),
    _spec(
        "probability_uncertainty",
        "first_label_uncertainty",
        "P(unsafe); unsure where no first label is likely",
        "score probability categories uncertainty",
    ),
    _spec(
        "entropy_uncertainty",
        "first_label_uncertainty",
        "P(unsafe); unsure where many first labels are likely",
        "score probability categories uncertainty",
    ),
    _spec(
        "verdict_entropy",
        "verdict_entropy",
        "P(unsafe); unsure where verdicts of different meaning are likely",
        "score probability categories uncertainty bounds",
        options="verdict_entropy:VerdictEntropyOptions",
    ),
    _spec(
        "reasoning_spread",
        "reasoning_spread",
        "P(unsafe); unsure where it differs between several sampled reasonings",
        "score probability categories uncertainty bounds",
        options="reasoning_spread:ReasoningSpreadOptions",
        joins_questions=True,
    ),
    _greedy_path_spec("msp", "how unlikely the written verdict is"),
    _greedy_path_spec("perplexity", "how unlikely its tokens are on average"),
    _greedy_path_spec("mean_token_entropy", "mean entropy of its tokens", "entropy"),
    _greedy_path_spec("max_token_entropy", "largest entropy of its tokens", "entropy"),
    _greedy_path_spec(
        "margin", "smallest lead of a token of it over the second likeliest"
    ),
    _greedy_path_spec("energy", "mean free energy of its tokens' logits", "log_norm"),
    _spec(
        "ccp",
        "ccp",
        "how unlikely its level and labels are among those of their place",
        "uncertainty",
        options="common:VerdictOptions",
    ),
]

# On the texts of sampled verdicts, of servers that give nothing else.
TEXT_SPECS: list[StrategySpec] = [
    _spec(
        "self_consistency",
        "sampled_texts",
        "the share of sampled verdicts that say unsafe, or name a category",
        "score probability categories uncertainty",
        options="sampled_texts:SelfConsistencyOptions",
        needs=_SAMPLED_TEXTS,
    ),
    _spec(
        "sampled_verdict_entropy",
        "sampled_texts",
        "as self_consistency; unsure where samples differ in what they mean",
        "score probability categories uncertainty",
        options="sampled_texts:SampledTextsOptions",
        needs=_SAMPLED_TEXTS,
    ),
]
