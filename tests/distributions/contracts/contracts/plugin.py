"""Five guards that have little in common but the records they fill."""

from safebench import ClassifierSpec, StrategySpec, hookimpl
from safebench.evidence import MemberLogits, Scores, VerdictTree

TREES = {"provides": frozenset({VerdictTree}), "default_strategy": "marginal_any"}


@hookimpl
def safebench_classifiers():
    """Return graded, yes/no and three-task guards, an encoder and an API."""
    return [
        ClassifierSpec(
            name="graded",
            load="contracts.generative:Graded",
            policy="llama-guard-3",
            **TREES,
        ),
        ClassifierSpec(name="yes_no", load="contracts.generative:YesNo", **TREES),
        ClassifierSpec(
            name="three_tasks",
            load="contracts.generative:ThreeTasks",
            tasks=frozenset({"prompt_harm", "refusal", "response_harm"}),
            evidence_scope="conversation",
            **TREES,
        ),
        ClassifierSpec(
            name="encoder",
            load="contracts.others:Encoder",
            provides=frozenset({MemberLogits}),
            default_strategy="worst_window",
        ),
        ClassifierSpec(
            name="api",
            load="contracts.others:ModerationApi",
            policy="openai-moderation",
            provides=frozenset({Scores}),
        ),
    ]


@hookimpl
def safebench_strategies():
    """Return a strategy on windows."""
    return [
        StrategySpec(
            name="worst_window",
            load="contracts.others:worst_window",
            needs=frozenset({MemberLogits}),
            emits=frozenset({"score", "probability"}),
        )
    ]
