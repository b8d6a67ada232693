"""Classifiers, strategies and the trainer of this plugin, declared without loading any.

Specs name their code as ``module:attribute``, so that listing plugins imports neither
torch nor NumPy.
"""

from __future__ import annotations

from safebench import ArtifactSpec, ClassifierSpec, StrategySpec, TrainerSpec, hookimpl
from safebench.evidence import Cost

_PACKAGE = "safebench_cost_model"
_COST = frozenset({Cost})


@hookimpl
def safebench_classifiers() -> list[ClassifierSpec]:
    """Offer trained cost models, and the baseline that they should beat."""
    return [
        ClassifierSpec(
            name="cost_model",
            summary="a cost of each response: below 0 is safe, and more is worse",
            load=f"{_PACKAGE}.model.classifier:CostModel",
            options=f"{_PACKAGE}.options:CostOptions",
            identity=f"{_PACKAGE}.model.location:cost_model_identity",
            capabilities=f"{_PACKAGE}.model.location:cost_model_capabilities",
            provides=_COST,
            tasks=frozenset({"response_harm"}),
            default_strategy="cost",
        ),
        ClassifierSpec(
            name="cost_stack",
            summary="word counts and a frozen encoder, stacked: a cost in seconds",
            load=f"{_PACKAGE}.model.stack:CostStack",
            options=f"{_PACKAGE}.options:StackOptions",
            identity=f"{_PACKAGE}.model.location:stack_identity",
            provides=_COST,
            tasks=frozenset({"response_harm"}),
            default_strategy="cost",
        ),
        ClassifierSpec(
            name="cost_tfidf",
            summary="word counts and a logistic regression: what cost models must beat",
            load=f"{_PACKAGE}.model.tfidf:CostTfidf",
            options=f"{_PACKAGE}.options:BaselineOptions",
            identity=f"{_PACKAGE}.model.location:baseline_identity",
            provides=_COST,
            tasks=frozenset({"response_harm"}),
            default_strategy="cost",
        ),
    ]


@hookimpl
def safebench_strategies() -> list[StrategySpec]:
    """Offer scores, a probability and an uncertainty from a cost."""
    return [
        StrategySpec(
            name="cost",
            summary="cost_platt where the model carries constants, else cost_sigmoid",
            load=f"{_PACKAGE}.strategies:cost",
            needs=_COST,
            per_sample=True,
            emits=frozenset({"score", "probability"}),
        ),
        StrategySpec(
            name="cost_platt",
            summary="P(unsafe) by the bias and temperature that the model carries",
            load=f"{_PACKAGE}.strategies:cost_platt",
            needs=_COST,
            per_sample=True,
            emits=frozenset({"score", "probability"}),
        ),
        StrategySpec(
            name="cost_sign",
            summary="unsafe unless the cost is below 0; the score is the cost itself",
            load=f"{_PACKAGE}.strategies:cost_sign",
            needs=_COST,
            per_sample=True,
            threshold=0.0,
        ),
        StrategySpec(
            name="cost_sigmoid",
            summary="1 / (1 + exp(-cost)): a score that ranks, and no probability",
            load=f"{_PACKAGE}.strategies:cost_sigmoid",
            needs=_COST,
            per_sample=True,
        ),
        StrategySpec(
            name="cost_spread",
            summary="standard deviation of the members' costs: how far they differ",
            load=f"{_PACKAGE}.strategies:cost_spread",
            needs=_COST,
            per_sample=True,
            emits=frozenset({"uncertainty"}),
            decision_fallback="cost",
        ),
    ]


@hookimpl
def safebench_artifacts() -> list[ArtifactSpec]:
    """Say what a training leaves, for its card and for sharing it."""
    return [
        ArtifactSpec(
            name="cost_model",
            summary="a cost of responses, or its baseline",
            load=f"{_PACKAGE}.artifact:describe",
        )
    ]


@hookimpl
def safebench_trainers() -> list[TrainerSpec]:
    """Offer to train a cost model, or its baseline, from pairs."""
    return [
        TrainerSpec(
            name="cost_model",
            summary="a score whose sign says safe or unsafe, and whose size how bad",
            load=f"{_PACKAGE}.train.trainer:fit",
            options=f"{_PACKAGE}.options:CostTrainOptions",
            check=f"{_PACKAGE}.train.trainer:check",
            dataset="pku_safe_rlhf",
            task="response_harm",
            pairs=True,
            singles=True,
        )
    ]
