"""Connections with a time limit, so that none of them holds up another.

The HTTP server reads all connections in one thread and waits for slow ones for ever, as
long as a byte comes now and then; and it takes no new ones beyond a fixed number.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

# For a whole request, from its first byte: the largest form at 1 Mbit/s takes that.
REQUEST_SECONDS = 40.0
IDLE_SECONDS = 60.0  # without a byte, in or out
MAX_CONNECTIONS = 400


class RequestTimeout(Error):  # noqa: N818 - the name that the HTTP standard gives it
    """The answer to a request that does not come to its end."""

    code = 408
    reason = "Request Timeout"


class AnsweringParser(HTTPRequestParser):
    """A parser that refuses whatever its parts cannot read.

    The library leaves it to `urllib` to split an address, and lets its errors out: the
    connection would be closed without an answer.
    """

    def parse_header(self, header_plus: bytes) -> None:
        """Read the head of a request; raises `ParsingError` for what is none."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            raise ParsingError(f"the request cannot be read: {error}") from error


class TimedChannel(HTTPChannel):
    """A connection that is answered and closed when its request takes too long.

    When there are too many, the one that has been silent for the longest time makes
    room for a new one: a browser that has a page to ask for gets its answer, however
    many connections somebody else keeps open.
    """

    parser_class = AnsweringParser
    requests: list[HTTPRequestParser]
    requests_lock: threading.Lock
    request_seconds = REQUEST_SECONDS
    idle_seconds = IDLE_SECONDS

    def __init__(self, server: Any, *args: Any, **kwargs: Any) -> None:
        self._request_started: float | None = None
        super().__init__(server, *args, **kwargs)
        channels = list(server.active_channels.values())
        _make_room(channels, self, most=max_connections())

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered, or an answer is on its way."""
        return bool(self.requests) or self.total_outbufs_len > 0

    def received(self, data: bytes) -> bool:
        """Take bytes in, and note when a request began."""
        accepted = super().received(data)
        if self.request is None:
            self._request_started = None
        elif self._request_started is None:
            self._request_started = time.monotonic()
        return accepted

    def readable(self) -> bool:
        """Return whether to read; the server asks at least once a second."""
        if not (self.is_busy or self.will_close or self.close_when_flushed):
            started = self._request_started
            limit = time.monotonic() - self.request_seconds
            if started is not None and started < limit:
                self._refuse_request()
        if not self.requests and time.time() - self.last_activity > self.idle_seconds:
            self.will_close = True
        return super().readable()

    def _refuse_request(self) -> None:
        """Answer a request as it is, as the parser does with one that is malformed."""
        with self.requests_lock:
            request = self.request or AnsweringParser(self.adj)
            request.error = RequestTimeout(
                f"the request was not complete after {self.request_seconds:g} seconds"
            )
            request.completed = True
            self.request = None
            self.requests.append(request)
            self._request_started = None
            self.server.add_task(self)  # type: ignore[arg-type] # the stubs are wrong


def max_connections() -> int:
    """Return how many connections to keep: half of what the system allows at most."""
    try:
        import resource
    except ImportError:  # not on every system
        return MAX_CONNECTIONS
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, allowed // 2))


def _make_room(
    channels: Sequence[HTTPChannel], newest: HTTPChannel, *, most: int
) -> None:
    """Close the most silent connections beyond `most`, but no busy one."""
    idle = [
        channel
        for channel in channels
        if isinstance(channel, TimedChannel)
        and channel is not newest
        and not (channel.is_busy or channel.will_close)
    ]
    idle.sort(key=lambda channel: channel.last_activity)
    for channel in idle[: max(0, len(channels) - most)]:
        channel.will_close = True  # by the loop that calls us, when it is done here
