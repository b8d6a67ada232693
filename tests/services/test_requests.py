"""Requests to a service: what is waited for, and what is never written."""

from __future__ import annotations

import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from safebench.services.requests import classify


class RateLimitError(Exception):
    """A client's error with the headers of the answer."""

    def __init__(self, **headers: str) -> None:
        super().__init__("slow down")
        self.status_code = 429
        self.response = SimpleNamespace(
            headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after_ms": "250", "retry_after": "7"}, 0.25),
        ({"retry_after": formatdate(0, usegmt=True)}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "inf"}, None),
        ({}, None),
    ],
    ids=["seconds", "milliseconds", "past", "word", "forever", "none"],
)
def test_the_wait_that_a_service_asks_for_is_kept(
    headers: dict[str, str], seconds: float | None
) -> None:
    """Seconds, milliseconds or a date; nothing that is no time."""
    failure = classify(RateLimitError(**headers))

    assert "again" == failure.action
    assert seconds == failure.wait


def test_a_date_is_waited_for() -> None:
    """A service may say when, and not how long."""
    date = formatdate(time.time() + 20, usegmt=True)

    wait = classify(RateLimitError(retry_after=date)).wait

    assert wait == pytest.approx(20, abs=10)
