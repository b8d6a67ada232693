"""A queue for model calls: they run one at a time, in a thread that serves no page.

A model may need minutes, and a thread that waits for it serves nothing else. So a
request hands its work over and is told where in the queue it stands.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from safebench.errors import SafebenchError

if TYPE_CHECKING:
    from collections.abc import Callable

FormT = TypeVar("FormT")
ViewT = TypeVar("ViewT")
MAX_WAITING = 100
MAX_FINISHED = 100  # results are kept for their pages, the oldest go first
# A waiting page asks again every second or two, in the background every minute. Who has
# closed it shall not keep others waiting.
ABANDONED_AFTER = 180.0


class QueueFullError(SafebenchError):
    """More conversations wait than anybody would wait for."""


@dataclass(slots=True, eq=False, kw_only=True)
class Ticket(Generic[FormT, ViewT]):
    """A conversation in the queue; times in seconds of the monotonic clock.

    `form` is what was sent, for its page. `id` is all that one needs to see the result,
    and cannot be guessed. `result` or `error` is there once `finished` is set.
    """

    form: FormT
    classifier: str
    work: Callable[[], ViewT]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    last_visit: float = field(default_factory=time.monotonic)
    started: float | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    result: ViewT | None = None
    error: BaseException | None = None

    @property
    def running_for(self) -> float:
        """Seconds since its work began; 0 while it waits."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    def run(self) -> None:
        """Do the work; whatever it raises is its error."""
        self.started = time.monotonic()
        try:
            self.result = self.work()
        except BaseException as error:  # noqa: BLE001 - a plugin may call sys.exit
            self.error = error
        finally:
            self.finished.set()


class ScoreQueue(Generic[FormT, ViewT]):
    """Judges conversations in the order in which they came; threads may share it."""

    def __init__(
        self, max_waiting: int = MAX_WAITING, abandoned_after: float = ABANDONED_AFTER
    ) -> None:
        self.max_waiting = max_waiting
        self.abandoned_after = abandoned_after
        self._tickets: dict[str, Ticket[FormT, ViewT]] = {}
        self._waiting: list[Ticket[FormT, ViewT]] = []
        self._running: Ticket[FormT, ViewT] | None = None
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None

    def submit(self, ticket: Ticket[FormT, ViewT]) -> None:
        """Add a ticket at the end; raises `QueueFullError`."""
        with self._changed:
            self._drop_abandoned()
            if len(self._waiting) >= self.max_waiting:
                raise QueueFullError(
                    f"{len(self._waiting)} conversations wait for the model already: "
                    "try again later"
                )
            self._drop_old_results()
            self._tickets[ticket.id] = ticket
            self._waiting.append(ticket)
            if self._worker is None:
                # a daemon: a model that never answers must not keep the process alive
                self._worker = threading.Thread(
                    target=self._work, name="scoring", daemon=True
                )
                self._worker.start()
            self._changed.notify()

    def visit(self, ticket_id: str) -> Ticket[FormT, ViewT] | None:
        """Return the ticket that somebody asks for; None if it is not kept."""
        with self._changed:
            ticket = self._tickets.get(ticket_id)
            if ticket is not None:
                ticket.last_visit = time.monotonic()
            return ticket

    def ahead_of(self, ticket: Ticket[FormT, ViewT]) -> int:
        """Return how many come before a ticket, the running one included."""
        with self._changed:
            if ticket not in self._waiting:
                return 0
            return self._waiting.index(ticket) + (self._running is not None)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._running = None
                self._drop_abandoned()
                while not self._waiting:
                    self._changed.wait()
                ticket = self._running = self._waiting.pop(0)
            ticket.run()

    def _drop_abandoned(self) -> None:
        oldest = time.monotonic() - self.abandoned_after
        for ticket in [t for t in self._waiting if t.last_visit < oldest]:
            self._waiting.remove(ticket)
            del self._tickets[ticket.id]

    def _drop_old_results(self) -> None:
        finished = [t.id for t in self._tickets.values() if t.finished.is_set()]
        for ticket_id in finished[: max(0, len(finished) + 1 - MAX_FINISHED)]:
            del self._tickets[ticket_id]
