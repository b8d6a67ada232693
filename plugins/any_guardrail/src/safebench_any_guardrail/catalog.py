"""What ``safebench list guards`` shows of the guards; no library is needed for it."""

from __future__ import annotations

from safebench import GuardProfile
from safebench.records import TASKS

from .guards import GUARDS, Guard

SCALES = {
    None: "a verdict",
    "ordinal": "a verdict and a score of few levels",
    "score": "a verdict and a score that ranks",
    "probability": "a verdict and its probability",
}
CHECKS = {
    "server": "a local server that answers as documented",
    "model": "random weights of the right form",
    "answers": "answers typed from its card",
    "untested": "nothing",
}


def guard_profiles() -> list[GuardProfile]:
    """Return a line for each guard of the library."""
    return [_profile(name, guard) for name, guard in sorted(GUARDS.items())]


def moderation_profiles() -> list[GuardProfile]:
    """Return the line of OpenAI's moderation."""
    return [
        GuardProfile(
            name="openai-moderation",
            summary="OpenAI's moderation API by its own client, in batches",
            command="-c openai_moderation",
            tasks=("prompt_harm", "response_harm"),
            answer=f"{SCALES['score']}; 13 category scores",
            models=("omni-moderation-*", "text-moderation-*"),
            verified=CHECKS["server"],
        )
    ]


def _profile(name: str, guard: Guard) -> GuardProfile:
    where = "a service" if guard.hosted else "a model in this process"
    given = "" if guard.tasks else ",task=..."
    return GuardProfile(
        name=f"any-guardrail/{name}",
        summary=f"{name} of the library any-guardrail, {where}",
        command=f"-c any_guardrail,guard={name}{given}",
        # what a policy or rubric of the user judges may be anything
        tasks=guard.tasks or TASKS,
        answer=SCALES[guard.scale] + ("; category scores" if guard.lists_all else ""),
        verified=CHECKS[guard.checked],
    )
