"""Prompts as a profile describes them: from a template, as a message, or raw.

A conversation is rendered as placeholders, and its texts are put in last. So they are
never read as a template or a slot, and the place of every turn stays known.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from string import Formatter
from typing import TYPE_CHECKING, Any, Self

from safebench.errors import ModelError, OptionError, did_you_mean
from safebench.records import Turn
from safebench_llamaguard_marginal.profile.resolve import (
    GENERAL_PROFILES,
    INSTRUCT,
    shipped_profile,
)

from .chat_template import DEFAULT_DAY, PromptError
from .prompt_format import (
    DOCUMENT_ROLE,
    LLAMA_GUARD_FORMATS,
    ChatTemplateFormat,
    EachDocument,
    TemplateCache,
    category_labels,
    category_lines,
    check_policy,
    fill_placeholders,
    format_name,
    llama_guard_format,
    placeholder,
    with_placeholders,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.policies import Category, Policy
    from safebench_llamaguard_marginal.profile.resolve import Profile
    from safebench_llamaguard_marginal.profile.schema import PromptSection, Turns

    from .prompt_format import PromptFormat, RenderedPrompt

_NAMES = {"user": "User", "assistant": "Agent"}
# What a slot is filled with: parts of the conversation, which differ by sample ...
_CONVERSATION_SLOTS = ("conversation", "prompt", "response", "documents")
# ... and what is the same for all prompts of a role.
_POLICY_SLOTS = ("categories", "category_names", "policy", "rules", "example")
_DOCUMENT_SLOT = "{document}"  # in a list of a template's variables
_CRITERION_SLOTS = ("criterion", "criterion_name", "criterion_code")
SLOTS = (*_CONVERSATION_SLOTS, "role", *_POLICY_SLOTS, *_CRITERION_SLOTS)


class ProfileFormat:
    """The prompts of a profile: one way for each role that may be judged.

    With a `criterion`, they ask about one category of the policy.
    """

    def __init__(
        self,
        profile: Profile,
        tokenizer: Any,
        policy: Policy,
        criterion: Category | None = None,
    ) -> None:
        self.name = profile.name
        self._formats: dict[str, PromptFormat] = {
            role: _role_format(prompt, tokenizer, policy, role, profile, criterion)
            for role, prompt in profile.prompts.items()
        }

        self.by_criterion: dict[str, PromptFormat] = {}

    @classmethod
    def for_each(
        cls, profile: Profile, tokenizer: Any, policy: Policy, criteria: Sequence[str]
    ) -> Self:
        """Return the prompts about the first criterion, and in it those about each.

        `criteria` are codes of the policy; without any, all are asked about. Raises
        OptionError for an unknown code; the policy has categories (`Profile.policy`).
        """
        for code in criteria:
            if code not in policy.codes:
                raise OptionError(
                    f"criteria: {policy.id} has no {code!r}"
                    f"{did_you_mean(code, policy.codes)}\n"
                    f"  there is: {', '.join(policy.codes)}"
                )
        formats = {
            category.code: cls(profile, tokenizer, policy, category)
            for category in policy.categories
            if not criteria or category.code in criteria
        }
        first = next(iter(formats.values()))
        first.by_criterion = dict(formats)
        return first

    def render(self, turns: Sequence[Turn]) -> RenderedPrompt:
        """Render in the way of the judged turn's role."""
        role = turns[-1].role
        if role not in self._formats:
            raise PromptError(
                f"{self.name} judges {' and '.join(self._formats)} turns, and the "
                f"judged one is the {role}'s"
            )
        return self._formats[role].render(turns)


def _role_format(
    prompt: PromptSection,
    tokenizer: Any,
    policy: Policy,
    role: str,
    profile: Profile,
    criterion: Category | None,
) -> PromptFormat:
    slots = _fixed_slots(prompt, policy, role)
    if criterion is not None:
        texts = (criterion.definition, criterion.name, criterion.code)
        slots |= dict(zip(_CRITERION_SLOTS, texts, strict=True))
    where = f"profile {profile.where}: prompt"
    if prompt.source == "raw":
        return RawFormat(prompt, slots, where)
    variables = template_variables(prompt, slots, where)
    if prompt.source == "message":
        return MessageFormat(prompt, tokenizer, slots, variables, where)
    extra = prompt.turns.append
    appended = [Turn(extra.role, _filled(extra.text, slots, where))] if extra else []
    day = printed_day(prompt, where)
    return TemplateFormat(prompt, tokenizer, variables, role, appended, day)


def instruct_format(tokenizer: Any, policy: Policy) -> ProfileFormat:
    """Return the prompts that give a policy to a general chat model."""
    return ProfileFormat(shipped_profile(INSTRUCT), tokenizer, policy)


