"""One guard, whose options say what a pass answers."""

from safebench import Capabilities, ClassifierSpec, hookimpl
from safebench.evidence import VerdictTree

SCOPES = {"exchange": "conversation", "turn": "turn", "task": "target"}


def capabilities(options):
    """Return the scope of the evidence with these options."""
    return Capabilities(
        tasks=frozenset({"prompt_harm", "refusal", "response_harm"}),
        evidence_scope=SCOPES[options.answers],
    )


@hookimpl
def safebench_classifiers():
    """Return the guard."""
    return [
        ClassifierSpec(
            name="several",
            load="several_tasks.guard:Several",
            options="several_tasks.guard:Options",
            identity="several_tasks.plugin:identity",
            capabilities="several_tasks.plugin:capabilities",
            tasks=frozenset({"prompt_harm", "refusal", "response_harm"}),
            provides=frozenset({VerdictTree}),
            default_strategy="marginal_any",
        )
    ]


def identity(options):
    """Return what changes evidence: not when the guard dies."""
    return {"answers": options.answers}
