"""The options of a guard behind an OpenAI-compatible server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import inf
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
    from the environment variable `api_key_env`.

    `logprobs` says whether trees are recorded of log-probabilities, or texts: ``auto``
    asks the server once whether it gives any, ``yes`` insists on them. Of texts one
    greedy verdict is recorded, and `samples` others at `sample_temperature`, each with
    a seed that `sample_seed`, its number and its prompt make, where the server takes
    one. Without a model, and with a profile that is named, no tokenizer is needed here.
    `other_server` says what follows where evidence is stored, and the server says other
    things of itself than when it was recorded: ``refuse``, or ``accept``. The other
    options are of all services.

    `found` are the options that the server settled, each with the reason, and `spent`
    is how many requests that took.
    """

    base_url: str = ""
    served_model: str = ""
    api: Literal["auto", "completions", "chat"] = "auto"
    api_key_env: str = KEY_VARIABLE
    prompts_per_request: int = 128
    logprobs: Literal["auto"] | bool = "auto"
    samples: int = 0
    sample_temperature: float = 1.0
    sample_seed: int = 0
    other_server: Literal["refuse", "accept"] = "refuse"
    # a level of many long prompts takes longer than one answer of a service, and a
    # server that is started again takes a minute
    timeout: float = 120.0
    retries: int = 8
    found: tuple[tuple[str, str], ...] = field(default=(), metadata={"internal": True})
    spent: int = field(default=0, repr=False, metadata={"internal": True})

    @property
    def reads_texts(self) -> bool:
        """Whether texts are recorded, and no log-probabilities asked for."""
        return self.logprobs is False

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
        self._check_samples()

    def _check_samples(self) -> None:
        if self.samples < 0:
            raise OptionError(f"samples is {self.samples}, not 0 or more")
        if not 0 < self.sample_temperature < inf:
            raise OptionError(
                f"sample_temperature={self.sample_temperature} is not above 0; the "
                "greedy verdict is recorded anyway"
            )
        if self.samples and self.logprobs is True:
            raise OptionError(
                f"samples={self.samples} is for servers that give texts alone, and add "
                "nothing where probabilities are known; with logprobs=no it would work"
            )
        if not self.samples and (self.sample_seed or self.sample_temperature != 1):
            name = "seed" if self.sample_seed else "temperature"
            raise OptionError(
                f"sample_{name} is for sampled verdicts; samples=8 would sample eight"
            )


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
