"""What profiles say to the core: the tasks of a guard, and the list of families."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from safebench import Capabilities, GuardProfile
from safebench.errors import SafebenchError
from safebench.evidence import SeedTree, VerdictTree
from safebench.profiles import profile_names
from safebench.records import TASKS
from safebench_llamaguard_marginal.engines.catalog import ENDPOINT, HF, LACKS
from safebench_llamaguard_marginal.strategies.catalog import ON_CANONICAL_SPELLINGS
from safebench_llamaguard_marginal.texts.evidence import VerdictTexts

from .model_facts import read_model_facts
from .resolve import FOLDER, resolve_profile, shipped_profile
from .schema import ROLES
from .texts import FILE, REGISTRY

if TYPE_CHECKING:
    from typing import Literal

    from safebench.evidence import Evidence
    from safebench_llamaguard_marginal.options import GuardOptions

    from .resolve import Profile
    from .schema import PromptSection


_NO_SPELLINGS = (
    "reads canonical spellings, and api=chat gives the written verdict alone; a server "
    "that takes token ids (api=completions) gives them, too"
)
_CHAT_ALONE = (
    "reads canonical spellings, and the chat endpoint, which is all that the server "
    "has, gives the written verdict alone ({because})"
)
_ONE_PROCESS = "its requests have a concurrency and a count of their own"


def capabilities(options: GuardOptions) -> Capabilities:
    """Return what the guard that the options name answers; nothing is loaded."""
    profile = resolve_profile(options)
    return Capabilities(
        tasks=profile.tasks,
        policy=_policy_id(profile, options),
        threshold=profile.data.threshold,
        evidence_scope=_evidence_scope(profile, options),
        families=_families(profile, options),
        note=dict(options.found).get("other_server", ""),
        one_process=_ONE_PROCESS if options.runs_on == ENDPOINT else "",
        **_lacks(options),
    )


def _lacks(options: GuardOptions) -> dict[str, Any]:
    """Return what evidence does not have where an engine runs the guard."""
    if options.reads_texts:
        return _of_texts(options)
    texts = "logprobs=no samples=8"
    if options.runs_on != ENDPOINT:
        texts = f"engine={ENDPOINT} {texts}"
    turned_off = {VerdictTexts: texts}
    if options.runs_on == HF:
        return {"turned_off": turned_off}
    because = f"engine={options.runs_on} lists {options.top_logprobs} tokens, no logits"
    found: dict[str, Any] = {"lacks": LACKS, "lacks_because": because}
    if options.runs_on != ENDPOINT or options.logprobs is True:
        found["turned_off"] = turned_off
    if options.api == "chat":
        why = dict(options.found).get("api")
        reason = _CHAT_ALONE.format(because=why) if why else _NO_SPELLINGS
        found["unreadable"] = dict.fromkeys(ON_CANONICAL_SPELLINGS, reason)
    return found


def _of_texts(options: GuardOptions) -> dict[str, Any]:
    """Return what evidence has where texts are recorded."""
    lacks: dict[type[Evidence], frozenset[str]] = {
        VerdictTree: frozenset(),
        SeedTree: frozenset(),
    }
    if options.samples:
        recorded = "the texts of verdicts and no probabilities"
    else:
        lacks[VerdictTexts] = frozenset({"sample"})
        recorded = (
            "the text of the greedy verdict, which greedy reads (samples=8 adds eight "
            "sampled ones)"
        )
    if found := dict(options.found).get("logprobs"):
        because = f"{found}: recorded is {recorded}"
    else:
        because = f"logprobs=no records {recorded}"
    return {
        "lacks": lacks,
        "lacks_because": because,
        "default_strategy": "self_consistency" if options.samples else "greedy",
    }


def _families(profile: Profile, options: GuardOptions) -> tuple[str, ...]:
    """Return what the guard may be known by: its profile, and names in its files.

    A fine-tuned checkpoint in a folder of any name keeps the model that it is from in
    ``config.json``, an adapter in ``adapter_config.json``.
    """
    from safebench_llamaguard_marginal.model.model_files import locate_model

    names = [profile.name.removesuffix(".yaml")]
    if not options.has_files:
        return tuple(filter(None, [*names, options.served_model]))
    # a model that is not there is refused with a better message where it is loaded
    with suppress(SafebenchError, OSError):
        base = locate_model(
            options.model, options.revision, weights=options.has_network
        )
        adapter = None
        if options.adapter:
            adapter = locate_model(options.adapter, kind="adapter")
            config = adapter.read_json("adapter_config.json")
            names.append(str(config.get("base_model_name_or_path") or ""))
        names += read_model_facts(base, adapter).names
    return tuple(dict.fromkeys(filter(None, names)))


def _policy_id(profile: Profile, options: GuardOptions) -> str | None:
    """Return what results call the policy: its id, or where a package has it."""
    name = options.policy or profile.data.policy
    if not name:
        return None
    return name if ":" in name else profile.policy(options.policy).id


def _evidence_scope(
    profile: Profile, options: GuardOptions
) -> Literal["target", "turn", "conversation"]:
    """Return what one prompt answers: an exchange, a turn, or a single task of it.

    The prompt of a profile depends on the judged role alone, so that it serves all
    tasks of the role. Where the verdict on a response has a line for each task of its
    prompt, too, a conversation is shown once.
    """
    lines = {
        role: {line.task for line in answer.lines} | {x.task for x in answer.then}
        for role, answer in profile.answers.items()
    }
    # which window counts is said by the task
    if options.truncation == "windows" and any(lines.values()):
        return "target"
    user, assistant = (set(profile.data.tasks.get(role, ())) for role in ROLES)
    both = user <= lines.get("assistant", set()) & assistant
    return "conversation" if user and both else "turn"


def guard_profiles() -> list[GuardProfile]:
    """Return the families whose profiles come with this package."""
    return [describe(shipped_profile(name)) for name in profile_names(FOLDER)]


def _prompt_source(prompt: PromptSection) -> str:
    """Return where the text of a prompt comes from."""
    append = prompt.turns.append
    text = prompt.text + (append.text if append else "")
    if FILE in text:
        return "your file"
    if REGISTRY in text:
        return "any-guardrail"
    return "own words" if text else "its template"


def describe(profile: Profile) -> GuardProfile:
    """Return a line of ``safebench list guards``."""
    data = profile.data
    sources = dict.fromkeys(map(_prompt_source, profile.prompts.values()))
    levels = [
        level.name for answer in profile.answers.values() for level in answer.levels
    ]
    lines = [
        task
        for answer in profile.answers.values()
        for task in (*(x.task for x in answer.lines), *(x.task for x in answer.then))
    ]
    verified = data.verified.by
    others = ", ".join([*data.criteria][1:])  # the first is what it asks by itself
    return GuardProfile(
        name=profile.name,
        summary=data.summary + (f"; or criteria={others}" if others else ""),
        command=f"-c guard --set profile={profile.name}",
        tasks=tuple(task for task in TASKS if task in profile.tasks),
        answer=" | ".join(dict.fromkeys([*levels, *lines])),
        prompt=", ".join(sources),
        verified=f"{verified}: {data.verified.note}"
        if data.verified.note
        else verified,
        models=data.match.models,
    )
