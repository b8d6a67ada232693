"""Which profile a model is read by: the one that is named, or that knows the model."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatch
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from safebench.errors import ModelError, OptionError, did_you_mean
from safebench.options import convert
from safebench.policies import Policy, load_policy
from safebench.profiles import ProfileFile, parse_section, profile_names, read_profile
from safebench_llamaguard_marginal.options import GuardOptions

from .model_facts import ModelFacts, read_model_facts
from .reasoning_mode import reasoning_prefill, reasons
from .schema import (
    Answer,
    Criterion,
    GuardProfileData,
    Match,
    PromptSection,
    VerdictAfter,
    merged,
)
from .texts import TextPlaces, resolve_texts, unresolved_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDER = "safebench_llamaguard_marginal:profiles"
# For models that no profile knows: a template that asks for safe or unsafe, and a
# general chat model.
CHAT, INSTRUCT = GENERAL_PROFILES = ("chat", "instruct")
NO_POLICY = Policy("none", "1", ())
_FORMATS = {"chat": CHAT, "instruct": INSTRUCT}  # values of `format`, as of 0.1
_VERDICTS = {"safe", "unsafe"}
_SHORTEST_FAMILY = 7  # letters and digits: "mdjudge"
# Which model, and how it is asked, is not for a profile to say in `defaults`.
_OWN_OPTIONS = (
    "model",
    "revision",
    "adapter",
    "profile",
    "policy",
    "format",
    "given",
    "found",
    "spent",
)


@dataclass(frozen=True)
class Profile:
    """A profile that was read and checked, with its texts.

    `prompts` and `answers` are by judged role. `reasoning` is what is written before
    the verdict; None: the verdict comes at once. `criterion` is the one of the guard's
    own that was chosen, "" for what it asks without a choice.
    """

    name: str
    where: str
    data: GuardProfileData
    prompts: Mapping[str, PromptSection]
    answers: Mapping[str, Answer]
    hash: str
    reasoning: VerdictAfter | None = None
    criterion: str = ""

    @cached_property
    def tasks(self) -> frozenset[str]:
        """All tasks that it answers, whoever's turn is judged."""
        return frozenset(task for tasks in self.data.tasks.values() for task in tasks)

    def policy(self, requested: str = "") -> Policy:
        """Return the taxonomy: the `requested` one, its own, or one without codes.

        Raises OptionError where there is none to ask about.
        """
        name = requested or self.data.policy
        policy = load_policy(name) if name else NO_POLICY
        if self.data.ask_each and not policy.categories:
            raise OptionError(self._missing_policy(policy))
        return policy

    def _missing_policy(self, policy: Policy) -> str:
        """Say what a guard that is asked about each category of a policy needs."""
        which = (
            "has none of its own" if policy is NO_POLICY else f"{policy.id} has none"
        )
        source = self.data.policy_source
        published = f" (those of the authors: {source})" if source else ""
        roles = len(self.data.tasks)
        modes = (
            "\n  where they are worded differently for prompts and responses: a file "
            "each, and a run each"
            if roles > 1
            else ""
        )
        return (
            f"profile {self.name} asks about each category of a policy, and {which}"
            f"\n  policy=FILE gives it definitions{published}, such as:"
            f'\n    id: mine\n    version: "1"\n    categories:'
            '\n      D1: {name: Danger, definition: "what the guard is asked about"}'
            f"{modes}"
            "\n  or --set policy=openai-moderation: other criteria, in this project's "
            "words"
        )


def load_profile(
    reference: str, reasoning: str = "auto", criteria: Sequence[str] = ()
) -> Profile:
    """Return a profile by NAME, FILE or ``package:file.yaml``, checked.

    `reasoning` and `criteria` are the options of these names. Raises OptionError for an
    unknown name or key, with the nearest, and for a value that cannot be.
    """
    file = read_profile(reference, FOLDER)
    return parse_profile(file, reasoning=reasoning, criteria=criteria)