def pick_prompt_format(
    requested: str, tokenizer: Any, policy: Policy, label: str
) -> PromptFormat:
    """Return the format that the option `format` selects.

    "auto" is the tokenizer's template if that asks for a verdict, and the instruction
    for templates that leave a text as it is; names of models do not count. Raises
    ModelError for a tokenizer without a template, for a format that this tokenizer or
    policy does not go with, and for a template that asks something else.
    """
    try:
        name = format_name(requested, tokenizer, label)
    except PromptError as error:
        raise ModelError(f"model {label!r}: {error}") from error
    if name in LLAMA_GUARD_FORMATS:
        return llama_guard_format(name, tokenizer, policy, label)
    if not tokenizer.chat_template:
        raise ModelError(
            f"model {label!r}: its tokenizer has no chat template, and no profile "
            "knows it; name its family (profile=NAME: safebench list guards), or write "
            "how it is asked (profile=FILE, with prompt.source raw)"
        )
    try:
        if name == "instruct":
            return instruct_format(tokenizer, policy)
        chat_format = ChatTemplateFormat(tokenizer)
        check_policy(chat_format, policy, label)
    except PromptError as error:
        raise ModelError(f"model {label!r}: {error}") from error
    return chat_format


def formats_by_criterion(prompt_format: PromptFormat) -> dict[str, PromptFormat]:
    """Return the formats about each criterion by its code; the one of "" for none."""
    by_criterion = getattr(prompt_format, "by_criterion", {})
    return by_criterion or {"": prompt_format}


def guard_prompt_format(
    profile: Profile,
    tokenizer: Any,
    policy: Policy,
    label: str,
    *,
    requested: str = "auto",
    criteria: Sequence[str] = (),
) -> PromptFormat:
    """Return the format of a model's prompts; raises ModelError where none can be.

    `requested` is the option `format`, `criteria` that of the same name. A policy whose
    codes mean something else in the model's own template is refused.
    """
    if criteria and not (profile.data.ask_each or profile.data.criteria):
        raise OptionError(
            f"criteria: profile {profile.name} asks about all categories at once"
        )
    if profile.where in GENERAL_PROFILES:
        return pick_prompt_format(requested, tokenizer, policy, label)
    if not tokenizer.chat_template and any(
        prompt.source != "raw" for prompt in profile.prompts.values()
    ):
        raise ModelError(
            f"model {label!r}: profile {profile.name} needs a chat template, and its "
            "tokenizer has none; a profile with prompt.source raw would work"
        )
    try:
        if profile.data.ask_each:
            return ProfileFormat.for_each(profile, tokenizer, policy, criteria)
        return ProfileFormat(profile, tokenizer, policy)
    except PromptError as error:
        raise ModelError(f"model {label!r}: {error}") from error


