"""What code of a plugin may do wrong, by name."""

import os
import subprocess
import sys
import threading
import time
import warnings


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
}
