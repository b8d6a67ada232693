"""A conversation to score, from arguments, a file, standard input or a form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safebench.datasets.formats import parse_json
from safebench.datasets.messages import parse_messages
from safebench.datasets.request import BadRowError, exchange
from safebench.datasets.rows import DOCUMENT_TASK, parse_documents
from safebench.errors import DataError, IncompatibleError, did_you_mean, unknown_name
from safebench.records import RESPONSE_TASKS, TASKS, Sample, Turn

if TYPE_CHECKING:
    from safebench.pipeline.resolved import ResolvedClassifier

InputFormat = Literal["auto", "text", "jsonl"]
_MAX_ERRORS = 10


@dataclass(frozen=True, slots=True)
class Conversation:
    """The turns of one conversation; `location` (``NAME:LINE``) is for messages.

    `documents` are what its response is held against, for groundedness alone.
    """

    turns: tuple[Turn, ...]
    location: str = ""
    documents: tuple[str, ...] = ()

    @property
    def has_response(self) -> bool:
        """Whether the last turn is the assistant's."""
        return self.turns[-1].role == "assistant"

    def to_sample(self, classifier: ResolvedClassifier, task: str = "") -> Sample:
        """Return what the classifier gets.

        Without a `task` a response is judged if there is one, else the prompt. Raises
        `IncompatibleError` for a task that the classifier does not answer, `DataError`
        if there is nothing that the task judges.
        """
        name, answered = classifier.spec.name, classifier.tasks
        if not (task or self.has_response) and answered <= RESPONSE_TASKS:
            raise DataError(f"{name} judges responses, and there is none")
        task = task or self._default_task(answered)
        if task not in answered:
            listed = ", ".join(sorted(answered))
            raise IncompatibleError(
                f"{name} does not answer {task}\n  {name} answers {listed}"
            )
        if task in RESPONSE_TASKS and not self.has_response:
            raise DataError(f"no response, which {task} judges")
        documents = self.documents if task == DOCUMENT_TASK else ()
        if task == DOCUMENT_TASK and classifier.reads_documents and not documents:
            raise DataError(
                f"no documents, which {task} holds a response against: as JSON, with "
                "documents beside the response"
            )
        users = [i for i, turn in enumerate(self.turns) if turn.role == "user"]
        target = len(self.turns) - 1 if task in RESPONSE_TASKS else users[-1]
        return Sample(
            id="question",
            turns=self.turns,
            task=task,
            target=target,
            documents=documents,
        )

    def _default_task(self, answered: frozenset[str]) -> str:
        """Return the usual task, or the first fitting one that is answered."""
        usual = "response_harm" if self.has_response else "prompt_harm"
        fitting = [t for t in TASKS if (t in RESPONSE_TASKS) == self.has_response]
        return next((t for t in [usual, *fitting] if t in answered), usual)


def from_text(prompt: str, response: str | None = None) -> Conversation:
    """Return a prompt, and its response if there is one, as a conversation.

    Raises `DataError` for an empty prompt and for text that is not valid Unicode.
    """
    for name, text in (("prompt", prompt), ("response", response or "")):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"the {name} is not UTF-8 text") from None
    if not prompt.strip():
        raise DataError("empty prompt: there is nothing to judge")
    return Conversation(exchange(prompt, response))


def from_file(path: str, form: InputFormat = "auto") -> list[Conversation]:
    """Return the conversations in a file.

    Raises `DataError` if it cannot be read, with the nearest name in its folder.
    """
    file = Path(path)
    try:
        return parse_input(file.read_bytes(), path, form)
    except OSError as error:
        siblings = file.parent.iterdir() if file.parent.is_dir() else ()
        others = (p.name for p in siblings if p.is_file() and p.name != file.name)
        hint = did_you_mean(file.name, others)
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot read {path}: {reason}{hint}") from None


def check_task(task: str | None) -> None:
    """Raise `UnknownNameError` for a task that does not exist."""
    if task and task not in TASKS:
        raise unknown_name("task", task, TASKS)


def parse_input(
    data: bytes, name: str, form: InputFormat = "auto"
) -> list[Conversation]:
    """Return the conversations in the bytes of a file or of standard input.

    JSON lines hold one conversation each: ``prompt`` and perhaps ``response``, or
    ``messages``, and perhaps ``documents``. As "auto", input is read as JSON lines if
    its first line is such an object; otherwise all of it is one prompt. Raises
    `DataError` with a line for each line that is wrong, up to ten.
    """
    try:
        text = data.decode("utf-8-sig")  # without the mark that some editors put first
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}:{line}: not UTF-8 text") from None
    if form == "jsonl" or (form == "auto" and _looks_like_json_lines(text)):
        return _parse_json_lines(text, name)
    return [Conversation(from_text(text.rstrip("\r\n")).turns)]


def _looks_like_json_lines(text: str) -> bool:
    first = next((line for line in text.split("\n") if line.strip()), "")
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and not {"prompt", "messages"}.isdisjoint(row)


def _parse_json_lines(text: str, name: str) -> list[Conversation]:
    conversations: list[Conversation] = []
    errors: list[str] = []
    # Not `splitlines`: JSON strings may hold other line separators.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            location = f"{name}:{number}"
            try:
                conversations.append(parse_row(parse_json(line), location))
            except (json.JSONDecodeError, RecursionError) as error:
                errors.append(f"{location}: not JSON ({error})")
            except (BadRowError, DataError) as error:
                errors.append(f"{location}: {error}")
    if errors:
        lines = errors[:_MAX_ERRORS]
        if len(errors) > _MAX_ERRORS:
            lines.append(f"... and {len(errors) - _MAX_ERRORS} more")
        raise DataError("\n".join(lines))
    if not conversations:
        raise DataError(f"{name}: empty, there is nothing to judge")
    return conversations


def parse_row(row: Any, location: str) -> Conversation:
    """Return the conversation in one JSON object; `location` names it.

    Raises `BadRowError` or `DataError`, without the location.
    """
    if not isinstance(row, dict) or {"prompt", "messages"}.isdisjoint(row):
        raise BadRowError("expected an object with prompt or messages")
    response = row.get("response")
    if response is not None and not isinstance(response, str):
        raise BadRowError(f"response is not text: {response!r:.60}")
    value = row.get("documents", row.get("context"))
    documents = parse_documents(value, "documents") if value else ()
    for text in documents:
        from_text("-", text)
    if row.get("messages") is not None:
        turns = parse_messages(row["messages"])
        if response is not None:
            turns = (*turns, Turn("assistant", response))
        for turn in turns:
            from_text("-", turn.text)
        return Conversation(turns, location, documents)
    if not isinstance(row.get("prompt"), str):
        raise BadRowError(f"prompt is not text: {row.get('prompt')!r:.60}")
    turns = from_text(row["prompt"], response).turns
    return Conversation(turns, location, documents)