def parse_profile(
    file: ProfileFile,
    *,
    with_texts: bool = True,
    reasoning: str = "auto",
    criteria: Sequence[str] = (),
) -> Profile:
    """Check the content of a profile's file, each judged role for itself.

    Without its texts a profile can be listed and matched where they are not at hand;
    nothing can be asked with it.
    """
    where = f"profile {file.where}"
    data = parse_section(GuardProfileData, dict(file.content), where)
    criterion = _chosen_criterion(data, criteria, where)
    if criterion.tasks:
        data = replace(data, tasks=criterion.tasks, by_role={})
    after = data.verdict_after
    thinks = reasons(after, reasoning, where)
    form = (after.think if thinks else after.no_think) if after else None
    prompts, answers, texts = {}, {}, []
    for role in data.tasks:
        over = data.by_role.get(role)
        prompt = merged(data.prompt, form.prompt if form else {})
        answer = merged(data.answer, form.answer if form else {})
        prompt = merged(prompt, over.prompt if over else {})
        answer = merged(answer, over.answer if over else {})
        prompt = merged(prompt, criterion.prompt)
        answer = merged(answer, criterion.answer)
        if after and thinks:
            prompt = reasoning_prefill(prompt, after)
        places = TextPlaces(
            f"{where}: prompt",
            # as a user would expect: beside the profile, if that is a file
            Path(file.where).parent if Path(file.where).is_file() else None,
            str(prompt.get("text_source", "")),
        )
        resolved = (
            resolve_texts(prompt, places) if with_texts else unresolved_texts(prompt)
        )
        prompts[role] = parse_section(PromptSection, resolved, f"{where}: prompt")
        texts += [prompts[role].text, prompts[role].system]
        if append := prompts[role].turns.append:
            texts.append(append.text)
        answers[role] = parse_section(Answer, answer, f"{where}: answer")
        _check_prompt(prompts[role], f"{where}: prompt")
    checked_defaults(data.defaults, where)
    return Profile(
        name=file.name,
        where=file.where,
        data=data,
        prompts=prompts,
        answers=answers,
        hash=_profile_hash(file, texts, criteria),
        reasoning=after if thinks else None,
        criterion=criteria[0] if data.criteria and criteria else "",
    )


def _profile_hash(
    file: ProfileFile, texts: Sequence[str], criteria: Sequence[str]
) -> str:
    """Return the hash of what a profile asks and reads, by which evidence is told.

    The texts too: a file of theirs may change under the same name. Criteria that are
    not chosen change nothing that is recorded.
    """
    unasked = ("criteria", "policy_source")
    content = {k: v for k, v in file.content.items() if k not in unasked}
    own = file.content.get("criteria")
    if isinstance(own, dict) and criteria:
        content["criteria"] = own.get(criteria[0])
    stated = ProfileFile(file.name, "", content).hash
    return ProfileFile(file.name, "", {"file": stated, "texts": [*texts]}).hash


def _chosen_criterion(
    data: GuardProfileData, criteria: Sequence[str], where: str
) -> Criterion:
    """Return what the option `criteria` chooses of a profile's own, if it has any.

    Codes of a policy, which a guard is asked about one by one, are not looked at here.
    """
    if not data.criteria or not criteria:
        return Criterion()
    for name in criteria:
        if name not in data.criteria:
            raise OptionError(
                f"{where}: criteria: there is no {name!r}"
                f"{did_you_mean(name, data.criteria)}\n"
                f"  there is: {', '.join(data.criteria)}"
            )
    if len(criteria) > 1:
        each = " ".join(f"-c {c}=guard,model=MODEL,criteria={c}" for c in criteria)
        raise OptionError(
            f"{where}: criteria={'+'.join(criteria)}: this guard is asked about one at "
            f"a time: {each}"
        )
    return data.criteria[criteria[0]]


def with_defaults(options: GuardOptions, profile: Profile) -> GuardOptions:
    """Return the options with the profile's in place of those that nobody has set.

    Whoever makes the options by hand, and not from a user's words, sets those that are
    not at their default.
    """
    given = checked_defaults(profile.data.defaults, f"profile {profile.where}")
    unset = {field.name: field.default for field in fields(options)}
    return replace(
        options,
        **{
            name: value
            for name, value in given.items()
            if name not in options.given and getattr(options, name) == unset[name]
        },
    )


