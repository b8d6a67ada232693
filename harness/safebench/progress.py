"""Progress of long work: a bar on a terminal, a plain line now and then in a log.

It goes to standard error, so that output in a pipe stays clean, and only the main
process of a launched group shows it.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from .console import echo, is_main_process
from .forwarding import old_names
from .plugin_output import filter_prints_again, unfiltered
from .sanitize import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 30.0  # in a log: a training of hours takes no thousands of them
RECORDING_SECONDS_BETWEEN_LINES = 10.0


class ProgressBar:
    """Progress of `total` steps: a context manager, or `start` and `end`.

    `show_rate` shows steps per second. `seconds_between_lines` is for logs.
    """

    def __init__(
        self,
        title: str,
        total: int,
        unit: str = "steps",
        *,
        show_rate: bool = False,
        seconds_between_lines: float | None = None,
    ) -> None:
        # rich draws what it is given, and a title holds names
        self.title, self.total, self.unit = printable(title), total, unit
        self.show_rate = show_rate
        self.seconds_between_lines = seconds_between_lines
        self.done = self.skipped = 0
        self.status = ""
        self.started = self.last_shown = time.monotonic()
        self.display: Progress | None = None

    def start(self, done: int = 0) -> Self:
        """Begin, `done` steps after a resumption: they do not count for the rate."""
        self.done = self.skipped = done
        self.started = self.last_shown = time.monotonic()
        if is_main_process() and sys.stderr.isatty():
            self.display = _rich_progress()
            self.display.start()
            filter_prints_again()
            self.display.add_task(
                self.title, total=self.total, completed=done, status=""
            )
        return self

    def move(self, steps: int = 1) -> None:
        """Count steps that are done."""
        self.move_to(self.done + steps)

    def move_to(self, done: int) -> None:
        """Say how many of all steps are done."""
        self.done = done
        now = time.monotonic()
        if self.show_rate:
            self.status = f"{self.rate(now):.1f}/s"
        if self.display:
            task = self.display.task_ids[0]
            self.display.update(task, completed=done, status=self.status)
            return
        pause = self.seconds_between_lines
        pause = SECONDS_BETWEEN_LINES if pause is None else pause
        if now - self.last_shown >= pause and done < self.total:
            self.last_shown = now
            started = done > self.skipped  # before that no rate is known
            left = f"about {format_duration(self.seconds_left(now))} left"
            self._print_line(left if started else "starting")

    def say(self, status: str) -> None:
        """Show a short text behind the bar: the loss, an epoch's F1."""
        self.status = printable(status)
        if self.display:
            self.display.update(self.display.task_ids[0], status=self.status)

    def end(self) -> None:
        """Take the bar away; in a log, say how long it took."""
        now = time.monotonic()
        if self.display:
            self._stop_display()
        elif self.show_rate:
            self.status = f"{self.rate(now):.1f}/s"
            self._print_line(f"{now - self.started:.1f} s")
        else:
            self._print_line(f"in {format_duration(now - self.started)}")

    def rate(self, now: float) -> float:
        """Return steps per second since the start, of one step at least."""
        return max(self.done - self.skipped, 1) / max(now - self.started, 1e-9)

    def seconds_left(self, now: float) -> float:
        """Return the seconds that the rest will take at the rate since the start."""
        return max(self.total - self.done, 0) / self.rate(now)

    def _stop_display(self) -> None:
        if self.display:
            self.display.stop()
            self.display = None

    def _print_line(self, rest: str) -> None:
        if is_main_process():
            counted = " ".join(filter(None, (f"{self.done}/{self.total}", self.unit)))
            parts = ", ".join(filter(None, (counted, self.status, rest)))
            echo(f"{self.title}: {parts}", err=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # work that was broken off has no time to report
            self._stop_display()
            return
        with suppress(BrokenPipeError):
            self.end()


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that counts samples as done, for `Classifier.record`."""
    bar = ProgressBar(
        title,
        total,
        unit="",
        show_rate=True,
        seconds_between_lines=RECORDING_SECONDS_BETWEEN_LINES,
    )
    with bar:
        yield bar.move


def _rich_progress() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    # markup off: titles hold names of models, with brackets in them
    title = TextColumn("{task.description}", markup=False)
    status = TextColumn("{task.fields[status]}", markup=False)
    columns = (title, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), status)
    # what is drawn here moves the cursor; a plugin that trains may not
    return Progress(*columns, console=Console(file=unfiltered(sys.stderr)))


def format_duration(seconds: float) -> str:
    """Return a duration with two units at most: 42 s, 3 min 20 s, 2 h 5 min."""
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole_seconds} s" if minutes else f"{whole_seconds} s"


__getattr__ = old_names(__name__)
