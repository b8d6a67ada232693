"""From a row of named columns to an `Example`: one reading for files and hub sets."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import nearest
from safebench.records import Label, Turn

from .example import Example, exchange
from .labels import LabelWords

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.policies import Policy

ROLES = ("system", "user", "assistant")
Tasks = Literal[
    "auto",
    "prompt_harm",
    "response_harm",
    "refusal",
    "injection",
    "jailbreak",
    "groundedness",
]
# What the columns are called in other sets, for those who forgot to say.
KNOWN_AS = {
    "prompt": ("text", "question", "instruction", "query", "input", "user_input"),
    "response": ("answer", "completion", "output", "reply"),
    "label": ("is_safe", "unsafe", "harmful", "toxic", "toxicity", "is_toxic", "class"),
}
NEED_RESPONSE = frozenset({"response_harm", "refusal", "groundedness"})


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """Which column holds what, which task the rows are for, and their taxonomy.

    `policy` names the taxonomy of the `categories` column; "none" leaves them out. The
    last five columns are those of pairs: two responses in place of response and label.
    """

    task: Tasks = "auto"
    policy: str = "llama-guard-3"
    id: str = "id"
    prompt: str = "prompt"
    messages: str = "messages"
    response: str = "response"
    label: str = "label"
    categories: str = "categories"
    group: str = "group"
    language: str = "language"
    response_0: str = "response_0"
    response_1: str = "response_1"
    is_response_0_safe: str = "is_response_0_safe"
    is_response_1_safe: str = "is_response_1_safe"
    safer_response_id: str = "safer_response_id"

    @property
    def columns(self) -> dict[str, str]:
        """Safebench's name of a column -> the file's."""
        names = (f.name for f in fields(self) if f.name not in ("task", "policy"))
        return {name: getattr(self, name) for name in names}


class BadRowError(ValueError):
    """A row that cannot be understood; the message has no place in it yet."""


class RowReader:
    """Reads rows of one file, all for one task."""

    def __init__(
        self,
        columns: Mapping[str, str],
        task: str,
        label_map: Mapping[str, str],
        policy: Policy | None,
        keep: tuple[str, ...] = (),
    ) -> None:
        self.columns = ColumnOptions().columns | dict(columns)
        self.task = task
        self.words = LabelWords(task, label_map, self.columns["label"])
        self.policy = policy
        self.keep = keep

    def examples(self, row: Mapping[str, Any], where: str) -> tuple[Example, ...]:
        """Return the row as the only example, or raise `BadRowError`."""
        label = self._label(row)
        turns = self._turns(row)
        example = Example(
            turns=turns,
            target=self._target(turns),
            label=Label(value=label),
            id=self.id_of(row),
            group=self.text(row, "group") or "",
            language=self.text(row, "language"),
            categories=self._categories(row, label),
            gold_meta={k: row[k] for k in self.keep if k in row},
            where=where,
        )
        return (example,)

    def lacking(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Say which needed column no row has; empty if none is needed."""
        there = {column: None for row in rows for column in row}
        has = {name for name, column in self.columns.items() if column in there}
        if has.isdisjoint({"prompt", "messages"}):
            return self.missing("prompt", there)
        if "label" not in has:
            return self.missing("label", there)
        if self.task in NEED_RESPONSE and has.isdisjoint({"response", "messages"}):
            why = f"which {self.task} judges"
            return f"no response, {why}: {self.missing('response', there)}"
        return ""

    def id_of(self, row: Mapping[str, Any]) -> str | None:
        """Return the id that a row gives itself."""
        return self.text(row, "id")

    def text(self, row: Mapping[str, Any], name: str) -> str | None:
        """Return a value as text; None if it is empty or not there."""
        value = row.get(self.columns[name])
        return None if value in (None, "") else str(value)

    def _label(self, row: Mapping[str, Any]) -> bool | None:
        if self.columns["label"] not in row:
            raise BadRowError(self.missing("label", row))
        try:
            return self.words.read(row[self.columns["label"]])
        except ValueError as error:
            raise BadRowError(str(error)) from None

    def missing(self, name: str, there: Mapping[str, Any]) -> str:
        """Say that a column is not among those that are there, and what would do."""
        column = self.columns[name]
        free = [each for each in there if each not in self.columns.values()]
        meant = next((each for each in KNOWN_AS.get(name, ()) if each in free), "")
        hint = f"; is it {meant!r}?" if meant else nearest(column, free)
        listed = ", ".join(there) or "none"
        return (
            f"no column {column!r}{hint} (columns: {listed}; "
            f"append ,{name}={meant or 'COLUMN'} to the name)"
        )

    def _turns(self, row: Mapping[str, Any]) -> tuple[Turn, ...]:
        """Return the whole conversation: it is the same for every task."""
        turns = self.asked(row)
        response = row.get(self.columns["response"])
        if isinstance(response, str):
            turns = (*turns, Turn("assistant", response))
        if self.task in NEED_RESPONSE and turns[-1].role != "assistant":
            raise BadRowError(f"no response, which {self.task} judges")
        return turns

    def asked(self, row: Mapping[str, Any]) -> tuple[Turn, ...]:
        """Return what the row holds before the response of its own column."""
        if row.get(self.columns["messages"]):
            return read_messages(row[self.columns["messages"]])
        return exchange(self._prompt(row))

    def _target(self, turns: tuple[Turn, ...]) -> int:
        """Return the judged turn: the response, or else the last user turn."""
        return len(turns) - 1 if self.task in NEED_RESPONSE else _last_user(turns)

    def _prompt(self, row: Mapping[str, Any]) -> str:
        column = self.columns["prompt"]
        if column not in row:
            raise BadRowError(self.missing("prompt", row))
        prompt = row[column]
        if prompt is not None and not isinstance(prompt, str):
            raise BadRowError(f"{column!r} is not text: {prompt!r}")
        if not prompt or not prompt.strip():
            raise BadRowError("empty prompt")
        return prompt

    def _categories(
        self, row: Mapping[str, Any], label: bool | None
    ) -> frozenset[str] | None:
        value = row.get(self.columns["categories"])
        if value is None or self.policy is None:
            return None
        if value == "" and label is not False:  # an empty cell: nobody annotated it
            return None
        codes = read_codes(value)
        for code in sorted(codes - set(self.policy.codes)):
            raise BadRowError(
                f"{code!r} is no category of {self.policy.id}"
                f"{nearest(code, self.policy.codes)} (policy=ID names another "
                "taxonomy, policy=none leaves categories out)"
            )
        return codes


def read_codes(value: object) -> frozenset[str]:
    """Return category codes from a list or from text such as ``S1,S3`` or ``S1 S3``."""
    if isinstance(value, str):
        return frozenset(value.replace(",", " ").replace(";", " ").split())
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return frozenset(value)
    raise BadRowError(f"categories are no list of codes: {value!r}")


def read_messages(value: object) -> tuple[Turn, ...]:
    """Return the turns of ``[{"role": ..., "content": ...}, ...]``."""
    if not isinstance(value, list):
        raise BadRowError(f"messages are no list of role and content: {value!r}")
    turns = tuple(_turn(message) for message in value)
    if not any(turn.text.strip() for turn in turns if turn.role == "user"):
        raise BadRowError("empty prompt")
    return turns


def _turn(message: object) -> Turn:
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        raise BadRowError(f"a message needs role and content: {message!r}")
    role = message.get("role")
    if role not in ROLES:
        raise BadRowError(f"unknown role {role!r}{nearest(str(role), ROLES)}")
    return Turn(role, message["content"])


def _last_user(turns: tuple[Turn, ...]) -> int:
    return max(i for i, turn in enumerate(turns) if turn.role == "user")
