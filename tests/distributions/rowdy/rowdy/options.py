"""Options, and an identity of any sort."""

import os
from dataclasses import dataclass

from .deeds import deed

deed("", "options")


@dataclass(frozen=True)
class GuardOptions:
    """`place` is where the guard does `how`, after `calls` good ones."""

    place: str = ""
    how: str = ""
    calls: int = 0
    value: str = ""

    def __post_init__(self):
        """Misbehave."""
        if self.place == "options":
            deed(self.how)


@dataclass(frozen=True)
class StrategyOptions:
    """What the strategy does or returns."""

    how: str = ""


def identity(options):
    """Return what the option asks for."""
    if options.place == "identity":
        deed(options.how)
        return {
            "none": None,
            "list": ["model"],
            "address": {"model": object()},
            "generator": {"model": (x for x in "ab")},
            "keys": {1: "model"},
            "text": "model",
        }.get(options.how, {"model": "rowdy"})
    return {"model": "rowdy", "pid": bool(os.getpid())}
