"""The plugin's declaration: two classifiers and a strategy, as inert specs."""

from __future__ import annotations

from safebench import ClassifierSpec, StrategySpec, hookimpl
from safebench.evidence import Evidence, Scores

_PACKAGE = "safebench_any_guardrail"
_SCORES: dict[type[Evidence], frozenset[str]] = {Scores: frozenset({"flagged"})}


@hookimpl
def safebench_classifiers() -> list[ClassifierSpec]:
    """Offer the guards of any-guardrail, and OpenAI's moderation by itself."""
    return [
        ClassifierSpec(
            name="any_guardrail",
            summary="any guard of the library any-guardrail: guard=NAME",
            load=f"{_PACKAGE}.adapter:AnyGuardrailClassifier",
            options=f"{_PACKAGE}.guard_options:GuardOptions",
            identity=f"{_PACKAGE}.guard_options:identity",
            capabilities=f"{_PACKAGE}.guard_options:capabilities",
            doctor=f"{_PACKAGE}.doctor:guard_doctor",
            profiles=f"{_PACKAGE}.catalog:guard_profiles",
            provides=_SCORES,
            # what a guard answers of these depends on the guard
            tasks=frozenset(
                {"prompt_harm", "response_harm", "refusal", "injection", "jailbreak"}
                | {"groundedness"}
            ),
            default_strategy="provider_decision",
        ),
        ClassifierSpec(
            name="openai_moderation",
            summary="OpenAI's moderation API: 13 category scores and its verdict",
            load=f"{_PACKAGE}.openai_moderation:OpenAIModeration",
            options=f"{_PACKAGE}.options:ModerationOptions",
            identity=f"{_PACKAGE}.options:moderation_identity",
            capabilities=f"{_PACKAGE}.options:moderation_capabilities",
            doctor=f"{_PACKAGE}.doctor:moderation_doctor",
            profiles=f"{_PACKAGE}.catalog:moderation_profiles",
            provides=_SCORES,
            tasks=frozenset({"prompt_harm", "response_harm"}),
            policy="openai-moderation-13",
            default_strategy="provider_decision",
        ),
    ]


@hookimpl
def safebench_strategies() -> list[StrategySpec]:
    """Offer the verdict of a provider that gives one beside its scores."""
    return [
        StrategySpec(
            name="provider_decision",
            summary="the provider's own verdict decides, its score ranks",
            load=f"{_PACKAGE}.strategy:provider_decision",
            needs=_SCORES,
            per_sample=True,
            emits=frozenset({"score", "probability", "categories"}),
            threshold_from="no threshold: the provider's verdict",
        )
    ]
