"""Requests to a service: side by side, with a deadline, tried again, and counted.

Failures are of three kinds. A rate limit, an error of the server or a timeout passes:
the request is made again. What is wrong with one text fails that sample. What is wrong
with the key, the address or the account would fail all of them, so it ends the run:
each failed sample is stored as such, and a thousand would hide the one reason.
"""

from __future__ import annotations

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from safebench.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .options import RequestOptions

T = TypeVar("T")

DEFAULT_CONCURRENCY = 4
MAX_WAIT = 60.0  # seconds: a service that asks for more is as good as down
MAX_IN_A_ROW = 5  # samples that fail for a passing reason before the run stops
MAX_REASON = 300  # characters of a service's message
_MIN_SECRET = 8  # shorter values of the environment are words, and no keys
_SERVER_ERROR = 500
_CLIENT_ERROR = 400
_AGAIN = frozenset({408, 409, 425, 429})
_STOP = {
    401: "it does not accept the key",
    402: "the account has no credit",
    403: "the key may not do this",
    404: "there is no such model or address",
    407: "a proxy asks for a password",
}
_STATUS_IN_TEXT = re.compile(r"\bstatus code:? (\d{3})\b")
_SECRET_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(_ID)?$")


class MalformedAnswerError(ValueError):
    """An answer that is not of the documented form; the text says what is missing."""


class UnreadableAnswerError(ValueError):
    """An answer that says nothing about its text, and would not if asked again."""


class WrongCountError(MalformedAnswerError):
    """An answer about another number of texts than were in the request."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed, and what follows from it.

    `wait` is how many seconds the service asks to wait, if it does. What is `malformed`
    seldom changes, so that one more attempt will tell.
    """

    action: Literal["again", "sample", "stop"]
    reason: str
    wait: float | None = None
    malformed: bool = False


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """An answer, or why there is none, with what it took."""

    value: T | None
    failure: Failure | None
    attempts: int
    seconds: float

    @property
    def error(self) -> str | None:
        """Why there is no answer, None if there is one."""
        return self.failure.reason if self.failure else None


class Service:
    """Asks a service by the rules of `options`; `name` is for messages.

    `deadline`: attempts are given up after the timeout here, for client libraries that
    would wait for ever.
    """

    def __init__(
        self, name: str, options: RequestOptions, *, deadline: bool = False
    ) -> None:
        self.name = name
        self.options = options
        self.deadline = deadline
        self.n_requests = 0  # of this process, failed attempts included
        self._in_a_row = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def ask(self, request: Callable[[], T]) -> Reply[T]:
        """Make a request until it is answered or fails for good.

        Raises `ModelError` for what would fail every other request as well.
        """
        start = time.perf_counter()
        attempts = 0
        while True:
            attempts += 1
            try:
                value = self.attempt(request)
            except ModelError:
                raise
            except Exception as error:  # noqa: BLE001 - client libraries raise anything
                failure = classify(error)
            else:
                with self._lock:
                    self._in_a_row = 0
                return Reply(value, None, attempts, time.perf_counter() - start)
            if failure.action == "stop":
                raise ModelError(f"{self.name}: {failure.reason}")
            limit = self.options.retries
            if failure.malformed:
                limit = min(1, limit)
            if failure.action == "sample" or attempts > limit:
                self._note_failure(failure)
                seconds = time.perf_counter() - start
                return Reply(None, failure, attempts, seconds)
            wait = self.options.backoff * 2 ** (attempts - 1)
            if failure.wait is not None:
                wait = failure.wait
            if self._stopped.wait(min(wait, MAX_WAIT)):
                raise ModelError(f"{self.name}: stopped")

    def ask_all(
        self,
        requests: Sequence[Callable[[], T]],
        on_reply: Callable[[int], None],
    ) -> list[Reply[T]]:
        """Make several requests at once; return the replies in their order.

        `on_reply` is called with the position of each request that is done.
        """
        self._stopped.clear()
        workers = min(self.options.concurrency or DEFAULT_CONCURRENCY, len(requests))
        replies: dict[int, Reply[T]] = {}
        if workers <= 1:
            for position, request in enumerate(requests):
                replies[position] = self.ask(request)
                on_reply(position)
            return list(replies.values())
        pool = ThreadPoolExecutor(workers, thread_name_prefix="safebench-request")
        try:
            futures = {pool.submit(self.ask, r): i for i, r in enumerate(requests)}
            for future in as_completed(futures):
                replies[futures[future]] = future.result()
                on_reply(futures[future])
        except BaseException:  # Ctrl-C included: nobody waits for requests in flight
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return [replies[position] for position in range(len(requests))]

    def attempt(self, request: Callable[[], T]) -> T:
        """Make a request once, and count it; raises what the client library raises."""
        self._count()
        if not self.deadline:
            return request()
        return run_with_deadline(request, self.options.timeout)

    def _count(self) -> None:
        limit = self.options.max_requests
        with self._lock:
            if limit is not None and self.n_requests >= limit:
                raise ModelError(
                    f"{self.name}: {limit} requests were made, as many as "
                    f"max_requests={limit} allows; what is recorded is kept, and the "
                    "same command goes on from there"
                )
            self.n_requests += 1

    def _note_failure(self, failure: Failure) -> None:
        """Stop where sample after sample fails for a reason that is not its own."""
        if failure.action == "sample":
            return
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row < MAX_IN_A_ROW:
                return
        raise ModelError(
            f"{self.name}: {MAX_IN_A_ROW} samples in a row had no usable answer, the "
            f"last: {failure.reason}; what is recorded is kept, and the same command "
            "goes on from there"
        )