def checked_defaults(defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return options of the classifier, converted; OptionError for what is none."""
    hints = get_type_hints(GuardOptions)
    for name in defaults:
        if name not in hints or name in _OWN_OPTIONS:
            hint = did_you_mean(name, [k for k in hints if k not in _OWN_OPTIONS])
            raise OptionError(f"{where}: defaults: no option {name!r} to set{hint}")
    return {
        name: convert(value, hints[name], f"{where}: defaults: {name}")
        for name, value in defaults.items()
    }


def _check_prompt(prompt: PromptSection, where: str) -> None:
    if prompt.source == "template" and (prompt.text or prompt.system):
        raise OptionError(
            f"{where}: source: template takes no text; message or raw would"
        )
    if prompt.source != "template" and not prompt.text:
        raise OptionError(f"{where}: source: {prompt.source} needs a text")
    if prompt.source == "raw" and (prompt.system or prompt.variables):
        raise OptionError(
            f"{where}: source: raw takes neither system nor variables; message would"
        )


@cache
def shipped_profile(name: str) -> Profile:
    """Return a profile of this package without its texts, read once."""
    return parse_profile(read_profile(name, FOLDER), with_texts=False)


def resolve_profile(options: GuardOptions) -> Profile:
    """Return the profile that the options ask for, or that knows their model."""
    from safebench_llamaguard_marginal.model.model_files import locate_model

    if options.profile != "auto":
        if options.format != "auto":
            raise OptionError(
                f"llamaguard: format={options.format} and profile={options.profile} "
                "say the same twice; profile alone would work"
            )
        return load_profile(options.profile, options.reasoning, options.criteria)
    if options.format in _FORMATS:
        return load_profile(_FORMATS[options.format], options.reasoning)
    base = locate_model(options.model, options.revision, weights=options.has_network)
    adapter = locate_model(options.adapter, kind="adapter") if options.adapter else None
    facts = read_model_facts(base, adapter)
    return match_profile(facts, options.reasoning, options.criteria)


def match_profile(
    model: ModelFacts, reasoning: str = "auto", criteria: Sequence[str] = ()
) -> Profile:
    """Return the profile that knows a model, or the general one that fits it.

    `reasoning` and `criteria` are the options of these names. One that fits by the
    model's template comes before one that fits by its name alone. Raises ModelError if
    two fit equally well, and for a model that has the name of a family alone: our
    question is not what it learned.
    """
    ranked: dict[int, list[Profile]] = {}
    for name in profile_names(FOLDER):
        profile = shipped_profile(name)
        if rank := match_rank(profile.data.match, model):
            ranked.setdefault(rank, []).append(profile)
    if ranked:
        best = ranked[max(ranked)]
        if len(best) > 1:
            names = ", ".join(profile.name for profile in best)
            raise ModelError(
                f"model {model.label!r}: several profiles fit it: {names}; name one "
                "(profile=NAME)"
            )
        return load_profile(best[0].name, reasoning, criteria)
    words = set(re.findall(r"\w+", model.template.lower()))
    general = CHAT if words >= _VERDICTS or not model.template else INSTRUCT
    if general == INSTRUCT and (family := _family_by_name(model)):
        raise ModelError(
            f"model {model.label!r}: its name is that of {family}, and its template or "
            f"class is not; profile={family} would read it as one, profile={INSTRUCT} "
            "would ask it as a general chat model"
        )
    return load_profile(general, reasoning)


def _family_by_name(model: ModelFacts) -> str | None:
    """Return the profile whose family a model's name holds, the longest such name.

    The version counts where a model's name has it: "llama-guard-2" before another.
    """
    names = [_letters_and_digits(name.rpartition("/")[2]) for name in model.names]
    best: tuple[int, str] | None = None
    for profile in profile_names(FOLDER):
        if shipped_profile(profile).data.match == Match():
            continue  # for no family: "instruct" is in the names of many models
        family = _letters_and_digits(profile)
        for stem in (family, family.rstrip("0123456789")):
            fits = len(stem) >= _SHORTEST_FAMILY and any(stem in n for n in names)
            if fits and (best is None or len(stem) > best[0]):
                best = (len(stem), profile)
    return best[1] if best else None


def _letters_and_digits(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def match_rank(match: Match, model: ModelFacts) -> int:
    """Return how well a profile fits a model: 0 not at all, more is better.

    All that is given has to fit. A template is worth more than a name, which anybody
    can give.
    """
    if match.config and not set(match.config) & set(model.classes):
        return 0
    if match.template and not all(text in model.template for text in match.template):
        return 0
    by_name = any(
        fnmatch(name.lower(), pattern.lower())
        for name in model.names
        for pattern in match.models
    )
    if match.models and not (by_name or match.template):
        return 0
    if not (match.template or match.models):
        return 0  # a class alone says little
    return 100 * len(match.template) + 10 * by_name + len(match.config)
