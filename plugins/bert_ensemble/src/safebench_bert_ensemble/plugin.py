"""What this plugin offers; nothing heavy is imported to say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.evidence import MemberLogits
from safebench.hookspecs import hookimpl
from safebench.specs import ClassifierSpec, TrainerSpec

from .strategies.catalog import SPECS

if TYPE_CHECKING:
    from safebench.specs import StrategySpec

_HERE = "safebench_bert_ensemble"


@hookimpl
def safebench_trainers() -> list[TrainerSpec]:
    """Offer to train an ensemble, or a baseline on the same rows."""
    return [
        TrainerSpec(
            name="bert_ensemble",
            summary="encoders that differ by seed, data or architecture; baselines",
            load=f"{_HERE}.fit:fit",
            options=f"{_HERE}.options:TrainOptions",
            dataset="wildguardmix",
            sample=10_000,
        )
    ]


@hookimpl
def safebench_classifiers() -> list[ClassifierSpec]:
    """Offer ensembles of encoders, and what they have to beat."""
    return [
        ClassifierSpec(
            name="bert_ensemble",
            summary="trained encoders, or any sequence-classification checkpoint",
            load=f"{_HERE}.classifier:BertEnsemble",
            options=f"{_HERE}.options:EnsembleOptions",
            identity=f"{_HERE}.identity:ensemble_identity",
            doctor=f"{_HERE}.doctor:doctor",
            provides=frozenset({MemberLogits}),
            tasks=frozenset({"prompt_harm", "response_harm"}),
            default_strategy="mean_probs",
        ),
        ClassifierSpec(
            name="tfidf",
            summary="TF-IDF and logistic regression: a trained baseline",
            load=f"{_HERE}.tfidf:Tfidf",
            options=f"{_HERE}.options:TfidfOptions",
            identity=f"{_HERE}.identity:tfidf_identity",
            provides=frozenset({MemberLogits}),
            tasks=frozenset({"prompt_harm", "response_harm"}),
            default_strategy="mean_probs",
        ),
        ClassifierSpec(
            name="frozen_encoder",
            summary="logistic regression on a frozen encoder: a trained baseline",
            load=f"{_HERE}.frozen:FrozenEncoder",
            options=f"{_HERE}.options:FrozenOptions",
            identity=f"{_HERE}.identity:frozen_identity",
            provides=frozenset({MemberLogits}),
            tasks=frozenset({"prompt_harm", "response_harm"}),
            default_strategy="mean_probs",
        ),
    ]


@hookimpl
def safebench_strategies() -> list[StrategySpec]:
    """Offer scores and uncertainties from members' logits."""
    return SPECS
