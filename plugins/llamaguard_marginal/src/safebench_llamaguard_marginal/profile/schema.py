"""What a profile may say: the fields of its YAML file as frozen dataclasses.

The help texts are those of docs/guards.md and of the JSON Schema.
"""

# ruff: noqa: RUF009 - `_field` makes a field
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from safebench.profiles import json_schema
from safebench.records import TASKS

Role = Literal["user", "assistant"]
ROLES: tuple[Role, ...] = ("user", "assistant")


def _field(default: Any, help_text: str) -> Any:
    """Return a dataclass field with a default and the text that explains it."""
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"help": help_text})
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """By what a model is recognised; all that is given has to fit."""

    template: tuple[str, ...] = _field(
        (), "texts that all stand in the model's own chat template"
    )
    models: tuple[str, ...] = _field(
        (), "patterns (*, ?) of hub ids and folder names, one of which fits"
    )
    config: tuple[str, ...] = _field(
        (), "model classes (`architectures` of config.json), one of which it is"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendedTurn:
    """A turn that the profile puts after the conversation."""

    text: str = field(metadata={"help": "its text, given as `text` of `prompt` is"})
    role: str = _field("user", "its role, as the chat template names it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """How a conversation is laid out."""

    names: dict[str, str] = _field(
        {}, "what roles are called in {conversation} and {role}; default User, Agent"
    )
    line: str = _field(
        "{role}: {text}", "how {conversation} writes one turn: {role} and {text}"
    )
    joint: str = _field("\n\n", "what stands between two turns of {conversation}")
    last: int = _field(0, "only so many turns, the judged one last; 0: all")
    parts: Literal["auto", "text", "parts"] = _field(
        "auto", "whether the template takes a text or a list of parts; auto: tried"
    )
    trim: Literal["auto", "yes", "no"] = _field(
        "auto", "whether texts lose their blanks; auto: as the template does"
    )
    add_generation_prompt: bool = _field(
        True, "whether the template is asked to open the answer's turn"
    )
    append: AppendedTurn | None = _field(None, "a turn after the conversation")
    empty_response: str = _field("", "what {response} is when a prompt is judged")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSection:
    """How the guard is asked."""

    source: Literal["template", "message", "raw"] = _field(
        "template",
        "template: the tokenizer's own; message: `text` and `system` with slots, sent "
        "through the chat template; raw: `text` alone, without a template",
    )
    text: str = _field(
        "",
        "the text with slots: itself, file:PATH, or any-guardrail:GUARD[/VERSION]; or "
        "a list of such parts, with any-guardrail:GUARD#SEGMENT among them",
    )
    text_source: str = _field("", "the page to look for the text of file:PATH")
    system: str = _field("", "the system message, given as `text` is")
    slots: dict[str, str] = _field(
        {}, "the text's own names of slots: {user_prompt: prompt}"
    )
    variables: dict[str, Any] = _field(
        {}, "what the template takes; texts may hold slots of the policy"
    )
    date: str = _field(
        "", "the day (YYYY-MM-DD) that a template prints as today's; default 2025-01-01"
    )
    turns: Turns = field(
        default_factory=Turns, metadata={"help": "how the conversation is laid out"}
    )
    prefill: str = _field("", "the beginning of the answer, put behind the prompt")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLevel:
    """One verdict that the guard may give."""

    name: str = field(metadata={"help": "its name, as in `positive=NAME`"})
    text: str = _field("", "what the guard writes; default: the name")
    positive: bool | dict[str, bool] = _field(
        False, "whether it says harm: for all tasks, or by task"
    )
    takes_labels: bool = _field(False, "whether labels follow")
    tails: tuple[str, ...] = _field((), "texts that may end the verdict")
    aliases: tuple[str, ...] = _field((), "other texts that say the same")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLine:
    """One line of an answer that speaks of one task."""

    task: str = field(metadata={"help": "the task it answers"})
    prefix: str = field(metadata={"help": "the text before the value"})
    values: dict[str, bool | None] = field(
        metadata={"help": "value: true (harm), false, or null (does not say)"}
    )
    aliases: dict[str, tuple[str, ...]] = _field(
        {}, "other spellings of a value: {yes: [true, harmful]}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterLine:
    """What is written after the labels: an answer to a task, or a list of labels."""

    prefix: str = field(metadata={"help": "the text before it"})
    task: str = field(metadata={"help": "the task it answers, or lists categories of"})
    values: dict[str, bool | None] = _field(
        {}, "an answer, as in `lines`; without, the line lists labels"
    )
    labels: Literal["codes", "names"] | dict[str, str] = _field(
        "codes", "how the labels of a list are written, as in `answer`"
    )
    separators: tuple[str, ...] = _field(
        (",", ", "), "texts between labels, the usual one first"
    )
    none: tuple[str, ...] = _field((), "words that stand for no label")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the guard writes: levels, or lines, and labels after them."""

    levels: tuple[AnswerLevel, ...] = _field((), "the verdicts, one of which is given")
    lines: tuple[AnswerLine, ...] = _field(
        (), "instead of levels: lines that answer a task each"
    )
    line_separator: str = _field("\n", "what stands between two lines")
    openers: tuple[str, ...] = _field(
        ("",), 'what may come before; "" among them: nothing has to'
    )
    takes_labels: Literal["never", "positive", "always"] = _field(
        "never", "which lines labels follow: those with a true value, all, or none"
    )
    tails: tuple[str, ...] = _field((), "texts that may end the verdict after lines")
    labels: Literal["codes", "names"] | dict[str, str] = _field(
        "codes",
        "how labels are written: the policy's codes, its names, or {code: spelling}",
    )
    aliases: dict[str, tuple[str, ...]] = _field(
        {}, "other spellings of a label, by code: {S1: [violence, Violent]}"
    )
    label_tasks: tuple[str, ...] = _field(
        (), "the tasks whose categories the labels are; default: all"
    )
    none: tuple[str, ...] = _field((), "words in place of labels: there are none")
    intro: str = _field("\n", "the text between a level and its labels")
    separators: tuple[str, ...] = _field(
        (",", ", "), "texts between labels, the usual one first"
    )
    cont: str = _field(
        "",
        "characters that go on with a label: S1 followed by one is not S1; default: "
        "digits for codes, else letters, digits, hyphen and underscore",
    )
    then: tuple[LaterLine, ...] = _field((), "what is written after the labels")
    ignore_case: bool = _field(False, "whether upper and lower case are the same")
    ignore_blanks: bool = _field(
        False, "whether spaces and line feeds may stand anywhere, or be left out (JSON)"
    )

    def __post_init__(self) -> None:
        if bool(self.levels) == bool(self.lines):
            raise ValueError("one of levels and lines is needed, and not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class ByRole:
    """What differs where a turn of one role is judged, or where the guard reasons."""

    prompt: dict[str, Any] = _field({}, "fields of `prompt`, put over them")
    answer: dict[str, Any] = _field({}, "fields of `answer`, put over them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """What differs where the guard is asked about another of its own criteria."""

    tasks: dict[str, tuple[str, ...]] = _field({}, "what it answers then, if not that")
    prompt: dict[str, Any] = _field({}, "fields of `prompt`, put over them")
    answer: dict[str, Any] = _field({}, "fields of `answer`, put over them")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictAfter:
    """A reasoning that the guard writes before its verdict."""

    marker: tuple[str, ...] = _field(
        (),
        "the text that ends the reasoning, control tokens by their names; of several, "
        "the first that is written",
    )
    marker_ids: tuple[int, ...] = _field(
        (), "the same as token ids, one after another, where no text says it"
    )
    start: str = _field(
        "", "what the reasoning starts with, put behind the prompt and its `prefill`"
    )
    budget: int = _field(1024, "how many tokens a reasoning may have, marker included")
    default: Literal["greedy", "off"] = _field(
        "greedy", "what the option reasoning=auto is"
    )
    think: ByRole = field(
        default_factory=ByRole,
        metadata={
            "help": "fields of `prompt` and `answer` put over them for reasoning"
        },
    )
    no_think: ByRole | None = _field(
        None,
        "the same without reasoning; {}: as they are; none: this guard always reasons",
    )

    def __post_init__(self) -> None:
        if not self.marker and not self.marker_ids:
            raise ValueError("a marker or marker_ids is needed: where verdicts start")
        if "" in self.marker:
            raise ValueError("marker: an empty text ends nothing")
        if self.budget < 1:
            raise ValueError(f"budget: {self.budget} is no number of tokens")
        if self.default == "off" and self.no_think is None:
            raise ValueError("default: off needs no_think, the form without reasoning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What the profile was compared with."""

    by: Literal["weights", "frame", "nothing"] = _field(
        "nothing",
        "weights: the published model was run; frame: a random model of the same class "
        "with the published roles and answer; nothing",
    )
    note: str = _field("", "with what, and when")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardProfileData:
    """A profile, as its file has it."""

    summary: str = field(metadata={"help": "one line for lists"})
    answer: dict[str, Any] = field(metadata={"help": "what the guard writes"})
    tasks: dict[str, tuple[str, ...]] = field(
        metadata={
            "help": "what it answers when a turn of a role is judged: "
            "{user: [prompt_harm], assistant: [response_harm]}"
        }
    )
    match: Match = field(
        default_factory=Match,
        metadata={"help": "by what `profile=auto` recognises a model"},
    )
    prompt: dict[str, Any] = _field({}, "how the guard is asked")
    policy: str = _field("", "the id or file of its taxonomy; none for yes or no")
    policy_source: str = _field(
        "", "the page with the definitions, where the policy is a file of the user's"
    )
    ask_each: bool = _field(
        False,
        "whether the guard is asked about each category of the policy by itself: one "
        "prompt each (slots {criterion}, {criterion_name}, {criterion_code}), of which "
        "the largest score counts",
    )
    criteria: dict[str, Criterion] = _field(
        {},
        "criteria of its own, one of which is chosen by the option of that name; the "
        "first is what the profile says without it",
    )
    by_role: dict[str, ByRole] = _field(
        {}, "what differs where a turn of one role is judged"
    )
    verdict_after: VerdictAfter | None = _field(
        None, "the reasoning before the verdict, of guards that reason"
    )
    positive: dict[str, tuple[str, ...]] = _field(
        {}, "named choices of positive levels: {strict: [unsafe, controversial]}"
    )
    threshold: float | None = _field(None, "the published cut, if it is not 0.5")
    defaults: dict[str, Any] = _field(
        {}, "options of the classifier that this family needs, such as layout"
    )
    verified: Verified = field(
        default_factory=Verified, metadata={"help": "what it was compared with"}
    )

    def __post_init__(self) -> None:
        _check_tasks(self.tasks, "tasks")
        for name, criterion in self.criteria.items():
            _check_tasks(criterion.tasks, f"criteria: {name}: tasks")
        if self.criteria and self.ask_each:
            raise ValueError(
                "criteria: ask_each asks about the categories of the policy; one of "
                "the two"
            )
        for role in self.by_role:
            if role not in self.tasks:
                raise ValueError(f"by_role: {role!r} is no role of tasks")
        if not any(self.tasks.values()):
            raise ValueError("tasks: none is answered")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: a probability, got {self.threshold:g}")


def _check_tasks(by_role: Mapping[str, tuple[str, ...]], where: str) -> None:
    for role, tasks in by_role.items():
        if role not in ROLES:
            raise ValueError(f"{where}: {role!r} is not one of {', '.join(ROLES)}")
        for task in tasks:
            if task not in TASKS:
                raise ValueError(f"{where}: {task!r} is not one of {', '.join(TASKS)}")


# The sections of a file, as docs/guards.md lists them.
SECTIONS: dict[str, type[Any]] = {
    "A profile": GuardProfileData,
    "`match`": Match,
    "`prompt`": PromptSection,
    "`prompt.turns`": Turns,
    "`prompt.turns.append`": AppendedTurn,
    "`answer`": Answer,
    "`answer.levels`": AnswerLevel,
    "`answer.lines`": AnswerLine,
    "`answer.then`": LaterLine,
    "`by_role.ROLE`, `verdict_after.think` and `.no_think`": ByRole,
    "`criteria.NAME`": Criterion,
    "`verdict_after`": VerdictAfter,
    "`verified`": Verified,
}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `over` put over it, mappings key by key."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def profile_schema() -> dict[str, Any]:
    """Return the JSON Schema of a profile's file, its sections included."""
    schema = json_schema(GuardProfileData)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    sections = {"prompt": PromptSection, "answer": Answer}
    for name, record in sections.items():
        help_text = schema["properties"][name]["description"]
        section = json_schema(record)
        del section["required"]  # a role may add what is missing
        schema["properties"][name] = {**section, "description": help_text}
    return schema


if __name__ == "__main__":
    import json

    from safebench import echo

    echo(json.dumps(profile_schema(), indent=2))