def classify(error: Exception) -> Failure:
    """Say what follows from an exception of a client library.

    Libraries share no class of errors: the status is read from the usual attributes,
    or else from the text.
    """
    if isinstance(error, MalformedAnswerError):
        # as often as it is made again, a batch that is not understood is not answered
        action: Literal["again", "sample"] = (
            "sample" if isinstance(error, WrongCountError) else "again"
        )
        reason = hide_secrets(f"malformed answer: {error}")
        return Failure(action, reason, malformed=True)
    if isinstance(error, UnreadableAnswerError):
        return Failure("sample", hide_secrets(str(error)))
    status = status_code(error)
    reason = _reason(error, status)
    if status is None:
        names = [cls.__name__ for cls in type(error).__mro__]
        passing = any("Timeout" in name or "Connection" in name for name in names)
        return Failure("again" if passing else "sample", reason)
    if status in _STOP:
        return Failure("stop", f"{_STOP[status]} ({reason})")
    if "insufficient_quota" in str(getattr(error, "body", None) or error):
        # a 429 like a rate limit, but no waiting helps
        return Failure("stop", f"the account has no quota left ({reason})")
    if status in _AGAIN or status >= _SERVER_ERROR:
        return Failure("again", reason, _requested_wait(error))
    return Failure("sample", reason)


def status_code(error: Exception) -> int | None:
    """Return the HTTP status behind an exception, None if there is none."""
    response = getattr(error, "response", None)
    candidates = [
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
    ]
    if isinstance(response, dict):  # botocore
        metadata = response.get("ResponseMetadata") or {}
        candidates.append(metadata.get("HTTPStatusCode"))
    named = _STATUS_IN_TEXT.search(str(error))
    candidates.append(int(named[1]) if named else None)
    for candidate in candidates:
        if isinstance(candidate, int) and candidate >= _CLIENT_ERROR:
            return candidate
    return None


def _requested_wait(error: Exception) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            value = str(headers.get(name))  # type: ignore[union-attr]
            wait = _seconds(value) / unit
        except (AttributeError, TypeError, ValueError):
            continue
        if 0 <= wait < float("inf"):
            return wait
    return None


def _seconds(value: str) -> float:
    """Return a number of seconds, or those until a date (RFC 9110, 10.2.3)."""
    try:
        return float(value)
    except ValueError:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())


def _reason(error: Exception, status: int | None) -> str:
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    text = " ".join(str(message or error).split()) or type(error).__name__
    kind = f"HTTP {status}" if status is not None else type(error).__name__
    return hide_secrets(f"{kind}: {text}")[:MAX_REASON]


def hide_secrets(text: str) -> str:
    """Return a text without the values of environment variables that hold keys.

    A service may quote the key that it refuses, and messages are stored.
    """
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name.upper()) and len(value) >= _MIN_SECRET:
            text = text.replace(value, "***")
    return text


def run_with_deadline(request: Callable[[], T], seconds: float) -> T:
    """Return what a call returns; raises TimeoutError if that takes too long.

    The call goes on in its thread, which ends with the process: nothing can stop it.
    """
    outcome: dict[str, Any] = {}

    def call() -> None:
        try:
            outcome["value"] = request()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            outcome["error"] = error

    thread = threading.Thread(target=call, daemon=True, name="safebench-attempt")
    thread.start()
    thread.join(seconds)
    if "error" in outcome:
        raise outcome["error"]
    if "value" not in outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    value: T = outcome["value"]
    return value
