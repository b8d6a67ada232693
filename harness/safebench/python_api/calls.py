"""What all calls share: the installed plugins, their turn, and how they fail."""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from safebench.errors import SafebenchError
from safebench.os_errors import os_errors_as_messages
from safebench.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.plugins import Plugins

# Libraries of models change what holds for the whole process while they load one (the
# default dtype, how modules are made), so that two threads could change each other's
# numbers. Reentrant, since a plugin that runs may itself judge a text.
_turn = threading.RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let the calls of threads that work with models take turns."""
    with _turn:
        yield


@contextmanager
def errors_for_callers() -> Iterator[None]:
    """Raise SafebenchErrors alone for what a user can mend, without secrets in them.

    As commands do, which print the message: what the operating system refuses is one.
    """
    try:
        with os_errors_as_messages():
            yield
    except SafebenchError as error:
        message = redact_text(error.message)
        vars(error)["message"] = message  # final for click, which never prints it here
        error.args = (message,)
        raise


@lru_cache(maxsize=1)
def installed_plugins() -> Plugins:
    """Return the plugins of this environment, looked up once in a process.

    Warns of those that are broken, as every command does.
    """
    from safebench.plugins import Plugins

    plugins = Plugins()
    for plugin in plugins.broken:
        warnings.warn(f"{plugin.described} is disabled: {plugin.error}", stacklevel=4)
    return plugins
