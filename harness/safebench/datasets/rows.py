"""Read rows of named columns as `Example` records, for files and hub sets alike.

`.labels` gives label words their meaning and `.messages` reads conversations;
`RowReader` does the rest. `.tabular` decides which reader fits a source and collects
the errors of all rows.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import did_you_mean
from safebench.records import RESPONSE_TASKS, Label, Turn

from .formats import parse_json
from .labels import LabelParser
from .messages import content_text, parse_messages
from .request import BadRowError, Example, exchange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.policies import Policy


DOCUMENT_TASK = "groundedness"
# what retrievers and document stores call the text of a document
DOCUMENT_KEYS = ("text", "content", "page_content")
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
    "messages": ("conversation", "conversations", "chat", "dialog", "dialogue"),
    "documents": ("document", "doc", "docs", "source", "passage", "evidence"),
    "label": ("is_safe", "unsafe", "harmful", "toxic", "toxicity", "is_toxic", "class"),
}


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """Options of files and hub sets: the task, the taxonomy, and names of columns.

    `policy` is the taxonomy of the `categories` column; "none" ignores that column.
    `sep` separates the columns of a CSV file: a character or comma, semicolon, tab,
    pipe; "auto" goes by the header. For groundedness, `documents` or `context` hold
    what a response is held against, and `claim` may stand in place of `response`. The
    five columns from `response_0` on belong to preference pairs and replace `response`
    and `label`.
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
    documents: str = "documents"
    context: str = "context"
    claim: str = "claim"
    response_0: str = "response_0"
    response_1: str = "response_1"
    is_response_0_safe: str = "is_response_0_safe"
    is_response_1_safe: str = "is_response_1_safe"
    safer_response_id: str = "safer_response_id"
    sep: str = "auto"

    @property
    def columns(self) -> dict[str, str]:
        """Mapping from the names used here (prompt, label, ...) to the source's."""
        others = ("task", "policy", "sep")
        names = (f.name for f in fields(self) if f.name not in others)
        return {name: getattr(self, name) for name in names}


# frozen, so that rows share them
_LABELS = {value: Label(value=value) for value in (True, False, None)}


