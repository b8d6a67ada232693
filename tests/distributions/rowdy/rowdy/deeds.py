"""What code of a plugin may do wrong, by name."""

import atexit
import io
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

MAX_COPIES = 12


class Odd(BaseException):
    """Neither an Exception nor SystemExit."""


class UnreadableError(Exception):
    """Cannot even be shown."""

    def __str__(self):
        """Fail."""
        raise RuntimeError("no words")


def deed(how, place=""):
    """Do what ROWDY_PLACE or an option asks for; return None for a silent deed."""
    how = how or os.environ.get(f"ROWDY_{place.upper()}", "")
    if how:
        _DEEDS.get(how, lambda: None)()
    return how


def _raise():
    raise RuntimeError("boom\x1b[31m\nsecond line")


def _exit():
    sys.exit(0)


def _odd():
    raise Odd("odd one")


def _unreadable():
    raise UnreadableError


def _deep():
    _deep()


def _stop():
    raise StopIteration


def _system():
    raise FileNotFoundError(2, "No such file or directory", "/nowhere/model.bin")


def _interrupt():
    raise KeyboardInterrupt


def _swallow():
    try:
        _interrupt()
    except KeyboardInterrupt as error:
        raise RuntimeError("stopped by somebody") from error


def _print():
    sys.stdout.write("from python\n")
    sys.stdout.buffer.write(b"from bytes\n")
    sys.__stdout__.write("from the old stdout\n")
    os.write(1, b"from the descriptor\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    thread = threading.Thread(target=sys.stdout.write, args=("from a thread\n",))
    thread.start()
    thread.join()
    sys.stdout.close()


def _spoil():
    import numpy as np

    warnings.simplefilter("error")
    np.seterr(all="raise")
    os.chdir("/")


def _sleep():
    time.sleep(1.5)


STEERING = "\x1b]0;owned\x07 \x9b2J \u202e \x1b[1A|"


def _steer():
    sys.stdout.write(f"print {STEERING}")
    sys.stderr.write(f"error {STEERING}")
    sys.stdout.buffer.write(f"bytes {STEERING}".encode())
    warnings.warn(f"warning {STEERING}", stacklevel=1)
    logging.getLogger("rowdy").error("logged %s", STEERING)
    os.write(1, f"descriptor {STEERING}".encode())
    child = f"print({('child ' + STEERING)!a})"
    subprocess.run([sys.executable, "-X", "utf8", "-c", child], check=True)


def _at_exit():
    atexit.register(lambda: sys.stdout.write("from the end\n"))
    atexit.register(os.write, 1, b"from the last descriptor\n")


def _leave():
    os._exit(0)


def _fork():
    os.fork()


def _fork_noted():
    noted = Path("copies")
    # few: copies that went on, each copying itself, would take the whole machine
    if noted.exists() and len(noted.read_text().split()) > MAX_COPIES:
        return
    parent = os.getpid()
    if os.fork():
        os.wait()
        return
    with noted.open("a", encoding="utf-8") as file:
        file.write(f"{parent}\n")


def _close():
    sys.stdout.close()
    sys.stderr.close()
    os.close(1)
    os.close(2)


def _no_streams():
    sys.stdout = sys.stderr = None


def _closed_streams():
    sys.stdout = sys.stderr = io.StringIO()
    sys.stdout.close()


def _shallow():
    sys.setrecursionlimit(220)


_DEEDS = {
    "raise": _raise,
    "exit": _exit,
    "odd": _odd,
    "unreadable": _unreadable,
    "deep": _deep,
    "stop": _stop,
    "system": _system,
    "interrupt": _interrupt,
    "swallow": _swallow,
    "print": _print,
    "spoil": _spoil,
    "sleep": _sleep,
    "steer": _steer,
    "at_exit": _at_exit,
    "leave": _leave,
    "fork": _fork,
    "fork_noted": _fork_noted,
    "close": _close,
    "no_streams": _no_streams,
    "closed_streams": _closed_streams,
    "shallow": _shallow,
}