class TemplateFormat:
    """The conversation, through the chat template that the tokenizer carries."""

    name = "template"

    def __init__(
        self,
        prompt: PromptSection,
        tokenizer: Any,
        variables: Mapping[str, Any],
        role: str,
        appended: Sequence[Turn] = (),
        day: date = DEFAULT_DAY,
    ) -> None:
        self._turns = prompt.turns
        self._appended = appended
        self._prefill = prompt.prefill
        # How a template treats a text is seen from one with spaces around it.
        spaced = f" {placeholder(0)} "
        probe = [Turn("user", spaced), Turn("assistant", spaced)]
        probe = probe[: 1 + (role == "assistant")]
        # Templates that are about documents may refuse to go without.
        documents = (
            [Turn(DOCUMENT_ROLE, placeholder(1))]
            if _shows_documents(self._turns, variables)
            else []
        )
        shown = [*self._documents_and_last([*documents, *probe]), *appended]
        places = [turn.text for turn in documents]

        def cache(*, in_parts: bool) -> TemplateCache:
            return TemplateCache(
                tokenizer,
                in_parts=in_parts,
                variables=variables,
                add_generation_prompt=self._turns.add_generation_prompt,
                day=day,
            )

        in_parts = self._turns.parts == "parts"
        self._templates = cache(in_parts=in_parts)
        written = self._templates.render(shown, places)
        # Templates of models that see images read text only from a list of parts.
        if self._turns.parts == "auto" and placeholder(0) not in written:
            self._templates = cache(in_parts=True)
            written = self._templates.render(shown, places)
        self._trims = self._turns.trim == "yes" or (
            self._turns.trim == "auto" and spaced not in written
        )

    def render(self, turns: Sequence[Turn]) -> RenderedPrompt:
        """Render with the template, trimming texts if it would."""
        texts = [t.text.strip() if self._trims else t.text for t in turns]
        places = with_placeholders(turns)
        shown = self._documents_and_last(places)
        template = self._templates.render(
            [*shown, *self._appended], [t.text for t in places if is_document(t)]
        )
        return fill_placeholders(template + self._prefill, texts)

    def _documents_and_last(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return the documents as one turn, where the template has a role for them.

        In front of the last turns of the talk: templates that know such a turn look for
        it right before the claim.
        """
        role = self._turns.names.get(DOCUMENT_ROLE)
        documents = [turn.text for turn in turns if is_document(turn)]
        joined = [Turn(role, "\n\n".join(documents))] if role and documents else []
        talk = [turn for turn in turns if not is_document(turn)]
        return [*joined, *talk[-self._turns.last :]]  # all of them for 0


def _shows_documents(turns: Turns, variables: Mapping[str, Any]) -> bool:
    """Tell whether a template is given documents, as a turn or in a variable."""
    return DOCUMENT_ROLE in turns.names or "EachDocument(" in repr(variables)


def is_document(turn: Turn) -> bool:
    """Tell whether a turn is a document, in front of the conversation."""
    return turn.role == DOCUMENT_ROLE


class SlottedText:
    """A text with slots, filled with the turns of a conversation or their places."""

    def __init__(
        self, prompt: PromptSection, text: str, fixed: Mapping[str, str], where: str
    ) -> None:
        self._turns = prompt.turns
        self._text = text
        self._fixed = fixed
        self._names = slot_names(text, prompt, where)
        for slot in self._names.values():
            _require_policy(slot, fixed, f"{where}: text")

    def fill(self, turns: Sequence[Turn]) -> str:
        """Return the text; raises PromptError for a turn that it cannot show."""
        fill = {
            "conversation": self._conversation,
            "prompt": self._prompt,
            "response": self._response,
        }
        needed = {*self._names.values()} & fill.keys()
        talk = [turn for turn in turns if not is_document(turn)]
        documents = [turn.text for turn in turns if is_document(turn)]
        values = {
            **self._fixed,
            **{slot: fill[slot](talk) for slot in needed},
            "documents": "\n\n".join(documents),
        }
        return self._text.format(**{k: values[slot] for k, slot in self._names.items()})

    def _conversation(self, turns: Sequence[Turn]) -> str:
        names = _NAMES | self._turns.names
        unknown = [turn.role for turn in turns if turn.role not in names]
        if unknown:
            raise PromptError(f"this layout takes no {unknown[0]} turn")
        return self._turns.joint.join(
            self._turns.line.format(role=names[turn.role], text=turn.text)
            for turn in turns[-self._turns.last :]
        )

    def _prompt(self, turns: Sequence[Turn]) -> str:
        prompts = [turn.text for turn in turns if turn.role == "user"]
        if not prompts:
            raise PromptError("there is no user turn to put into the prompt")
        return prompts[-1]

    def _response(self, turns: Sequence[Turn]) -> str:
        judged = turns[-1]
        is_response = judged.role == "assistant"
        return judged.text if is_response else self._turns.empty_response


class RawFormat:
    """A text with slots, given to the model as it is."""

    name = "raw"

    def __init__(
        self, prompt: PromptSection, slots: Mapping[str, str], where: str
    ) -> None:
        self._text = SlottedText(prompt, prompt.text, slots, where)
        self._prefill = prompt.prefill
        self._trims = prompt.turns.trim == "yes"

    def render(self, turns: Sequence[Turn]) -> RenderedPrompt:
        """Fill the slots."""
        texts = [t.text.strip() if self._trims else t.text for t in turns]
        written = self._text.fill(with_placeholders(turns))
        return fill_placeholders(written + self._prefill, texts)


class MessageFormat:
    """A user message with slots, and perhaps a system message, through the template."""

    name = "message"

    def __init__(
        self,
        prompt: PromptSection,
        tokenizer: Any,
        slots: Mapping[str, str],
        variables: Mapping[str, Any],
        where: str,
    ) -> None:
        self._text = SlottedText(prompt, prompt.text, slots, where)
        self._system = (
            SlottedText(prompt, prompt.system, slots, where) if prompt.system else None
        )
        self._prefill = prompt.prefill
        self._trims = prompt.turns.trim == "yes"
        self._templates = TemplateCache(
            tokenizer,
            in_parts=prompt.turns.parts == "parts",
            variables=variables,
            add_generation_prompt=prompt.turns.add_generation_prompt,
            day=printed_day(prompt, where),
        )
        probe = [Turn("system", "b")] if self._system else []
        self._templates.render([*probe, Turn("user", "a")])  # fails now or never

    def render(self, turns: Sequence[Turn]) -> RenderedPrompt:
        """Fill the slots and send both messages through the template."""
        texts = [t.text.strip() if self._trims else t.text for t in turns]
        shown = with_placeholders(turns)
        messages = [Turn("user", self._text.fill(shown))]
        if self._system:
            messages.insert(0, Turn("system", self._system.fill(shown)))
        documents = [turn.text for turn in shown if is_document(turn)]
        written = self._templates.render(messages, documents)
        return fill_placeholders(written + self._prefill, texts)


def message_texts(
    profile: Profile, policy: Policy, role: str
) -> Callable[[Sequence[Turn]], list[Turn]]:
    """Return what makes the messages of a profile's own text, without a tokenizer.

    Of the turns of a conversation, the last of which is judged: a user's message, and
    perhaps the system's before it.
    """
    prompt, where = profile.prompts[role], f"profile {profile.where}: prompt"
    slots = _fixed_slots(prompt, policy, role)
    text = SlottedText(prompt, prompt.text, slots, where)
    system = SlottedText(prompt, prompt.system, slots, where) if prompt.system else None

    def fill(turns: Sequence[Turn]) -> list[Turn]:
        if prompt.turns.trim == "yes":
            turns = [Turn(turn.role, turn.text.strip()) for turn in turns]
        messages = [Turn("user", text.fill(turns))]
        return [Turn("system", system.fill(turns)), *messages] if system else messages

    return fill


def slot_names(text: str, prompt: PromptSection, where: str) -> dict[str, str]:
    """Return the slot behind each name in braces; OptionError for an unknown one."""
    try:
        names = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise OptionError(
            f"{where}: text: {error}; braces that are no slot are doubled: {{{{ }}}}"
        ) from None
    slots = {name: prompt.slots.get(name, name) for name in sorted(names)}
    for name, slot in slots.items():
        if slot not in SLOTS:
            raise OptionError(
                f"{where}: text: no slot {name!r}{did_you_mean(slot, SLOTS)}\n"
                f"  slots: {', '.join(SLOTS)}; `slots` gives them other names, and "
                "braces that are no slot are doubled: {{ }}"
            )
    return slots


def _fixed_slots(prompt: PromptSection, policy: Policy, role: str) -> dict[str, str]:
    names = _NAMES | prompt.turns.names
    if not policy.categories:
        return {"role": names[role]}
    listed = category_lines(policy, explained=True)
    return {
        "role": names[role],
        "categories": listed,
        "policy": listed,
        "category_names": category_lines(policy),
        "rules": "\n".join(
            f"{number}. {category.definition}"
            for number, category in enumerate(policy.categories, 1)
        ),
        "example": ",".join(category_labels(policy)[:2]),
    }


def _require_policy(slot: str, fixed: Mapping[str, str], where: str) -> None:
    """Refuse a text that is about a policy where there is none to put into it."""
    if slot in _POLICY_SLOTS and slot not in fixed:
        raise OptionError(
            f"{where}: {{{slot}}} is filled with a policy, and this guard has none of "
            "its own: name yours (policy=FILE, or the id of one)"
        )
    if slot in _CRITERION_SLOTS and slot not in fixed:
        raise OptionError(f"{where}: the slot {slot} needs ask_each: true")


def template_variables(
    prompt: PromptSection, slots: Mapping[str, str], where: str
) -> dict[str, Any]:
    """Return what the template is given, slots of the policy filled."""
    return {
        name: _filled(value, slots, f"{where}: variables: {name}")
        for name, value in prompt.variables.items()
    }


def printed_day(prompt: PromptSection, where: str) -> date:
    """Return the day that a template prints as today's."""
    if not prompt.date:
        return DEFAULT_DAY
    try:
        return date.fromisoformat(prompt.date)
    except ValueError:
        raise OptionError(
            f"{where}: date: {prompt.date!r} is no day; write YYYY-MM-DD"
        ) from None


def _each_document(item: Any, where: str) -> EachDocument:
    """Return an entry for each document; raises OptionError for another slot in it."""
    entry = EachDocument(item)
    try:
        entry.filled("", 0)
    except (KeyError, IndexError, ValueError) as error:
        raise OptionError(
            f"{where}: {error}: an entry for each document takes the slots "
            "{document} and {document_index}; braces that are no slot are doubled: "
            "{{ }}"
        ) from None
    return entry


def _filled(value: Any, slots: Mapping[str, str], where: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(item, slots, where) for key, item in value.items()}
    if isinstance(value, list):
        return [
            _each_document(item, where)
            if _DOCUMENT_SLOT in repr(item)
            else _filled(item, slots, where)
            for item in value
        ]
    if not isinstance(value, str):
        return value
    if _DOCUMENT_SLOT in value:
        raise OptionError(
            f"{where}: {_DOCUMENT_SLOT} stands in an entry of a list, which the "
            'template gets once for each document: [{text: "{document}"}]'
        )
    try:
        return value.format(**slots)
    except (KeyError, IndexError, ValueError) as error:
        name = str(error).strip("'")
        _require_policy(name, slots, where)
        raise OptionError(
            f"{where}: no slot {name!r}{did_you_mean(name, slots)}\n  slots here: "
            f"{', '.join(slots)}; braces that are no slot are doubled: {{{{ }}}}"
        ) from None
