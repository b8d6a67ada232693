"""Everything safebench raises on purpose.

* SafebenchError                 shown to the user as one message, never a traceback
  + UnknownNameError             nothing of that name; the nearest one is suggested
  + AmbiguousComponentError      two plugins provide it
  + IncompatibleError            a component needs what its neighbour lacks
  + OptionError                  a value or key that a component does not take
  + DataError                    a dataset that cannot be read as it is
  + ModelError                   a model that cannot be found or loaded
  + RunFolderError               a run folder that belongs to another run
  + ComponentError               code of a component that cannot be imported
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable


class SafebenchError(click.ClickException):
    """A mistake that the user can mend; the command line exits with 2."""

    exit_code = 2


class UnknownNameError(SafebenchError):
    """Nothing of that name exists."""


class AmbiguousComponentError(SafebenchError):
    """Two plugins provide a component of the same name."""


class IncompatibleError(SafebenchError):
    """A strategy needs evidence that a classifier does not record."""


class OptionError(SafebenchError):
    """A component was given an option or a value that it does not take."""


class DataError(SafebenchError):
    """A dataset cannot be read, or holds rows that cannot be understood."""


class ModelError(SafebenchError):
    """A model cannot be found or loaded."""


class RunFolderError(SafebenchError):
    """A run folder holds something else than the run that was asked for."""


class ComponentError(SafebenchError):
    """The code behind a component cannot be imported."""


class PluginError(SafebenchError):
    """The code behind a component failed, or returned what it must not.

    No mistake of the user's: the command line exits with 1.
    """

    exit_code = 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest of `known`, or nothing."""
    nearest = nearest_name(name, known)
    return f"; did you mean {nearest!r}?" if nearest else ""


def nearest_name(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Return the closest of `known`, in any case of letters, or "".

    `cutoff` is the least ratio of `difflib`: 1 for equal names, 0 for nothing shared.
    """
    by_fold = {k.casefold(): k for k in known}
    close = get_close_matches(name.casefold(), by_fold, n=1, cutoff=cutoff)
    return by_fold[close[0]] if close else ""


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for a name that nobody knows, naming the nearest and all."""
    names = sorted(known)
    listed = ", ".join(names) or "none"
    return UnknownNameError(
        f"unknown {what} {name!r}{did_you_mean(name, names)}\n  there is: {listed}"
    )
