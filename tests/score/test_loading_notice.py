"""A person at a terminal is told what takes long; a pipe is told nothing."""

from __future__ import annotations

import io
import sys
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from safebench.cli.execution import loading_notice
from safebench.cli.run import execute
from safebench.errors import OptionError
from safebench.pipeline.config import RunConfig
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable


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
        if text:  # click writes nothing first, to see whether the stream takes text
            self.written.set()
        return length


def test_a_slow_load_is_announced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time given, in one line."""
    terminal = Terminal(person=True)
    monkeypatch.setattr(sys, "stderr", terminal)

    with loading_notice("loading it ...", seconds=0.01):
        assert terminal.written.wait(240)

    assert "loading it ...\n" == terminal.getvalue()


@pytest.mark.slow
def test_a_run_that_starts_slowly_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal, before its first line; from then on its lines say enough."""
    terminal = Terminal(person=True)
    monkeypatch.setattr(sys, "stderr", terminal)

    class SlowRunner:
        def __init__(
            self, _: Any, __: Any, log: Callable[[str], None], **___: Any
        ) -> None:
            assert terminal.written.wait(240)  # for the notice
            log("first line")
            raise OptionError("that is enough")

    monkeypatch.setattr("safebench.pipeline.runner.Runner", SlowRunner)

    with pytest.raises(OptionError):
        execute(Plugins([]), RunConfig())

    assert "loading libraries ...\nfirst line\n" == terminal.getvalue()


@pytest.mark.parametrize(("person", "seconds"), [(True, 60.0), (False, 0.0)])
def test_a_quick_load_and_a_pipe_get_no_notice(
    monkeypatch: pytest.MonkeyPatch, person: bool, seconds: float
) -> None:
    """Nothing is written when it is over in time, or to a pipe."""
    terminal = Terminal(person)
    monkeypatch.setattr(sys, "stderr", terminal)

    with loading_notice("loading it ...", seconds):
        assert not terminal.written.wait(0.05)

    assert "" == terminal.getvalue()
