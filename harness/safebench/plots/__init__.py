"""Figures of an analysis, as PNG files and as a page, with matplotlib.

matplotlib is an optional extra: only the modules inside import it, and commands call
`require_matplotlib` before they start to work.
"""

from __future__ import annotations

from importlib.util import find_spec

from safebench.errors import OptionError


def require_matplotlib() -> None:
    """Raise OptionError with the command that installs what plots need."""
    if find_spec("matplotlib") is None:
        raise OptionError("plots need matplotlib: pip install 'safebench[plots]'")
