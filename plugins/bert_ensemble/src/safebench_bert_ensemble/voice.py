"""What worker processes do and say, shown by the process that started them.

Workers that wrote to the terminal themselves would write into its progress bar.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import SimpleQueue

    from safebench.training.progress import Bar

    Message = tuple[int, int, int, str]  # worker, steps done, steps skipped, a line


class Voice:
    """The bar and the voice of one worker: both go to its parent."""

    def __init__(self, number: int, queue: SimpleQueue[Any]) -> None:
        self.number, self.queue = number, queue
        self.done = self.skipped = 0

    def move(self, steps: int = 1) -> None:
        """Count steps that are done."""
        self.done += steps
        self.say("")

    def say(self, line: str) -> None:
        """Hand a line over."""
        self.queue.put((self.number, self.done, self.skipped, line))


class Listener:
    """Counts the steps of all workers, and says each of their lines once."""

    def __init__(
        self, queue: SimpleQueue[Any], bar: Bar, say: Callable[[str], None]
    ) -> None:
        self.queue, self.bar, self.say = queue, bar, say
        self.counts: dict[int, tuple[int, int]] = {}
        self.said = {""}
        self.began = False

    def listen(self) -> None:
        """Take in what has been said since the last time."""
        while not self.queue.empty():
            number, done, skipped, line = self.queue.get()
            self.counts[number] = (done, skipped)
            if line not in self.said:
                self.said.add(line)
                self.say(line)
        done = sum(done for done, _ in self.counts.values())
        skipped = sum(skipped for _, skipped in self.counts.values())
        if not self.began and done > skipped:
            self.began = True
            self.bar.started = time.monotonic()  # imports tell nothing about the rate
        if done > self.bar.done:  # without a step there is no time left to tell
            self.bar.skipped = skipped
            self.bar.move_to(done)
