"""Chat templates are programs of strangers: rendered within bounds of time and size."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.records import Turn

MAX_SECONDS = 5.0  # templates of guards take about a millisecond
MAX_CHARACTERS = 1_000_000  # of a template around placeholders; guards' have some 5,000


class PromptError(ValueError):
    """A sample that cannot be turned into a prompt; its trace carries the message."""


class _TimeIsUp(BaseException):
    """Raised inside a template that does not end; no handler in it may catch this."""


def apply_chat_template(
    tokenizer: Any, turns: Sequence[Turn], *, in_parts: bool = False
) -> str:
    """Return the text of the tokenizer's chat template, ready for the answer.

    Raises PromptError for a template that refuses the turns, fails, does not end, or
    writes more than any prompt has.
    """
    messages: list[dict[str, Any]] = [
        {
            "role": turn.role,
            "content": [{"type": "text", "text": turn.text}] if in_parts else turn.text,
        }
        for turn in turns
    ]
    outcome: list[str | BaseException] = []

    def render() -> None:
        try:
            outcome.append(
                str(
                    tokenizer.apply_chat_template(
                        messages,
                        tokenize=False,
                        add_generation_prompt=True,
                        # A verdict is read from the first token on.
                        enable_thinking=False,
                    )
                )
            )
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            outcome.append(error)

    # A thread, since only another one can stop it; a process would cost seconds.
    thread = threading.Thread(target=render, daemon=True)
    thread.start()
    thread.join(MAX_SECONDS)
    if not outcome:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TimeIsUp)
        )
        raise PromptError(f"the chat template does not end within {MAX_SECONDS:g} s")
    (text,) = outcome
    if isinstance(text, Exception):
        reason = " ".join(str(text).split())[:200] or type(text).__name__
        raise PromptError(f"the chat template refuses these turns: {reason}") from text
    if isinstance(text, BaseException):
        raise text
    length = len(text) - sum(len(turn.text) for turn in turns)
    if length > MAX_CHARACTERS:
        raise PromptError(
            f"the chat template writes {length:,} characters around the texts, more "
            f"than {MAX_CHARACTERS:,}"
        )
    return text
