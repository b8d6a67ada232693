"""The main program of a worker process of the executor `processes`.

It reads requests from what was its standard input and answers on what was its standard
output. It ends with the run, however that ends: at the end of its input.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from typing import IO, Any

from .base import ClassifierJob, Shard
from .events import Counted, Failed, Ready, Recorded, Restored
from .frames import read_frame, unpack, write_frame
from .worker import ClassifierWorker

# before code of plugins runs, which may not end the process (`safebench.isolation`)
_end_process = os._exit


def main(worker: int) -> None:
    """Serve one run: a ClassifierJob first, then shards and states."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run has it, too, and ends us
    requests, replies = _take_channel()
    incoming: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(
        target=_read_requests, args=[requests, incoming], daemon=True
    ).start()
    server = _Server(worker, replies)
    while True:
        server.answer(incoming.get())


def _take_channel() -> tuple[IO[bytes], IO[bytes]]:
    """Return what standard input and output were; what is printed goes to error."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _read_requests(requests: IO[bytes], incoming: queue.SimpleQueue[bytes]) -> None:
    """Hand on what comes; end the process where nothing more will come.

    In a thread: a run that was killed must not leave workers busy behind it.
    """
    try:
        while True:
            incoming.put(read_frame(requests))
    except (EOFError, OSError):
        _end_process(0)


class _Server:
    """A worker process: its classifier, and how requests are answered."""

    def __init__(self, worker: int, replies: IO[bytes]) -> None:
        self.worker = worker
        self.replies = replies
        self.classifier: ClassifierWorker | None = None

    def answer(self, request: bytes) -> None:
        """Do what is asked, and report how it ended."""
        try:
            message = unpack(request)
            if isinstance(message, ClassifierJob):
                self.classifier = ClassifierWorker(message)
                self._send(Ready.of(self.worker, self.classifier))
            elif isinstance(message, Shard):
                assert self.classifier is not None, "a job comes first"
                shard = self.classifier.record(message, self._count)
                self._send(Recorded(self.worker, shard))
            else:
                self._restore(message)
        except BaseException as error:  # noqa: BLE001 - reported to the run
            self._send(Failed.of(self.worker, error))

    def _restore(self, state: Any) -> None:
        assert self.classifier is not None, "a job comes first"
        try:
            self.classifier.restore(state)
        except Exception as error:  # noqa: BLE001 - reported to the run
            self._send(Restored.of(self.worker, error))
        else:
            self._send(Restored(self.worker))

    def _count(self, n: int) -> None:
        self._send(Counted(self.worker, n))

    def _send(self, message: Any) -> None:
        try:
            write_frame(self.replies, message)
        except OSError:  # the run is gone
            _end_process(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
