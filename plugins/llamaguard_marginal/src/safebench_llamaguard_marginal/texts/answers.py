"""Answers of chat and completion endpoints as texts, read and not trusted.

Servers differ in more than the documented form: reasonings come in fields of several
names, contents in parts, reasons to finish in words of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.services import MalformedAnswerError
from safebench_llamaguard_marginal.engines.completion_answers import parse_answer

from .evidence import FILTER, LENGTH, STOP, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

_FINISHES = {
    "stop": STOP,
    "eos_token": STOP,  # TGI
    "end_turn": STOP,  # Anthropic, behind gateways
    "stop_sequence": STOP,
    "length": LENGTH,
    "max_tokens": LENGTH,
    "content_filter": FILTER,
    "refusal": FILTER,
}
_REASONINGS = ("reasoning_content", "reasoning", "thinking")  # vLLM, OpenRouter, Ollama


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """A text that a server wrote.

    `reasoned` says that a reasoning came in a field of its own, so that `text` is what
    follows it. `finish` is an index of `FINISHES`; `tokens` are those written, and
    `prompt_tokens` those read, -1 where the server does not count them. `prompt_ids`
    are the tokens of the prompt, None where they are not told.
    """

    text: str
    finish: int = UNKNOWN
    reasoned: bool = False
    tokens: int = -1
    prompt_tokens: int = -1
    prompt_ids: tuple[int, ...] | None = None

    def is_about(self, prompt: Sequence[int]) -> bool:
        """Tell whether the server read `prompt`, as far as it says."""
        if self.prompt_ids is not None:
            return self.prompt_ids == tuple(prompt)
        return self.prompt_tokens in (-1, len(prompt))

    @property
    def says_prompt(self) -> bool:
        """Whether the server says anything of the prompt that it read."""
        return self.prompt_ids is not None or self.prompt_tokens >= 0


def read_text_answer(content: str) -> TextAnswer:
    """Return the first choice of an answer; raises `MalformedAnswerError`."""
    answer = parse_answer(content)
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedAnswerError("no list of `choices`")
    choice = choices[0]
    message = choice.get("message")
    if isinstance(message, dict):
        text, reasoned = _of_message(message)
    elif isinstance(choice.get("text"), str):
        text, reasoned = choice["text"], False
    else:
        raise MalformedAnswerError("a choice with neither message nor text")
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    # of a conversation beside the choices, of a text within the choice
    ids = answer.get("prompt_token_ids") or choice.get("prompt_token_ids")
    return TextAnswer(
        text,
        _FINISHES.get(str(choice.get("finish_reason")), UNKNOWN),
        reasoned,
        _count(usage, "completion_tokens"),
        _count(usage, "prompt_tokens"),
        tuple(ids) if isinstance(ids, list) else None,
    )


def _of_message(message: dict[str, Any]) -> tuple[str, bool]:
    """Return the text of a message, and whether it has a reasoning beside it."""
    content = message.get("content")
    if isinstance(content, list):  # parts
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    if content is None:  # a refusal of OpenAI stands in a field of its own
        content = message.get("refusal") or ""
    if not isinstance(content, str):
        raise MalformedAnswerError("a message whose content is no text")
    return content, any(message.get(name) for name in _REASONINGS)


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if type(value) is int and value >= 0 else -1
