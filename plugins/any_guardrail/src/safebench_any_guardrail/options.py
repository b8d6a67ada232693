"""Options of requests that both classifiers share, and those of OpenAI's moderation."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

DEFAULT_MODEL = "omni-moderation-latest"
DEFAULT_BASE_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """How a service is asked; none of it changes what it answers.

    `concurrency` requests at once (None: 4 of a service, 1 of a model in this process);
    `timeout` seconds for an attempt; `retries` further attempts after a limit of the
    rate, an error of the server or a timeout, after `backoff` seconds, doubled each
    time, or what the service asks for; `max_requests` of one command, failed attempts
    included: then it stops, and what is recorded is kept. `api_key` is refused: keys
    are read from the environment, since options are stored with each run.
    """

    concurrency: int | None = None
    timeout: float = 30.0
    retries: int = 5
    backoff: float = 0.5
    max_requests: int | None = None
    api_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.api_key:
            raise ValueError(
                "api_key is no option, since options are stored with each run: keys "
                "are read from the environment (such as OPENAI_API_KEY)"
            )
        for name, least in (("concurrency", 1), ("retries", 0), ("max_requests", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}, not {least} or more")
        if self.timeout <= 0 or self.backoff < 0:
            raise ValueError("timeout must be above 0, and backoff not below")


@dataclass(frozen=True, kw_only=True)
class ModerationOptions(RequestOptions):
    """OpenAI's moderation. The key is read from OPENAI_API_KEY, and is no option.

    `model` and `base_url` (or OPENAI_BASE_URL) say who is asked; `batch_size` texts go
    into one request. `scale=probability` takes the largest category score for the
    probability of harm; as a `score` it only ranks, which is all that the API says.
    """

    model: str = DEFAULT_MODEL
    base_url: str = ""
    batch_size: int = 16
    scale: Literal["score", "probability"] = "score"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, not 1 or more")

    @property
    def address(self) -> str:
        """Where requests go, as the client library finds it."""
        address = self.base_url or os.environ.get("OPENAI_BASE_URL", "")
        return (address or DEFAULT_BASE_URL).rstrip("/")


def moderation_identity(options: ModerationOptions) -> dict[str, Any]:
    """Return what tells two moderation services apart; the key is no part of it."""
    return {
        "model": options.model,
        "address": options.address,
        "scale": options.scale,
    }
