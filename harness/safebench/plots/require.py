"""Refuse early, and in one line, if the plotting library is not there."""

from __future__ import annotations

from importlib.util import find_spec

from safebench.errors import OptionError


def require_plots() -> None:
    """Raise OptionError with the command that installs what plots need."""
    if find_spec("matplotlib") is None:
        raise OptionError("plots need matplotlib: pip install 'safebench[plots]'")
