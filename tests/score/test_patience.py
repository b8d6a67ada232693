"""A person at a terminal is told what takes long; a pipe is told nothing."""

from __future__ import annotations

import io
import sys
from threading import Event

import pytest

from safebench.cli.score import patience


class Terminal(io.StringIO):
    """A stream that a person looks at, and that tells when something is written."""

    def __init__(self, person: bool) -> None:
        super().__init__()
        self.person = person
        self.written = Event()

    def isatty(self) -> bool:
        """Tell whether a person looks at it."""
        return self.person

    def write(self, text: str) -> int:
        """Note that something was written."""
        length = super().write(text)
        self.written.set()
        return length


def test_what_takes_long_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time given, in one line."""
    terminal = Terminal(person=True)
    monkeypatch.setattr(sys, "stderr", terminal)

    with patience("loading it ...", seconds=0.01):
        assert terminal.written.wait(30)

    assert "loading it ...\n" == terminal.getvalue()


@pytest.mark.parametrize(("person", "seconds"), [(True, 60.0), (False, 0.0)])
def test_what_is_quick_or_unseen_is_not_said(
    monkeypatch: pytest.MonkeyPatch, person: bool, seconds: float
) -> None:
    """Nothing is written when it is over in time, or to a pipe."""
    terminal = Terminal(person)
    monkeypatch.setattr(sys, "stderr", terminal)

    with patience("loading it ...", seconds):
        assert not terminal.written.wait(0.05)

    assert "" == terminal.getvalue()
