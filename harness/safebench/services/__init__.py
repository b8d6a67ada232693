"""Requests to services over the network, made by the rules of the user's options.

One implementation for all plugins: what is tried again, what ends a run, how requests
are counted, and that no key gets into a message. It knows no client library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.lazy import lazy_exports

if TYPE_CHECKING:
    from .options import RequestOptions
    from .requests import (
        MalformedAnswerError,
        Reply,
        Service,
        UnreadableAnswerError,
        WrongCountError,
        hide_secrets,
    )

__all__ = [
    "MalformedAnswerError",
    "Reply",
    "RequestOptions",
    "Service",
    "UnreadableAnswerError",
    "WrongCountError",
    "hide_secrets",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "RequestOptions": "options",
        "MalformedAnswerError": "requests",
        "Reply": "requests",
        "Service": "requests",
        "UnreadableAnswerError": "requests",
        "WrongCountError": "requests",
        "hide_secrets": "requests",
    },
)
