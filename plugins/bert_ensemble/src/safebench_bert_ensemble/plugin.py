"""Classifiers, strategies and the trainer of this plugin, declared without loading any.

Specs name their code as ``module:attribute``, so that listing plugins imports neither
torch nor NumPy.
"""

from __future__ import annotations

from safebench import ArtifactSpec, ClassifierSpec, StrategySpec, TrainerSpec, hookimpl
from safebench.evidence import MemberLogits
from safebench.records import TASKS

_PACKAGE = "safebench_bert_ensemble"
_HARM = frozenset({"prompt_harm", "response_harm"})
_MEMBER_LOGITS = frozenset({MemberLogits})

_SCORES = {
    "mean_logits": "softmax of the members' mean logits: a geometric pool",
    "mean_probs": "mean of the members' probabilities: an arithmetic pool",
}
# name -> summary, and the score whose errors the uncertainty should find
_UNCERTAINTIES = {
    "logit_mean_entropy": ("entropy of the pooled logits", "mean_logits"),
    "predictive_entropy": ("entropy of the mean probability", "mean_probs"),
    "expected_entropy": ("mean entropy of the members: noise", "mean_probs"),
    "mutual_information": ("what members disagree about, in nats", "mean_probs"),
    "vote_entropy": ("entropy of the members' votes", "mean_probs"),
    "variation_ratio": ("share of votes against the majority", "mean_probs"),
    "member_std": ("standard deviation of the members' probability", "mean_probs"),
}
_VOTES = ("vote_entropy", "variation_ratio")


@hookimpl
def safebench_artifacts() -> list[ArtifactSpec]:
    """Say what a training leaves, for its card and for sharing it."""
    return [
        ArtifactSpec(
            name="bert_ensemble",
            summary="encoders that vote, or a baseline on the same rows",
            load=f"{_PACKAGE}.artifact:describe",
        )
    ]


@hookimpl
def safebench_trainers() -> list[TrainerSpec]:
    """Offer to train an ensemble, or a baseline on the same rows."""
    return [
        TrainerSpec(
            name="bert_ensemble",
            summary="encoders that differ by seed, data or architecture; baselines",
            load=f"{_PACKAGE}.train.trainer:fit",
            options=f"{_PACKAGE}.options:EnsembleTrainOptions",
            check=f"{_PACKAGE}.train.trainer:check",
            dataset="wildguardmix",
            sample=10_000,
        )
    ]


@hookimpl
def safebench_classifiers() -> list[ClassifierSpec]:
    """Offer ensembles of encoders, and the baselines that they have to beat."""
    return [
        ClassifierSpec(
            name="bert_ensemble",
            summary="trained encoders, or any sequence-classification checkpoint",
            load=f"{_PACKAGE}.model.classifier:BertEnsemble",
            options=f"{_PACKAGE}.options:EnsembleOptions",
            identity=f"{_PACKAGE}.model.identity:ensemble_identity",
            doctor=f"{_PACKAGE}.model.doctor:doctor",
            provides=_MEMBER_LOGITS,
            tasks=frozenset(TASKS),
            capabilities=f"{_PACKAGE}.model.identity:ensemble_capabilities",
            profiles=f"{_PACKAGE}.model.profile:guard_profiles",
            default_strategy="mean_probs",
        ),
        ClassifierSpec(
            name="tfidf",
            summary="TF-IDF and logistic regression: a trained baseline",
            load=f"{_PACKAGE}.model.tfidf:Tfidf",
            options=f"{_PACKAGE}.options:TfidfOptions",
            identity=f"{_PACKAGE}.model.identity:tfidf_identity",
            provides=_MEMBER_LOGITS,
            tasks=_HARM,
            default_strategy="mean_probs",
        ),
        ClassifierSpec(
            name="frozen_encoder",
            summary="logistic regression on a frozen encoder: a trained baseline",
            load=f"{_PACKAGE}.model.frozen_encoder:FrozenEncoder",
            options=f"{_PACKAGE}.options:FrozenOptions",
            identity=f"{_PACKAGE}.model.identity:frozen_identity",
            provides=_MEMBER_LOGITS,
            tasks=_HARM,
            default_strategy="mean_probs",
        ),
    ]


@hookimpl
def safebench_strategies() -> list[StrategySpec]:
    """Offer scores and uncertainties from members' logits."""
    scores = [
        StrategySpec(
            name=name,
            summary=summary,
            load=f"{_PACKAGE}.strategies.ensemble:{name}",
            options=f"{_PACKAGE}.options:PoolOptions",
            needs=_MEMBER_LOGITS,
            per_sample=True,
            emits=frozenset({"score", "probability"}),
        )
        for name, summary in _SCORES.items()
    ]
    scores.append(
        StrategySpec(
            name="category_probs",
            summary="mean_probs, and the classes that are categories of a policy",
            load=f"{_PACKAGE}.strategies.ensemble:category_probs",
            options=f"{_PACKAGE}.options:PoolOptions",
            needs=_MEMBER_LOGITS,
            per_sample=True,
            emits=frozenset({"score", "probability", "categories"}),
            needs_categories=True,
        )
    )
    uncertainties = [
        StrategySpec(
            name=name,
            summary=summary,
            load=f"{_PACKAGE}.strategies.ensemble:{name}",
            options=f"{_PACKAGE}.options:"
            + ("VoteOptions" if name in _VOTES else "PoolOptions"),
            needs=_MEMBER_LOGITS,
            per_sample=True,
            emits=frozenset({"uncertainty"}),
            decision_fallback=score,
        )
        for name, (summary, score) in _UNCERTAINTIES.items()
    ]
    return scores + uncertainties