class RowReader:
    """Reads the rows of one source, all labelled for one task.

    `columns` maps names used here to the source's; `extra_columns` are copied to
    `Example.gold_meta`. Without a `policy`, categories are ignored. `class_names` are
    those that the source stores for the label column.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        task: str,
        label_map: Mapping[str, str],
        policy: Policy | None,
        extra_columns: tuple[str, ...] = (),
        class_names: Sequence[str] = (),
    ) -> None:
        self.columns = ColumnOptions().columns | dict(columns)
        self.task = task
        self.label_parser = LabelParser(
            task, label_map, self.columns["label"], class_names
        )
        self.class_names = class_names
        self.policy = policy
        self.extra_columns = extra_columns

    def examples(self, row: Mapping[str, Any], where: str) -> tuple[Example, ...]:
        """Return the examples of a row (here always one), or raise `BadRowError`."""
        label = self._label(row)
        turns = self._turns(row)
        example = Example(
            turns=turns,
            target=self._target(turns),
            documents=self._documents(row),
            label=_LABELS[label],
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
        named = {name for name, column in self.columns.items() if column in present}
        required = {"prompt", "messages"}
        if self.task == DOCUMENT_TASK:
            required |= {"claim", "response"}
        if named.isdisjoint(required):
            return self.missing_column_message("prompt", present)
        if "label" not in named:
            return self.missing_column_message("label", present)
        answers = {"response", "messages"}
        if self.task == DOCUMENT_TASK:
            answers.add("claim")
            if "claim" in named and named.isdisjoint({"documents", "context"}):
                return self.missing_column_message("documents", present)
        if self.task in RESPONSE_TASKS and named.isdisjoint(answers):
            problem = self.missing_column_message("response", present)
            return f"no response, which {self.task} judges: {problem}"
        return ""

    def unclear_labels(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Return a message about stored label names that are no known words, or ""."""
        column = self.columns["label"]
        values = [row.get(column) for row in rows] if self.class_names else []
        present = {value for value in values if isinstance(value, str)}
        stored = [name for name in self.class_names if name in present]
        return self.label_parser.unclear_names(stored)

    def contradicting_labels(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Return a message about labels that another column contradicts, or ""."""
        return self.label_parser.contradiction(rows)

    def assumed_labels(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Return a note about numbers whose meaning no name tells, or ""."""
        if self.class_names:
            return ""
        column = self.columns["label"]
        return self.label_parser.assumption(row.get(column) for row in rows)

    def row_id(self, row: Mapping[str, Any]) -> str | None:
        """Return the id column of a row, None if it has none."""
        return self.text_value(row, "id")

    def text_value(self, row: Mapping[str, Any], name: str) -> str | None:
        """Return a cell as text, None if it is empty or missing."""
        value = row.get(self.columns[name])
        return None if is_missing(value) or value == "" else str(value)

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
        response = row.get(self.columns["response"])
        if self.task == DOCUMENT_TASK:
            if is_missing(response):
                response = row.get(self.columns["claim"])
            turns = self.prompt_turns(row) if self._has_prompt(row) else ()
        else:
            turns = self.prompt_turns(row)
        if not is_missing(response):
            text = self._text("response", response)
            turns = (*turns, Turn("assistant", text))
        if self.task in RESPONSE_TASKS and (not turns or turns[-1].role != "assistant"):
            raise BadRowError(f"no response, which {self.task} judges")
        return turns

    def _has_prompt(self, row: Mapping[str, Any]) -> bool:
        """Tell whether anybody asked: a claim about a text may stand for itself."""
        names = (self.columns["prompt"], self.columns["messages"])
        return any(not is_missing(row.get(n)) and row[n] != "" for n in names)

    def _documents(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the texts that a response is held against; () for other tasks."""
        if self.task != DOCUMENT_TASK:
            return ()
        for name in ("documents", "context"):
            value = row.get(self.columns[name])
            if not is_missing(value) and value != "":
                return parse_documents(value, self.columns[name])
        # a conversation may hold them itself, a claim alone cannot
        if self._has_prompt(row):
            return ()
        raise BadRowError(f"no documents, which {self.task} holds a response against")

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
        prompt = "" if is_missing(row[column]) else self._text("prompt", row[column])
        if not prompt.strip():
            raise BadRowError("empty prompt")
        return prompt

    def _text(self, name: str, value: Any) -> str:
        """Return a cell's text; raises `BadRowError` for what is none."""
        if isinstance(value, str):
            return value
        is_list = isinstance(value, list) and bool(value)
        if is_list and all(isinstance(v, dict) and "type" in v for v in value):
            return content_text(value)
        column = self.columns[name]
        hint = f"; append ,messages={column} to the name" if is_list else ""
        raise BadRowError(f"{column!r} is not text: {value!r:.60}{hint}")

    def _categories(
        self, row: Mapping[str, Any], label: bool | None
    ) -> frozenset[str] | None:
        value = row.get(self.columns["categories"])
        if is_missing(value) or self.policy is None:
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


def parse_documents(value: object, column: str) -> tuple[str, ...]:
    """Return texts from a text, a list of them, or of objects that hold one each.

    A list may be JSON text, as in a cell of a table. Raises `BadRowError` for what
    holds no text.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):  # a text may begin with a bracket
            value = parse_json(value)
    items = value if isinstance(value, (list, tuple)) else [value]
    texts = []
    for item in items:
        text = item
        if isinstance(item, dict):
            text = next((item[k] for k in DOCUMENT_KEYS if k in item), None)
        if not isinstance(text, str):
            keys = ", ".join(DOCUMENT_KEYS)
            raise BadRowError(
                f"{column!r} is no text, no list of texts and no list of objects with "
                f"one of {keys}: {item!r:.60}"
            )
        if text.strip():
            texts.append(text)
    if not texts:
        raise BadRowError(f"{column!r} is empty: there is nothing to hold against")
    return tuple(texts)


def is_missing(value: object) -> bool:
    """Tell whether a cell holds nothing: null, or the NaN that pandas writes for it."""
    return value is None or value != value  # noqa: PLR0124 - NaN is unlike itself


def parse_categories(value: object) -> frozenset[str]:
    """Return category codes from a list or from text such as ``S1,S3`` or ``S1 S3``."""
    # Cells of a spreadsheet are text, separated in whatever way its author is used to.
    if isinstance(value, str):
        return frozenset(value.replace(",", " ").replace(";", " ").split())
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return frozenset(value)
    raise BadRowError(f"categories are no list of codes: {value!r:.60}")


def _last_user_turn(turns: tuple[Turn, ...]) -> int:
    if len(turns) == 1 and turns[0].role == "user":  # of most rows
        return 0
    return max(i for i, turn in enumerate(turns) if turn.role == "user")
