"""Read rows of named columns as `Example` records, for files and hub sets alike.

`LabelParser` gives label words their meaning; `RowReader` does the rest. `.tabular`
decides which reader fits a source and collects the errors of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import OptionError, did_you_mean
from safebench.records import Label, Turn

from .request import Example, exchange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.policies import Policy


# Label words, after `normalise_label`. Positive is what the task looks for.
POSITIVE_LABELS = frozenset({"unsafe", "harmful", "toxic", "malicious", "1", "true"})
NEGATIVE_LABELS = frozenset(
    {"safe", "unharmful", "harmless", "benign", "non-toxic", "nontoxic", "0", "false"}
)
BOOLEAN_LABELS = frozenset({"1", "0", "true", "false"})
TASK_LABELS = {
    "refusal": ({"refusal", "refused"}, {"compliance", "complied"}),
    "jailbreak": ({"jailbreak"}, set[str]()),
    "injection": ({"injection"}, set[str]()),
    "groundedness": ({"ungrounded", "hallucinated"}, {"grounded", "supported"}),
}


class LabelParser:
    """Turns label words into classes for one task; `label_map` (word -> word) wins.

    Raises `OptionError` if the map leads to a word without a meaning.
    """

    def __init__(self, task: str, label_map: Mapping[str, str], column: str) -> None:
        positive, negative = TASK_LABELS.get(task, (set(), set()))
        self.meanings = dict.fromkeys(POSITIVE_LABELS | positive, True)
        self.meanings |= dict.fromkeys(NEGATIVE_LABELS | negative, False)
        mapped = {normalise_label(k): self._meaning(k, v) for k, v in label_map.items()}
        # 1 in a column `is_safe` is the opposite of 1 in `unsafe`: never guess.
        self.ambiguous = (
            BOOLEAN_LABELS - mapped.keys()
            if _true_may_mean_safe(column)
            else frozenset()
        )
        self.meanings |= mapped
        self.column = column

    def _meaning(self, word: str, meaning: str) -> bool:
        try:
            return self.meanings[normalise_label(meaning)]
        except KeyError:
            raise OptionError(
                f"--label-map {word}={meaning}: {meaning!r} is neither safe nor unsafe"
            ) from None

    def parse(self, value: object) -> bool | None:
        """Return True for the positive class, None for null.

        Raises `ValueError` for a word that is unknown or ambiguous.
        """
        if value is None:
            return None
        word = normalise_label(value)
        if word in self.ambiguous:
            raise ValueError(
                f"is {word!r} in column {self.column!r} safe or unsafe? "
                f"say --label-map {word}=safe or {word}=unsafe"
            )
        if word not in self.meanings:
            hint = (
                did_you_mean(word, self.meanings)
                or f"; say --label-map {word}=safe|unsafe"
            )
            raise ValueError(f"unknown label {value!r}{hint}")
        return self.meanings[word]


def normalise_label(value: object) -> str:
    """Return a label as a lower-case word, whatever type its column has."""
    # pandas and parquet turn integer columns with gaps into floats: 1.0 means 1.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def _true_may_mean_safe(column: str) -> bool:
    """Tell whether a column is named like ``is_safe``: there, true is negative."""
    name = column.casefold()
    return "safe" in name.replace("unsafe", "") and name != "safety"


ROLES = ("system", "user", "assistant")
TaskOption = Literal[
    "auto",
    "prompt_harm",
    "response_harm",
    "refusal",
    "injection",
    "jailbreak",
    "groundedness",
]
# Common names in public sets, to suggest where a column was not found.
COLUMN_SYNONYMS = {
    "prompt": ("text", "question", "instruction", "query", "input", "user_input"),
    "response": ("answer", "completion", "output", "reply"),
    "label": ("is_safe", "unsafe", "harmful", "toxic", "toxicity", "is_toxic", "class"),
}
RESPONSE_TASKS = frozenset({"response_harm", "refusal", "groundedness"})


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """Options of files and hub sets: the task, the taxonomy, and names of columns.

    `policy` is the taxonomy of the `categories` column; "none" ignores that column. The
    last five columns belong to preference pairs and replace `response` and `label`.
    """

    task: TaskOption = "auto"
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
        """Mapping from the names used here (prompt, label, ...) to the source's."""
        names = (f.name for f in fields(self) if f.name not in ("task", "policy"))
        return {name: getattr(self, name) for name in names}


class BadRowError(ValueError):
    """A row that cannot be understood; whoever catches it knows the file and line."""


