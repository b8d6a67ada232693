"""Imports on first use: code that specs name, and the public names of a package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import ComponentError, SafebenchError
from .forwarding import NAMES
from .isolation import describe_error, isolated_loading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def import_object(target: str) -> Any:
    """Import and return ``module:attribute``; raises `ComponentError` if that fails."""
    module, _, attribute = target.partition(":")
    try:
        with isolated_loading():
            return getattr(import_module(module), attribute)
    except (KeyboardInterrupt, SafebenchError):
        raise
    except BaseException as error:
        reason = describe_error(error)
        raise ComponentError(f"cannot import {target}: {reason}") from error


def lazy_exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package whose names are imported on first use.

    `modules` maps a public name to the module below `package` that defines it. So a
    plugin that declares itself by ``from safebench.evidence import Scores`` costs the
    start of a command no more than the modules that it names.
    """

    def get(name: str) -> Any:
        name = NAMES.get(package, {}).get(name, name)
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return get
