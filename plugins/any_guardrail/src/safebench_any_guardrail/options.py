"""Options of OpenAI's moderation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from safebench import Capabilities
from safebench.services import RequestOptions

DEFAULT_MODEL = "omni-moderation-latest"
ONE_PROCESS = "its requests have a concurrency and a count of their own"
DEFAULT_BASE_URL = "https://api.openai.com/v1"


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


def moderation_capabilities(_: ModerationOptions) -> Capabilities:
    """Return what moderation answers: by one process, which counts the requests."""
    return Capabilities(
        tasks=frozenset({"prompt_harm", "response_harm"}),
        policy="openai-moderation-13",
        one_process=ONE_PROCESS,
    )


def moderation_identity(options: ModerationOptions) -> dict[str, Any]:
    """Return what tells two moderation services apart; the key is no part of it."""
    return {
        "model": options.model,
        "address": options.address,
        "scale": options.scale,
    }
