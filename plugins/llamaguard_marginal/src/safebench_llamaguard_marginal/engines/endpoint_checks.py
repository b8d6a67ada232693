"""What a server can do, found out with a few requests before a run.

Each check answers for something that would make every number wrong and no request fail:
another tokenizer, raw logits, values that depend on how a token is sampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from safebench.errors import ModelError
from safebench.services import MalformedAnswerError, hide_secrets

from .completion_answers import Expected, parse_answer, read_completions
from .endpoint import MAX_IDS, api_key
from .server_identity import differing_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .completion_answers import NextToken
    from .endpoint import Endpoint, ListedModel

T = TypeVar("T")

# Letters, digits, spaces, lines, several scripts: tokenizers differ in one of them.
PROBE_TEXTS = (
    "unsafe\nS1,S10",
    "Hello wörld,  12345 + 67!\n\n\tif x == 'y':",
    "Привет, 世界 ¿qué tal? \U0001f642",
)
_BAD_REQUEST = 400
_UNPROCESSABLE = 422
_NOT_FOUND = (404, 405, 501)
_REFUSED_KEY = (401, 403)


class NoCompletionsError(Exception):
    """The server does not take token ids at ``/completions``; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server can do: the model, and how many ids one look-up may ask for.

    `max_ids` is 0 where it gives the likeliest tokens alone. `probe` can tell later
    whether the same model answers.
    """

    model: ListedModel
    max_ids: int
    probe: ServerProbe


def check_server(
    endpoint: Endpoint,
    encode: Callable[[str], list[int]],
    vocabulary_size: int,
    top: int,
) -> ServerFacts:
    """Return what the server can do; `encode` is the tokenizer here.

    Raises `NoCompletionsError` where the chat endpoint may still do, and `ModelError`
    for what makes its numbers those of something else.
    """
    explained = ExplainedErrors(endpoint)
    model = explained.run(endpoint.pick_model)
    prompts = [encode(text) for text in PROBE_TEXTS]
    probe = ServerProbe(endpoint, prompts, vocabulary_size, top)
    found = explained.run(probe.top_tokens, top=top)
    explained.run(lambda: check_tokenizer(endpoint, encode))
    max_ids = explained.run(lambda: probe.max_ids(found))
    if max_ids == 0 and not all(found):
        # the likeliest tokens are all that this server gives: they are waited for
        found = [*endpoint.next_tokens(prompts, vocabulary_size, top=top)]
    probe.first = found
    explained.run(probe.check_temperature)
    return ServerFacts(model=model, max_ids=max_ids, probe=probe)


class ExplainedErrors:
    """Turns the client's errors into one line that says what would work."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def run(self, step: Callable[[], T], top: int = 0) -> T:
        """Return what a step returns; `top` log-probabilities are asked for in it."""
        try:
            return step()
        except (ModelError, NoCompletionsError):
            raise
        except MalformedAnswerError as error:
            raise NoCompletionsError(hide_secrets(str(error))) from None
        except Exception as error:  # noqa: BLE001 - client libraries raise anything
            status = getattr(error, "status_code", None)
            reason = reason_of(error)
            if status in _NOT_FOUND and _has_no_address(reason):
                raise NoCompletionsError(reason) from None
            if status in (_BAD_REQUEST, _UNPROCESSABLE):
                raise self._refused(reason, top) from None
            raise ModelError(self.message(error)) from None

    def _refused(self, reason: str, top: int) -> Exception:
        """Return what follows from an answer that the request is a bad one."""
        text = reason.casefold()
        if top and "logprob" in text:
            return ModelError(
                f"{self.endpoint.where}: no {top} log-probabilities: "
                f"{reason}; start the server with --max-logprobs {top}, or set a "
                "smaller top_logprobs; logprobs=no records the texts of verdicts alone"
            )
        if "vocabulary" in text:
            return ModelError(
                f"{self.endpoint.where}: {reason}: the tokenizer here and "
                "the model there do not belong together; model=FOLDER names the one "
                "whose tokenizer is used"
            )
        return NoCompletionsError(reason)

    def message(self, error: Exception) -> str:
        """Return what went wrong at the first request, in one line."""
        options = self.endpoint.options
        where = self.endpoint.where
        status = getattr(error, "status_code", None)
        if status is None:
            return (
                f"{where}: nothing answers ({reason_of(error)}); is the server "
                "running, and is that its address up to /v1?"
            )
        if status in _REFUSED_KEY:
            missing = api_key(options) == "none"
            advice = (
                f"the environment variable {options.api_key_env} is not set"
                if missing
                else f"the one in {options.api_key_env} is not accepted"
            )
            return f"{where}: the server asks for a key, and {advice}"
        return f"{where}: {reason_of(error)}"


