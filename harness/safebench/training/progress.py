"""A bar for training loops: callbacks start it, move it, and end it.

On a terminal it is drawn with the time left; in a log a plain line appears now and
then; in the other processes of a launched group nothing does.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import click

from .process import is_main_process

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 30.0


class Bar:
    """Progress of `total` steps. ``with Bar(...) as bar`` or `start` and `end`."""

    def __init__(self, title: str, total: int, unit: str = "steps") -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self.skipped = 0
        self.said = ""
        self.started = self.shown = time.monotonic()
        self.drawn: Progress | None = None

    def start(self, done: int = 0) -> Self:
        """Begin, `done` steps after a resumption: they do not count for the rate."""
        self.done = self.skipped = done
        self.started = self.shown = time.monotonic()
        if is_main_process() and sys.stderr.isatty():
            self.drawn = _drawn()
            self.drawn.start()
            self.drawn.add_task(self.title, total=self.total, completed=done, said="")
        return self

    def move(self, steps: int = 1) -> None:
        """Count steps that are done."""
        self.move_to(self.done + steps)

    def move_to(self, done: int) -> None:
        """Say how many of all steps are done."""
        self.done = done
        if self.drawn:
            self.drawn.update(self.drawn.task_ids[0], completed=done)
            return
        now = time.monotonic()
        if now - self.shown >= SECONDS_BETWEEN_LINES and done < self.total:
            self.shown = now
            going = done > self.skipped
            self._line(f"about {clock(self.left(now))} left" if going else "starting")

    def say(self, text: str) -> None:
        """Show a short text behind the bar: the loss, an epoch's F1."""
        self.said = text
        if self.drawn:
            self.drawn.update(self.drawn.task_ids[0], said=text)

    def end(self) -> None:
        """Take the bar away; in a log, say how long it took."""
        if self.drawn:
            self.drawn.stop()
            self.drawn = None
            return
        self._line(f"in {clock(time.monotonic() - self.started)}")

    def left(self, now: float) -> float:
        """Return the seconds that the rest will take at the rate since the start."""
        done = self.done - self.skipped
        return (now - self.started) / done * max(self.total - self.done, 0)

    def _line(self, rest: str) -> None:
        if is_main_process():
            said = f", {self.said}" if self.said else ""
            counted = f"{self.done}/{self.total} {self.unit}"
            click.echo(f"{self.title}: {counted}{said}, {rest}", err=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self.end()


def _drawn() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    plain = TextColumn("{task.description}", markup=False)
    said = TextColumn("{task.fields[said]}", markup=False)
    columns = (plain, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), said)
    return Progress(*columns, console=Console(stderr=True))


def clock(seconds: float) -> str:
    """Return a duration as people say it: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
