"""Chat templates are programs of strangers: rendered within bounds.

What a template writes is computed in a forked copy of this process that may take a few
seconds and some memory, and is ended then: a thread could not be stopped inside one
large operation (`'a' * 10**10`, `10 ** (10 ** 10)`). To fork costs more than to render,
so that one copy serves all conversations of a `with rendered_together():`. Where a copy
is not safe, a thread is watched instead: it is stopped between operations, and one that
is large is not bounded. On Windows nobody tells how much memory it takes, so time alone
is bounded.
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
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench.records import Turn

MAX_SECONDS = 5.0  # of the processor; templates of guards take about a millisecond
_PATIENCE = (
    12.0  # times as long at most by the clock, on a machine that does other work
)
MAX_CHARACTERS = 1_000_000  # of a template around placeholders; guards' have some 5,000
MAX_MEMORY = 1 << 30  # bytes above what this process has mapped
_MAX_REASON = 200  # characters
_BLOCK_BYTES = 1 << 16
_WATCH_SECONDS = 0.01
_ORPHAN_SECONDS = 2.0  # between two looks whether the original is still there
# Prompts, and with them the keys of evidence, must not change from day to day.
DEFAULT_DAY = date(2025, 1, 1)
_TODAY = re.compile(r"\bstrftime_now\s*\(")
_DATE_CALL = re.compile(r"""\bstrftime_now\s*\(\s*(["'])(?P<form>[^"']*)\1\s*\)""")
_END = b"\n"  # JSON in one line has none inside
# Elsewhere a fork is not safe beside threads (macOS), or does not exist (Windows).
_CAN_FORK = sys.platform == "linux"


class PromptError(ValueError):
    """A sample that cannot be turned into a prompt; its trace carries the message."""


class TemplateTimeoutError(PromptError):
    """A template that does not end."""


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
    request = _Request(
        messages=messages,
        template=dated(tokenizer.chat_template, day),
        # A verdict is read from the first token on.
        variables={"enable_thinking": False} | dict(variables or {}),
        add_generation_prompt=add_generation_prompt,
        n_given=sum(len(turn.text) for turn in turns),
    )
    if _CAN_FORK:
        with rendered_together():
            result = _shared.get().outcome(tokenizer, request)
    else:
        result = _in_a_thread(lambda: request.outcome(tokenizer))
    if "text" in result:
        return str(result["text"])
    error = TemplateTimeoutError if result == _overdue() else PromptError
    raise error(f"the chat template {result['problem']}")


@contextmanager
def rendered_together() -> Iterator[None]:
    """Let one copy of this process, which ends with the block, render all inside.

    Short blocks: a copy keeps the memory that it was made with, and open files.
    """
    outer = _shared.get(None)
    if outer is not None and outer.process == os.getpid():
        yield
        return
    renderer = _Renderer()
    token = _shared.set(renderer)
    try:
        yield
    finally:
        _shared.reset(token)
        renderer.end()


@dataclass(frozen=True, slots=True)
class _Request:
    """What a template is rendered with."""

    messages: list[dict[str, Any]]
    template: str | None  # None: the tokenizer's
    variables: dict[str, Any]
    add_generation_prompt: bool
    n_given: int  # characters of all texts

    def as_line(self) -> bytes:
        """Return it as a line of JSON, b"" if that would not read as the same."""
        values = asdict(self)
        try:
            line = json.dumps(values)
        except (TypeError, ValueError):  # a date of a profile, for one
            return b""
        return line.encode() + _END if json.loads(line) == values else b""

    def outcome(self, tokenizer: Any) -> dict[str, Any]:
        """Return the text, or why there is none, in what may be sent elsewhere."""
        try:
            text = str(
                tokenizer.apply_chat_template(
                    self.messages,
                    chat_template=self.template,
                    tokenize=False,
                    add_generation_prompt=self.add_generation_prompt,
                    **self.variables,
                )
            )
        except MemoryError:
            return _too_large()
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            reason = " ".join(str(error).split())[:_MAX_REASON]
            return {"problem": f"refuses these turns: {reason or type(error).__name__}"}
        length = len(text) - self.n_given
        if length > MAX_CHARACTERS:
            return {
                "problem": f"writes {length:,} characters around the texts, more than "
                f"{MAX_CHARACTERS:,}"
            }
        return {"text": text}


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


def _too_large() -> dict[str, Any]:
    return {"problem": f"needs more than {MAX_MEMORY >> 20} MiB"}


def _crashed() -> dict[str, Any]:
    # killed by the system, or in the compiler of templates
    return {"problem": "ends the process that renders it"}


class _Renderer:
    """Renders in a copy of this process, made when it is needed and again if it ended.

    Requests and answers go through pipes as lines of JSON; nothing else that the copy
    changes is seen here.
    """

    def __init__(self) -> None:
        self.process = os.getpid()  # a fork of it must not speak to the same copy
        self._copy: _Copy | None = None

    def outcome(self, tokenizer: Any, request: _Request) -> dict[str, Any]:
        """Return what a request comes to, as it would in a copy of its own."""
        if self._copy is not None and self._copy.tokenizer is not tokenizer:
            self.end()
        is_used = self._copy is not None
        result = self._ask(tokenizer, request)
        if is_used and result in (_too_large(), _crashed()):
            # what other requests left behind must not decide this one
            result = self._ask(tokenizer, request)
        return result

    def _ask(self, tokenizer: Any, request: _Request) -> dict[str, Any]:
        line = request.as_line()
        if not line:
            self.end()
        answer: bytes | None = b""
        try:
            if self._copy is None:
                self._copy = _Copy(tokenizer, request)
                answer = self._copy.answer()
            else:
                answer = self._copy.answer(line)
        finally:  # also on Ctrl-C, after which an answer might be another request's
            if not answer:
                self.end()
        if answer is None:
            return _overdue()
        result: dict[str, Any] = json.loads(answer) if answer else _crashed()
        if result == _too_large():
            self.end()
        return result

    def end(self) -> None:
        """End the copy, if there is one."""
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.end(is_ours=self.process == os.getpid())


_shared: ContextVar[_Renderer] = ContextVar("_shared")


class _Copy:
    """A fork of this process that renders with one tokenizer.

    It knows its first request without being told.
    """

    def __init__(self, tokenizer: Any, first: _Request) -> None:
        self.tokenizer = tokenizer
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        original = os.getpid()
        with warnings.catch_warnings():
            # Python warns of locks that other threads may hold; the copy takes none of
            # theirs, and one that waited for ever would be ended as a template is.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = os.fork()
        if self._process == 0:
            os.close(self._requests)
            os.close(self._answers)
            _answer_all(tokenizer, first, requests, answers, original)
        os.close(requests)
        os.close(answers)
        os.set_blocking(self._requests, False)

    def answer(self, line: bytes = b"") -> bytes | None:
        """Return the answer as a line; b"" if the copy ended, None if it takes long."""
        allowance = _Allowance(self._process)
        try:
            written = _write_until(self._requests, line, allowance)
        except BrokenPipeError:
            return b""
        return _read_until(self._answers, allowance) if written else None

    def end(self, *, is_ours: bool) -> None:
        """End the process, unless this one is only another fork of who made it."""
        os.close(self._requests)
        os.close(self._answers)
        if not is_ours:
            return
        with suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._process, 0)


class _Allowance:
    """What is left of the time that a process may take for one template.

    In time of the processor: by the clock a template would be refused because a
    machine does other work. What only waits is ended, too, but later.
    """

    def __init__(self, process: int) -> None:
        # MAKE_PROCESS_CPUCLOCK in Linux's include/linux/posix-timers_types.h
        self._clock = ~process << 3 | 2
        self._start = self._used()
        self._end = time.monotonic() + _PATIENCE * MAX_SECONDS

    def left(self) -> float:
        """Return how many seconds are left, at least; none once it is 0 or less."""
        used = self._used() - self._start
        return min(MAX_SECONDS - used, self._end - time.monotonic())

    def _used(self) -> float:
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # the process is gone, as its pipe says
            return 0.0


def _answer_all(
    tokenizer: Any, first: _Request, requests: int, answers: int, original: int
) -> NoReturn:
    """Render what is asked for until nobody asks: this is the copy."""
    try:
        _bound_memory()
        request: _Request | None = first
        while request:
            _bound_time()
            _write_all(answers, json.dumps(request.outcome(tokenizer)).encode() + _END)
            request = _next_request(requests, original)
    finally:
        os._exit(0)  # neither buffers nor exit handlers of the original run twice


def _next_request(reader: int, original: int) -> _Request | None:
    """Return a request, None when there will be no more."""
    poll = select.poll()
    poll.register(reader)
    # Not the end of the pipe alone: other forks of the original hold it open, too.
    while not poll.poll(_ORPHAN_SECONDS * 1000):
        if os.getppid() != original:
            return None
    line = b""
    while not line.endswith(_END):
        block = os.read(reader, _BLOCK_BYTES)
        if not block:
            return None
        line += block
    return _Request(**json.loads(line))


def _write_all(writer: int, content: bytes) -> None:
    while content:
        content = content[os.write(writer, content) :]


def _bound_memory() -> None:
    """Bound the memory of this process, wherever that is possible."""
    import resource

    with suppress(OSError, ValueError):
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
        mapped = int(pages) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MAX_MEMORY, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _bound_time() -> None:
    """Bound the processor time that this process takes from now on.

    It ends by itself where the original was killed before it could end it.
    """
    import resource

    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        seconds = int(time.process_time() + 2 * MAX_SECONDS) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


def _write_until(writer: int, content: bytes, allowance: _Allowance) -> bool:
    """Write to a pipe that does not block; False if that is not done in time."""
    poll = select.poll()
    poll.register(writer, select.POLLOUT)
    while content and (left := allowance.left()) > 0:
        if poll.poll(left * 1000):
            content = content[os.write(writer, content) :]
    return not content


def _read_until(reader: int, allowance: _Allowance) -> bytes | None:
    """Return what is written to a pipe, None if that is not finished in time."""
    poll, blocks = select.poll(), []
    poll.register(reader)
    while (left := allowance.left()) > 0:
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
    """Return what `compute` returns in a thread that is watched, and may be stopped."""
    results: list[dict[str, Any]] = []

    def work() -> None:
        with suppress(_TimeIsUp):  # else its traceback is printed
            results.append(compute())

    thread = threading.Thread(target=work, daemon=True)
    end = time.monotonic() + MAX_SECONDS
    most = (_peak_memory() or 0) + MAX_MEMORY
    thread.start()
    problem = _overdue()
    while thread.is_alive() and time.monotonic() < end:
        thread.join(_WATCH_SECONDS)
        if (_peak_memory() or 0) > most:
            problem = _too_large()
            break
    if results:
        return results[0]
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TimeIsUp)
    )
    return problem


def _peak_memory() -> int | None:
    """Return the most memory that this process has held, in bytes; None: unknown."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10  # there in KiB
