"""Which classifiers can be asked without being told anything, and which comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.errors import OptionError, SafebenchError
from safebench.run.config import RunConfig
from safebench.run.grid import build_grid
from safebench.run.terms import Term

if TYPE_CHECKING:
    from safebench.plugins import Plugins

# By name: what a stranger's plugin brings may send texts elsewhere.
PREFERRED = ("llamaguard", "keyword")


def why_not(plugins: Plugins, name: str) -> str:
    """Return why a classifier cannot run without options; empty if it can."""
    try:
        build_grid(RunConfig(classifiers=(Term(name, name),)), plugins)
    except SafebenchError as error:
        return error.message.partition("\n")[0]
    except Exception as error:  # noqa: BLE001 - one broken plugin hides no other
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return ""


def default_classifier(plugins: Plugins) -> str:
    """Return the classifier for those who name none; raises `OptionError` if none is.

    The embedded guard, where its plugin is installed, and else the keyword list.
    """
    for name in PREFERRED:
        if not why_not(plugins, name):
            return name
    raise OptionError("which classifier? say --classifier NAME")
