"""The options of a guard behind an OpenAI-compatible server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from safebench.errors import OptionError
from safebench.services import RequestOptions

KEY_VARIABLE = "OPENAI_API_KEY"
# such names are hidden in whatever is written, by name
_SECRET_NAME = re.compile(r"[A-Z0-9_]*(KEY|TOKEN|SECRET)")


@dataclass(frozen=True, kw_only=True)
class EndpointOptions(RequestOptions):
    """Where the model of ``engine=openai`` is, and how it is asked.

    `base_url` is the address up to ``/v1``; `served_model` what the server calls the
    model (default: the only one that it lists). `api` is ``completions``, which takes
    token ids, or ``chat``, which gives the greedy path alone (``auto``: the first that
    the server has). `prompts_per_request` prompts go into one request. The key is read
    from the environment variable `api_key_env`. The other options are of all services.
    """

    base_url: str = ""
    served_model: str = ""
    api: Literal["auto", "completions", "chat"] = "auto"
    api_key_env: str = KEY_VARIABLE
    prompts_per_request: int = 128
    # a level of many long prompts takes longer than one answer of a service, and a
    # server that is started again takes a minute
    timeout: float = 120.0
    retries: int = 8

    def __post_init__(self) -> None:
        RequestOptions.__post_init__(self)
        if self.prompts_per_request < 1:
            raise OptionError(
                f"prompts_per_request is {self.prompts_per_request}, not 1 or more"
            )
        if not _SECRET_NAME.fullmatch(self.api_key_env):
            raise OptionError(
                "api_key_env is the name of an environment variable, and no key; it "
                f"ends in KEY, TOKEN or SECRET, such as {KEY_VARIABLE}"
            )
        if self.base_url:
            _check_address(self.base_url)


def _check_address(address: str) -> None:
    """Raise `OptionError` for what is no address, or holds a secret."""
    try:
        parts = urlsplit(address)
        complete = bool(parts.hostname) and parts.scheme in ("http", "https")
        _ = parts.port  # raises for what is no number
    except ValueError:
        complete = False
    if not complete:
        raise OptionError(
            f"base_url={address!r:.80} is no address; http://127.0.0.1:8000/v1 is one"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        # options are stored with each run
        raise OptionError(
            "base_url holds more than an address (a user, a password, ? or #): keys "
            f"are read from the environment, such as {KEY_VARIABLE}"
        )