def _has_no_address(reason: str) -> bool:
    """Tell whether a server lacks the address, and not the model.

    Services say of models for chats that they are none of the other address.
    """
    text = reason.casefold()
    return "model" not in text or "chat model" in text or "chat/completions" in text


class ServerProbe:
    """Asks once about the probe texts: errors are the client's, places may be empty.

    `first` is what the server said at first of `prompts`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        prompts: Sequence[Sequence[int]],
        size: int,
        top: int,
    ) -> None:
        self.first: Sequence[NextToken | None] = ()
        self._endpoint = endpoint
        self.prompts = prompts
        self._size = size
        self._top = top

    def _ask(
        self, asked: Sequence[int] = (), temperature: float = 0.0
    ) -> list[NextToken | None]:
        text = self._endpoint.attempt(
            lambda: self._endpoint.completions(
                self.prompts, top=self._top, asked=asked, temperature=temperature
            ),
            retries=1,
        )
        expected = Expected(
            n_prompts=len(self.prompts),
            vocabulary_size=self._size,
            top=0 if asked else self._top,
            asked=asked,
        )
        return read_completions(text, expected)

    def top_tokens(self) -> list[NextToken | None]:
        """Return the likeliest tokens; None where another user's request spoilt it."""
        return self._ask()

    def max_ids(self, found: Sequence[NextToken | None]) -> int:
        """Return how many ids a look-up may ask for: 0 where the server ignores them.

        Of `found`, the likeliest tokens, none is asked for: they would come anyway.
        """
        known = set().union(*(answer.logp for answer in found if answer))
        asked = [token for token in range(self._size) if token not in known][:3]
        asked = asked or list(range(min(3, self._size)))
        for _ in range(2):  # another user's request may have spoilt the first
            try:
                if all(self._ask(asked)):
                    return MAX_IDS
            except MalformedAnswerError:
                return 0
            except Exception as error:
                status = getattr(error, "status_code", None)
                if status in (_BAD_REQUEST, _UNPROCESSABLE):
                    return 0
                raise
        return 0

    def check_temperature(self) -> None:
        """Raise `ModelError` where values are not those of temperature 1."""
        if not self._is_as_at_first(self._ask(temperature=2.0)):
            raise ModelError(
                f"{self._endpoint.where}: log-probabilities change with the "
                "temperature: they are not the model's own; start the server without "
                "--logprobs-mode processed_logprobs"
            )

    def check_unchanged(self) -> None:
        """Raise `ModelError` where another model answers under the name by now."""
        if not self._is_as_at_first(self._ask()):
            raise ModelError(
                f"{self._endpoint.where}: another model than at first answers as "
                f"{self._endpoint.served_model}: the server was started anew with "
                "other weights; what is recorded is kept, and served_model=NAME, with "
                "a name of its own, would record the other"
            )

    def _is_as_at_first(self, found: Sequence[NextToken | None]) -> bool:
        """Tell whether answers have the values of the first ones, but for rounding."""
        before, after = (
            [answer.logp if answer else {} for answer in answers]
            for answers in (self.first, found)
        )
        return not differing_values(before, after)


def check_tokenizer(endpoint: Endpoint, encode: Callable[[str], list[int]]) -> None:
    """Raise `ModelError` where the server reads a text as other tokens than we do.

    `encode` is the tokenizer here.
    """
    for text in PROBE_TEXTS:
        ids = encode(text)
        content = parse_answer(endpoint.attempt(partial(ask_text, endpoint, text)))
        served = _prompt_ids(content)
        count = (content.get("usage") or {}).get("prompt_tokens")
        if served is not None:
            same = served == list(ids)
        elif type(count) is int:
            same = count in (len(ids), len(ids) + 1)  # with or without BOS
        else:
            continue
        if not same:
            n_served = len(served) if served is not None else count
            raise ModelError(
                f"{endpoint.where}: {endpoint.served_model} reads {text!r} "
                f"as {n_served} tokens, the tokenizer here as {len(ids)}"
                f"{'' if n_served != len(ids) else ' others'}: they belong to "
                "different models; model=FOLDER or a hub id names the one whose "
                "tokenizer is used"
            )


def ask_text(endpoint: Endpoint, text: str) -> str:
    """Return the answer to a text, as the tokenizer is compared by."""
    reply = endpoint.client.completions.with_raw_response.create(
        model=endpoint.served_model,
        prompt=text,
        max_tokens=1,
        temperature=0,
        extra_body={"return_token_ids": True, "add_special_tokens": False},
    )
    return str(reply.http_response.text)


def _prompt_ids(content: dict[str, Any]) -> list[int] | None:
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    ids = choice.get("prompt_token_ids") if isinstance(choice, dict) else None
    return ids if isinstance(ids, list) else None


def reason_of(error: Exception) -> str:
    """Return what a server says of a request that it refused, in one line."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    text = " ".join(str(message or error).split()) or type(error).__name__
    return hide_secrets(text)[:300]
