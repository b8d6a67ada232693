"""A conversation to judge, from what a person typed, piped in or sent as a form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safebench.datasets.example import exchange
from safebench.datasets.rows import NEED_RESPONSE, BadRowError, read_messages
from safebench.errors import DataError, IncompatibleError, nearest, unknown
from safebench.records import TASKS, Sample, Turn

if TYPE_CHECKING:
    from safebench.specs import ClassifierSpec

Form = Literal["auto", "text", "jsonl"]
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Question:
    """The turns of one conversation; `where` (``NAME:LINE``) is for messages."""

    turns: tuple[Turn, ...]
    where: str = ""

    @property
    def responded(self) -> bool:
        """Tell whether the last word is the assistant's."""
        return self.turns[-1].role == "assistant"

    def sample(self, spec: ClassifierSpec, task: str = "") -> Sample:
        """Return what the classifier is shown.

        Without a `task` a response is judged if there is one, else the prompt. Raises
        `IncompatibleError` for a task that the classifier does not answer, `DataError`
        if there is nothing that the task judges.
        """
        if not (task or self.responded) and spec.tasks <= NEED_RESPONSE:
            raise DataError(f"{spec.name} judges responses, and there is none")
        task = task or self._task(spec)
        if task not in spec.tasks:
            answers = ", ".join(sorted(spec.tasks))
            raise IncompatibleError(
                f"{spec.name} does not answer {task}\n  {spec.name} answers {answers}"
            )
        if task in NEED_RESPONSE and not self.responded:
            raise DataError(f"no response, which {task} judges")
        users = [i for i, turn in enumerate(self.turns) if turn.role == "user"]
        target = len(self.turns) - 1 if task in NEED_RESPONSE else users[-1]
        return Sample(id="question", turns=self.turns, task=task, target=target)

    def _task(self, spec: ClassifierSpec) -> str:
        """Return the usual task, or the first that fits and that is answered."""
        usual = "response_harm" if self.responded else "prompt_harm"
        fitting = [t for t in TASKS if (t in NEED_RESPONSE) == self.responded]
        return next((t for t in [usual, *fitting] if t in spec.tasks), usual)


def typed(prompt: str, response: str | None = None) -> Question:
    """Return a prompt and its response, if any, as a question.

    Raises `DataError` for an empty prompt and for text that is no Unicode.
    """
    for name, text in (("prompt", prompt), ("response", response or "")):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"the {name} is not UTF-8 text") from None
    if not prompt.strip():
        raise DataError("empty prompt: there is nothing to judge")
    return Question(exchange(prompt, response))


def from_file(path: str, form: Form = "auto") -> list[Question]:
    """Return the questions in a file; raises `DataError` with the nearest name."""
    file = Path(path)
    try:
        return piped(file.read_bytes(), path, form)
    except OSError as error:
        beside = file.parent.iterdir() if file.parent.is_dir() else ()
        hint = nearest(file.name, (p.name for p in beside if p.is_file()))
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot read {path}: {reason}{hint}") from None


def refuse_task(task: str | None) -> None:
    """Raise `UnknownNameError` for a task that nobody knows."""
    if task and task not in TASKS:
        raise unknown("task", task, TASKS)


def piped(data: bytes, name: str, form: Form = "auto") -> list[Question]:
    """Return the questions in a file or in standard input.

    JSON lines hold one conversation each: ``prompt`` and perhaps ``response``, or
    ``messages``. As "auto", input is read as JSON lines if its first line is such an
    object; otherwise all of it is one prompt. Raises `DataError` that names the lines.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}:{line}: not UTF-8 text") from None
    if form == "jsonl" or (form == "auto" and _starts_as_lines(text)):
        return _lines(text, name)
    return [Question(typed(text.rstrip("\r\n")).turns)]


def _starts_as_lines(text: str) -> bool:
    first = next((line for line in text.split("\n") if line.strip()), "")
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and not {"prompt", "messages"}.isdisjoint(row)


def _lines(text: str, name: str) -> list[Question]:
    found: list[Question] = []
    bad: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{name}:{number}"
            try:
                found.append(_question(json.loads(line), where))
            except (json.JSONDecodeError, RecursionError) as error:
                bad.append(f"{where}: not JSON ({error})")
            except (BadRowError, DataError) as error:
                bad.append(f"{where}: {error}")
    if bad:
        more = [f"... and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
        raise DataError("\n".join(bad[:_SHOWN] + more))
    if not found:
        raise DataError(f"{name}: empty, there is nothing to judge")
    return found


def _question(row: Any, where: str) -> Question:
    if not isinstance(row, dict) or {"prompt", "messages"}.isdisjoint(row):
        raise BadRowError("expected an object with prompt or messages")
    response = row.get("response")
    if response is not None and not isinstance(response, str):
        raise BadRowError(f"response is not text: {response!r:.60}")
    if row.get("messages") is not None:
        turns = read_messages(row["messages"])
        if response is not None:
            turns = (*turns, Turn("assistant", response))
        for turn in turns:
            typed("-", turn.text)
        return Question(turns, where)
    if not isinstance(row.get("prompt"), str):
        raise BadRowError(f"prompt is not text: {row.get('prompt')!r:.60}")
    return Question(typed(row["prompt"], response).turns, where)
