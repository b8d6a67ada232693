"""The queue of model calls: order, places, limits, and work that dies."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from safebench.web import score_queue
from safebench.web.score_page import ScoreForm
from safebench.web.score_queue import MAX_FINISHED, QueueFullError, ScoreQueue, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable


def ticket(work: Callable[[], Any] = lambda: None) -> Ticket[Any, Any]:
    """Return a ticket for work."""
    return Ticket(form=ScoreForm(prompt="x"), classifier="slow", work=work)


@pytest.fixture
def gate() -> threading.Event:
    """Return what holds the first work until it is set."""
    return threading.Event()


def occupied(queue: ScoreQueue[Any, Any], gate: threading.Event) -> Ticket[Any, Any]:
    """Return a ticket whose work has begun and waits at the gate."""
    begun = threading.Event()

    def work() -> Any:
        begun.set()
        return gate.wait(240)

    first = ticket(work)
    queue.submit(first)
    assert begun.wait(240)
    return first


def test_tickets_are_served_in_order_and_know_their_place(
    gate: threading.Event,
) -> None:
    """One runs, three wait behind it: 0, 1, 2, 3 are ahead, and they end in order."""
    queue, order = ScoreQueue[Any, Any](), list[int]()
    first = occupied(queue, gate)
    others = [ticket(lambda n=n: order.append(n)) for n in range(3)]
    for other in others:
        queue.submit(other)

    ahead = [queue.ahead_of(each) for each in (first, *others)]
    gate.set()
    assert all(other.finished.wait(240) for other in others)

    assert [0, 1, 2, 3] == ahead
    assert [0, 1, 2] == order
    assert [0, 0, 0, 0] == [queue.ahead_of(each) for each in (first, *others)]


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(0), KeyboardInterrupt(), RecursionError()]
)
def test_work_that_dies_is_told_and_does_not_stop_the_queue(
    error: BaseException,
) -> None:
    """Whatever ends it is its error, and the next in line is served."""

    def die() -> Any:
        raise error

    queue, dead, alive = ScoreQueue[Any, Any](), ticket(die), ticket(lambda: "answer")
    queue.submit(dead)
    queue.submit(alive)

    assert dead.finished.wait(240)
    assert alive.finished.wait(240)
    assert (error, None) == (dead.error, dead.result)
    assert (None, "answer") == (alive.error, alive.result)


def test_a_full_queue_says_so(gate: threading.Event) -> None:
    """Two may wait here: the third is refused, and its ticket is not kept."""
    queue = ScoreQueue[Any, Any](max_waiting=2)
    occupied(queue, gate)
    queue.submit(ticket())
    queue.submit(ticket())
    refused = ticket()

    with pytest.raises(QueueFullError, match="2 conversations wait"):
        queue.submit(refused)

    assert queue.visit(refused.id) is None
    gate.set()


@pytest.mark.slow
def test_who_does_not_look_again_is_left_out(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiting ticket that nobody visits goes, one that is visited stays."""
    now = [time.monotonic()]
    monkeypatch.setattr(score_queue.time, "monotonic", lambda: now[0])
    queue = ScoreQueue[Any, Any](abandoned_after=300.0)
    occupied(queue, gate)
    left, kept = ticket(), ticket()
    queue.submit(left)
    queue.submit(kept)
    for _ in range(5):
        now[0] += 100.0
        queue.visit(kept.id)
    gate.set()

    assert kept.finished.wait(240)
    assert not left.finished.is_set()
    assert queue.visit(left.id) is None
    assert queue.visit(kept.id) is kept


def test_old_results_make_room() -> None:
    """A hundred are kept; the first of a few more are not."""
    queue = ScoreQueue[Any, Any]()
    tickets = [ticket() for _ in range(MAX_FINISHED + 3)]
    for each in tickets:
        queue.submit(each)
        assert each.finished.wait(240)

    kept = [queue.visit(each.id) is not None for each in tickets]

    assert [False] * 3 + [True] * MAX_FINISHED == kept
