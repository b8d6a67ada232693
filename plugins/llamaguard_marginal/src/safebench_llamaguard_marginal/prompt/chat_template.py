"""Chat templates are programs of strangers: rendered within bounds.

What a template writes is computed in a forked copy of this process that may take a few
seconds and some memory, and is ended then: a thread could not be stopped inside one
large operation (`'a' * 10**10`, `10 ** (10 ** 10)`), nor its memory bounded.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.records import Turn

MAX_SECONDS = 5.0  # templates of guards take about a millisecond
MAX_CHARACTERS = 1_000_000  # of a template around placeholders; guards' have some 5,000
MAX_MEMORY = 1 << 30  # bytes above what this process has mapped
_MAX_REASON = 200  # characters
_BLOCK_BYTES = 1 << 16
# Prompts, and with them the keys of evidence, must not change from day to day.
DEFAULT_DAY = date(2025, 1, 1)
_TODAY = re.compile(r"\bstrftime_now\s*\(")
_DATE_CALL = re.compile(r"""\bstrftime_now\s*\(\s*(["'])(?P<form>[^"']*)\1\s*\)""")
_END = b"\n"  # JSON in one line has none inside
# Elsewhere a fork is not safe beside threads (macOS), or does not exist (Windows).
_CAN_FORK = sys.platform == "linux"


class PromptError(ValueError):
    """A sample that cannot be turned into a prompt; its trace carries the message."""


class _TimeIsUp(BaseException):
    """Raised inside a template that does not end; no handler in it may catch this."""


def apply_chat_template(
    tokenizer: Any,
    turns: Sequence[Turn],
    *,
    in_parts: bool = False,
    variables: Mapping[str, Any] | None = None,
    add_generation_prompt: bool = True,
    day: date = DEFAULT_DAY,
) -> str:
    """Return the text of the tokenizer's chat template, ready for the answer.

    `variables` are what the template takes besides the turns; `day` is today's date for
    templates that print it.

    Raises PromptError for a template that refuses the turns, fails, does not end, needs
    more memory or writes more than any prompt has.
    """
    messages: list[dict[str, Any]] = [
        {
            "role": turn.role,
            "content": [{"type": "text", "text": turn.text}] if in_parts else turn.text,
        }
        for turn in turns
    ]
    template = dated(tokenizer.chat_template, day)
    n_given = sum(len(turn.text) for turn in turns)

    def render() -> str:
        text = tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            # A verdict is read from the first token on.
            **({"enable_thinking": False} | dict(variables or {})),
        )
        return str(text)

    def outcome() -> dict[str, Any]:
        """Return the text, or why there is none, in what may be sent elsewhere."""
        try:
            text = render()
        except MemoryError:
            return {"problem": f"needs more than {MAX_MEMORY >> 20} MiB"}
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            reason = " ".join(str(error).split())[:_MAX_REASON]
            return {"problem": f"refuses these turns: {reason or type(error).__name__}"}
        length = len(text) - n_given
        if length > MAX_CHARACTERS:
            return {
                "problem": f"writes {length:,} characters around the texts, more than "
                f"{MAX_CHARACTERS:,}"
            }
        return {"text": text}

    result = _in_a_fork(outcome) if _CAN_FORK else _in_a_thread(outcome)
    if "text" in result:
        return str(result["text"])
    raise PromptError(f"the chat template {result['problem']}")


def dated(template: Any, day: date) -> str | None:
    """Return a template in which a given day stands where it would print today's.

    None for a template without a date, which stays as the tokenizer has it. The call is
    replaced in the text: a function handed to a template is not let through.
    Raises PromptError for a date whose form the template computes.
    """
    text = template.get("default") if isinstance(template, dict) else template
    if not isinstance(text, str) or not _TODAY.search(text):
        return None

    def printed(call: re.Match[str]) -> str:
        return json.dumps(day.strftime(call["form"]))

    written = _DATE_CALL.sub(printed, text)
    if _TODAY.search(written):
        raise PromptError(
            "the chat template prints today's date in a form that it computes, so that "
            "prompts would change from day to day; a template with a form in quotes "
            "would work"
        )
    return written


def _overdue() -> dict[str, Any]:
    return {"problem": f"does not end within {MAX_SECONDS:g} s"}


def _in_a_fork(compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `compute` returns in a copy of this process, whose memory is bounded.

    The copy writes to a pipe alone, one line; nothing that it changes is seen here.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python warns of locks that other threads may hold; the copy takes none of
        # theirs, and one that waited for ever would be ended as a template is.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _answer_and_exit(compute, writer)
    os.close(writer)
    try:
        answer = _read_until(reader, time.monotonic() + MAX_SECONDS)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
    if answer is None:
        return _overdue()
    if not answer:  # killed by the system, or crashed in the compiler of templates
        return {"problem": "ends the process that renders it"}
    result: dict[str, Any] = json.loads(answer)
    return result


def _answer_and_exit(compute: Callable[[], dict[str, Any]], writer: int) -> NoReturn:
    """Write the result of `compute` as JSON and end the process: this is the copy."""
    try:
        _bound_memory()
        with os.fdopen(writer, "wb") as file:
            file.write(json.dumps(compute()).encode() + _END)
    finally:
        os._exit(0)  # neither buffers nor exit handlers of the original run twice


def _bound_memory() -> None:
    """Bound memory and processor time of this process, wherever that is possible."""
    import resource

    with suppress(OSError, ValueError):
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
        mapped = int(pages) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MAX_MEMORY, hard))
        # It ends by itself where the original was killed before it could end it.
        seconds = int(MAX_SECONDS) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read_until(reader: int, end: float) -> bytes | None:
    """Return what is written to a pipe, None if that is not finished at time `end`."""
    poll, blocks = select.poll(), []
    poll.register(reader)
    while (left := end - time.monotonic()) > 0:
        ready = poll.poll(left * 1000)
        if not ready:
            continue
        block = os.read(reader, _BLOCK_BYTES)
        blocks.append(block)
        # Not the end of the pipe: a process that another thread starts may hold it.
        if not block or block.endswith(_END):
            return b"".join(blocks)
    return None


def _in_a_thread(compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `compute` returns in a thread; its memory has no bound."""
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(compute()), daemon=True)
    thread.start()
    thread.join(MAX_SECONDS)
    if results:
        return results[0]
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TimeIsUp)
    )
    return _overdue()