class RowReader:
    """Reads the rows of one source, all labelled for one task.

    `columns` maps names used here to the source's; `extra_columns` are copied to
    `Example.gold_meta`. Without a `policy`, categories are ignored.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        task: str,
        label_map: Mapping[str, str],
        policy: Policy | None,
        extra_columns: tuple[str, ...] = (),
    ) -> None:
        self.columns = ColumnOptions().columns | dict(columns)
        self.task = task
        self.label_parser = LabelParser(task, label_map, self.columns["label"])
        self.policy = policy
        self.extra_columns = extra_columns

    def examples(self, row: Mapping[str, Any], where: str) -> tuple[Example, ...]:
        """Return the examples of a row (here always one), or raise `BadRowError`."""
        label = self._label(row)
        turns = self._turns(row)
        example = Example(
            turns=turns,
            target=self._target(turns),
            label=Label(value=label),
            id=self.row_id(row),
            group=self.text_value(row, "group") or "",
            language=self.text_value(row, "language"),
            categories=self._categories(row, label),
            gold_meta={k: row[k] for k in self.extra_columns if k in row},
            where=where,
        )
        return (example,)

    def missing_columns(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Return a message about a required column that no row has, or ""."""
        present = {column: None for row in rows for column in row}  # keeps their order
        found = {name for name, column in self.columns.items() if column in present}
        if found.isdisjoint({"prompt", "messages"}):
            return self.missing_column_message("prompt", present)
        if "label" not in found:
            return self.missing_column_message("label", present)
        if self.task in RESPONSE_TASKS and found.isdisjoint({"response", "messages"}):
            problem = self.missing_column_message("response", present)
            return f"no response, which {self.task} judges: {problem}"
        return ""

    def row_id(self, row: Mapping[str, Any]) -> str | None:
        """Return the id column of a row, None if it has none."""
        return self.text_value(row, "id")

    def text_value(self, row: Mapping[str, Any], name: str) -> str | None:
        """Return a cell as text, None if it is empty or missing."""
        value = row.get(self.columns[name])
        return None if value in (None, "") else str(value)

    def _label(self, row: Mapping[str, Any]) -> bool | None:
        if self.columns["label"] not in row:
            raise BadRowError(self.missing_column_message("label", row))
        try:
            return self.label_parser.parse(row[self.columns["label"]])
        except ValueError as error:
            raise BadRowError(str(error)) from None

    def missing_column_message(self, name: str, present: Mapping[str, Any]) -> str:
        """Say that a column is missing, which one may be meant, and how to name it."""
        column = self.columns[name]
        unused = [other for other in present if other not in self.columns.values()]
        synonyms = (word for word in COLUMN_SYNONYMS.get(name, ()) if word in unused)
        synonym = next(synonyms, "")
        hint = f"; is it {synonym!r}?" if synonym else did_you_mean(column, unused)
        listed = ", ".join(present) or "none"
        return (
            f"no column {column!r}{hint} (columns: {listed}; "
            f"append ,{name}={synonym or 'COLUMN'} to the name)"
        )

    def _turns(self, row: Mapping[str, Any]) -> tuple[Turn, ...]:
        """Return the whole conversation, response included, whatever the task.

        A sample's id is a hash of its turns: one row gets one id under every task.
        """
        turns = self.prompt_turns(row)
        response = row.get(self.columns["response"])
        if isinstance(response, str):
            turns = (*turns, Turn("assistant", response))
        if self.task in RESPONSE_TASKS and turns[-1].role != "assistant":
            raise BadRowError(f"no response, which {self.task} judges")
        return turns

    def prompt_turns(self, row: Mapping[str, Any]) -> tuple[Turn, ...]:
        """Return the turns before the response, from `messages` or from `prompt`."""
        if row.get(self.columns["messages"]):
            return parse_messages(row[self.columns["messages"]])
        return exchange(self._prompt(row))

    def _target(self, turns: tuple[Turn, ...]) -> int:
        """Return the index of the judged turn: the response or the last user turn."""
        return len(turns) - 1 if self.task in RESPONSE_TASKS else _last_user_turn(turns)

    def _prompt(self, row: Mapping[str, Any]) -> str:
        column = self.columns["prompt"]
        if column not in row:
            raise BadRowError(self.missing_column_message("prompt", row))
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
        # An empty CSV cell means "no category" for a safe row, "not annotated" else.
        if value == "" and label is not False:
            return None
        codes = parse_categories(value)
        for code in sorted(codes - set(self.policy.codes)):
            raise BadRowError(
                f"{code!r} is no category of {self.policy.id}"
                f"{did_you_mean(code, self.policy.codes)} (policy=ID names another "
                "taxonomy, policy=none leaves categories out)"
            )
        return codes


def parse_categories(value: object) -> frozenset[str]:
    """Return category codes from a list or from text such as ``S1,S3`` or ``S1 S3``."""
    # Cells of a spreadsheet are text, separated in whatever way its author is used to.
    if isinstance(value, str):
        return frozenset(value.replace(",", " ").replace(";", " ").split())
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return frozenset(value)
    raise BadRowError(f"categories are no list of codes: {value!r}")


def parse_messages(value: object) -> tuple[Turn, ...]:
    """Return the turns of ``[{"role": ..., "content": ...}, ...]``."""
    if not isinstance(value, list):
        raise BadRowError(f"messages are no list of role and content: {value!r}")
    turns = tuple(_parse_message(message) for message in value)
    if not any(turn.text.strip() for turn in turns if turn.role == "user"):
        raise BadRowError("empty prompt")
    return turns


def _parse_message(message: object) -> Turn:
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        raise BadRowError(f"a message needs role and content: {message!r}")
    role = message.get("role")
    if role not in ROLES:
        raise BadRowError(f"unknown role {role!r}{did_you_mean(str(role), ROLES)}")
    return Turn(role, message["content"])


def _last_user_turn(turns: tuple[Turn, ...]) -> int:
    return max(i for i, turn in enumerate(turns) if turn.role == "user")
