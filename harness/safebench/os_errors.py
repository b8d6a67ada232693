"""What the surroundings refuse, in one line: what, where, and what would work.

Disks are full, folders read-only, names too long: no mistake of a configuration and
none of ours, so any step may meet one. The command line turns them into messages here.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from io import IOBase
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from .console import STANDARD_OUTPUT
from .errors import SafebenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NO_CURRENT_FOLDER = "the current folder does not exist any more: cd to another one"
_SPACE = "free some space, and repeat the command"
_ACCESS = "name a file or folder that you may use"
REMEDIES = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: "name a folder that can be written to",
    errno.ENAMETOOLONG: "choose a shorter name; a file's may have 255 bytes",
    errno.ENOTDIR: "a file lies where a folder is needed; name another one",
    errno.EISDIR: "a folder lies where a file is needed; name another one",
    errno.ELOOP: "a symbolic link leads back to itself; remove it",
    errno.EBADF: "it is closed; send it to a file, or to /dev/null",
    errno.EMFILE: "raise the limit on open files: ulimit -n 4096",
    errno.EFBIG: "the disk or ulimit -f allows no larger file",
    errno.EADDRINUSE: "choose another port, or stop what uses this one",
}
_MAX_PATH = 4096
_MAX_SHOWN = 60  # characters of a name that is too long or no text


class SystemRefusalError(SafebenchError):
    """The operating system refuses a file, a folder or a stream."""


@contextmanager
def os_errors_as_messages() -> Iterator[None]:
    """Turn what the surroundings refuse into a `SystemRefusalError`."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        message = refusal_message(error)
        if message is None:
            raise
        raise SystemRefusalError(message) from error


def refusal_message(error: BaseException) -> str | None:
    """Return what and where the surroundings refuse, None for any other error.

    An OSError is one; so are those that Python raises before it asks the system: NUL
    or half a character in a name, and no home folder behind ``~``.
    """
    if isinstance(error, OSError):
        return _os_error_message(error)
    if not isinstance(error, (ValueError, RuntimeError)):
        return None  # its text is not needed, and may be anything
    text = str(error)
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        word = _word_around(error.object, error.start)
        return f"{word!a} is not valid Unicode (UTF-8): rename it"
    if isinstance(error, ValueError) and "embedded null" in text:
        name = _path_in_traceback(error, lambda path: "\0" in path) or "a name"
        return f"{name} holds the character NUL, which no file can have: rename it"
    if isinstance(error, RuntimeError) and "home directory" in text:
        name = _path_in_traceback(error, lambda path: path.startswith("~")) or "~"
        return (
            f"{name}: there is no such home folder; set HOME, or write the path in full"
        )
    return None


def _word_around(text: str, position: int) -> str:
    """Return what stands between quotes or line ends around a character."""
    start = max(text.rfind(mark, 0, position) for mark in "\"'\n") + 1
    ends = [end for mark in "\"'\n" if (end := text.find(mark, position)) >= 0]
    return shorten_name(text[start : min(ends, default=len(text))].strip())


def _path_in_traceback(error: BaseException, fits: Callable[[str], bool]) -> str:
    """Return the path that Python refused, which the error itself does not name."""
    for frame, _ in reversed(list(walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            path = getattr(value, "name", "") if isinstance(value, IOBase) else value
            if isinstance(path, (str, Path)) and fits(str(path)):
                return shorten_name(str(path))
    return ""


def _os_error_message(error: OSError) -> str:
    name: Any = error.filename if error.filename is not None else _unnamed(error)
    where = shorten_name(str(name))
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    if error.errno in (errno.ENOENT, errno.ESTALE) and not current_folder_exists():
        return NO_CURRENT_FOLDER
    if error.errno == errno.EEXIST and Path(str(name)).is_symlink():
        reason = "the symbolic link leads nowhere"
        advice = "remove the link, or make the folder that it names"
    elif error.errno == errno.EEXIST:
        advice = "a file lies where a folder is needed; name another one"
    else:
        advice = REMEDIES.get(error.errno or 0, "")
    return ": ".join(filter(None, (where, reason, advice)))


def _unnamed(error: OSError) -> str:
    """Return what was written to: an OSError of an open file does not name it.

    Libraries write whole models and figures, and click the help, so the file is looked
    for in the calls that led to the error.
    """
    if any(f.f_code.co_name == "echo" for f, _ in walk_tb(error.__traceback__)):
        return STANDARD_OUTPUT
    return _path_in_traceback(error, lambda path: "/" in path and _is_file(path))


def _is_file(path: str) -> bool:
    try:
        return (
            len(path) < _MAX_PATH and not path.endswith(".py") and Path(path).is_file()
        )
    except (OSError, ValueError):
        return False


def current_folder_exists() -> bool:
    """Tell whether the folder that this process was started in is still there."""
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def shorten_name(name: str) -> str:
    """Return a path for messages, the middle of one that is too long left out."""
    half = _MAX_SHOWN // 2
    return name if len(name) <= 4 * _MAX_SHOWN else f"{name[:half]}...{name[-half:]}"
