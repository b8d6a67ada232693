"""Checks of a profile by itself, for ``safebench doctor --profile FILE``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.errors import SafebenchError
from safebench_llamaguard_marginal.prompt.profile_format import slot_names

from .answer import answer_grammar, one_sided_answer
from .resolve import resolve_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.policies import Policy
    from safebench_llamaguard_marginal.options import GuardOptions

    from .resolve import Profile

    Check = tuple[str, str, str]

_MOST_SHOWN = 8  # levels or labels of a line


def check_profile(options: GuardOptions) -> Iterator[Check]:
    """Yield (name, ok | warn | fail, detail) about a profile; no model is loaded.

    Raises SafebenchError for a file that is none, with the key that is wrong.
    """
    profile = resolve_profile(options)
    yield "profile", "ok", f"{profile.where}: {profile.data.summary}"
    try:
        policy = profile.policy(options.policy)
    except SafebenchError as error:
        yield "policy", "fail", error.message
        return
    codes = ", ".join(policy.codes[:_MOST_SHOWN]) or "none"
    more = " ..." if len(policy.codes) > _MOST_SHOWN else ""
    yield "policy", "ok", f"{policy.id}, {len(policy.codes)} codes: {codes}{more}"
    if profile.data.criteria:
        first = next(iter(profile.data.criteria))
        listed = ", ".join(profile.data.criteria)
        yield "criteria", "ok", f"{profile.criterion or first}, of {listed}"
    for role, tasks in profile.data.tasks.items():
        yield f"{role}'s turn", "ok", f"answers {', '.join(tasks)}"
        yield from _prompt_checks(profile, role, policy)
        yield from _answer_checks(profile, role, policy)
    yield from _match_checks(profile)
    verified = profile.data.verified
    status = "warn" if verified.by == "nothing" else "ok"
    yield "verified", status, f"by {verified.by} {verified.note}".rstrip()


def _prompt_checks(profile: Profile, role: str, policy: Policy) -> Iterator[Check]:
    prompt = profile.prompts[role]
    detail = f"source {prompt.source}"
    if prompt.variables:
        detail += f", variables {', '.join(prompt.variables)}"
    if profile.data.ask_each:
        detail += f", one for each of {len(policy.codes)} criteria"
    needs_criteria = profile.data.ask_each and not policy.codes
    where = f"profile {profile.where}: prompt"
    append = prompt.turns.append
    try:
        for text in (prompt.text, prompt.system, append.text if append else ""):
            slot_names(text, prompt, where)
    except SafebenchError as error:
        yield f"{role}'s prompt", "fail", error.message
        return
    yield f"{role}'s prompt", "fail" if needs_criteria else "ok", detail


def _answer_checks(profile: Profile, role: str, policy: Policy) -> Iterator[Check]:
    """Show what the guard can answer, in the words that are read."""
    try:
        grammar = answer_grammar(
            profile.answers[role],
            policy,
            variants=profile.data.positive,
            where=f"profile {profile.where}",
        )
        problems = {
            task: one_sided_answer(grammar, task) for task in profile.data.tasks[role]
        }
    except SafebenchError as error:
        yield f"{role}'s answer", "fail", error.message
        return
    texts = [repr(level.surface_form) for level in grammar.levels[:_MOST_SHOWN]]
    detail = f"{len(grammar.levels)} levels: {', '.join(texts)}"
    if grammar.labels:
        labels = ", ".join(x.strip() for x in grammar.labels[:_MOST_SHOWN])
        detail += f"; {len(grammar.labels)} labels: {labels}"
    for line in grammar.lines:
        detail += f"; then {line.intro!r}"
    yield f"{role}'s answer", "ok", detail
    for task, problem in problems.items():
        if problem:
            yield task, "fail", problem


def _match_checks(profile: Profile) -> Iterator[Check]:
    match = profile.data.match
    given = [*match.template, *match.models, *match.config]
    detail = ", ".join(map(repr, given)) if given else "nothing: name it by profile="
    yield "found by", "ok", detail
