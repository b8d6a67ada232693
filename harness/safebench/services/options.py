"""How a service is asked: the options that every classifier behind one shares."""

from __future__ import annotations

from dataclasses import dataclass, field


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
