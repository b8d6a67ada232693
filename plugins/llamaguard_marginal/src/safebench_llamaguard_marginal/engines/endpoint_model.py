"""A guard behind an OpenAI-compatible server, asked for next tokens by token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError

from .chat_model import load_chat
from .completion_answers import as_listed
from .endpoint import Endpoint
from .endpoint_checks import NoCompletionsError, check_server
from .server_identity import server_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.verdict_tree import ListedTokens
    from safebench_llamaguard_marginal.options import GuardOptions

    from .chat_model import ChatModel
    from .completion_answers import NextToken
    from .endpoint_checks import ServerFacts
    from .served_guard import GuardFiles


SPOILT = (
    "another user of the server asked for tokens by id all the time, which spoils what "
    "vLLM says of the likeliest: bounds are wider in places, and margin has no value "
    "there"
)


class EndpointModel:
    """A `ServedModel` at a server that takes token ids at ``/completions``.

    A level of all trees is a few requests side by side; prompts that share a prefix
    share its keys and values where the server caches them.
    """

    def __init__(
        self, endpoint: Endpoint, server: ServerFacts, files: GuardFiles, top_k: int
    ) -> None:
        self.token_bytes = files.token_bytes
        self.eos = files.eos
        self.top_k = top_k
        self.max_ids = server.max_ids
        self.max_tokens = server.model.max_tokens
        self.forward_calls = 0
        self.was_spoilt = False
        self._endpoint = endpoint
        self._server = server
        endpoint.after_failures = server.probe.check_unchanged

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever reads its numbers has to know, of what it was asked so far."""
        return (SPOILT,) if self.was_spoilt else ()

    @property
    def facts(self) -> Mapping[str, Any]:
        """Who answers; neither the address nor the port, which are not the model."""
        return {
            "device": "server",
            "dtype": "as served",
            "served_model": self._server.model.id,
            # a server that was started anew with other weights says so at best here
            "served_from": self._server.model.root,
            "api": "completions",
        }

    @property
    def state(self) -> dict[str, Any]:
        """What is stored beside evidence, to know the server again."""
        probe = self._server.probe
        return server_state(self._server.model, probe.prompts, probe.first)

    def top_tokens(self, contexts: Sequence[Sequence[int]]) -> ListedTokens:
        """List the K likeliest tokens after each context."""
        found = self._endpoint.next_tokens(
            contexts,
            len(self.token_bytes),
            top=self.top_k,
            looks_up=self.max_ids > 0,
        )
        self.was_spoilt |= any(answer.is_spoilt for answer in found)
        return self._listed(found, self.top_k)

    def look_up(
        self, contexts: Sequence[Sequence[int]], ids: Sequence[Sequence[int]]
    ) -> ListedTokens:
        """List the tokens ``ids[i]`` after each ``contexts[i]``, and the likeliest."""
        found = self._endpoint.next_tokens(contexts, len(self.token_bytes), asked=ids)
        return self._listed(found, 0)

    def _listed(self, found: Sequence[NextToken], top: int) -> ListedTokens:
        self.forward_calls += 1
        return as_listed(found, top)

    def close(self) -> None:
        """Close the connections."""
        self._endpoint.close()


def load(options: GuardOptions, files: GuardFiles) -> EndpointModel | ChatModel:
    """Return the model that the server at `base_url` serves, after a few requests.

    Raises ModelError for a server whose numbers would be those of something else.
    """
    endpoint = Endpoint(options)
    if options.api == "chat":
        return load_chat(options, endpoint, files)

    def encode(text: str) -> list[int]:
        ids: list[int] = files.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    size = len(files.token_bytes)
    top_k = min(options.top_logprobs, size)
    try:
        server = check_server(endpoint, encode, size, top_k)
    except NoCompletionsError as error:
        if options.api == "completions" and "api" not in dict(options.found):
            raise ModelError(
                f"{endpoint.where}: no completions of token ids ({error}); api=chat "
                "would give the written verdict and its alternatives, logprobs=no its "
                "text alone"
            ) from None
        return load_chat(options, endpoint, files)
    return EndpointModel(endpoint, server, files, top_k)
