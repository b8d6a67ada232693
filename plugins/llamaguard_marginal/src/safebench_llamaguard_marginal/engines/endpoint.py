"""An OpenAI-compatible server: which models it serves, and many prompts at once.

Through the official client, without its retries: each attempt is counted, and waits can
be interrupted. A request that fails for good ends the run; what is recorded is kept.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from safebench.errors import ModelError, did_you_mean
from safebench.services import MalformedAnswerError, Service

from .completion_answers import (
    Expected,
    NextToken,
    parse_answer,
    read_completions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from safebench.services import Reply

    from .endpoint_options import EndpointOptions

    Messages = Sequence[Mapping[str, str]]
    # the indices that one request is about, and the request
    Part = tuple[list[int], Callable[[], "list[T | None]"]]

T = TypeVar("T")

NAME = "engine=openai"
MAX_PROMPTS = 1024  # a request: vLLM takes no more
MAX_IDS = 128  # that vLLM looks up in one request
_WORTH_A_REQUEST = 16  # prompts that are asked for the same ids
# Several users may mix their kinds of requests on one server: that passes.
MAX_ROUNDS = 8
SPOILT_ROUNDS = 2  # where it did not pass before
_ANY_ID = (1,)  # that every vocabulary has
_ROUND_WAIT = 0.2  # seconds before the second round, doubled each time
_NO_KEY = "none"  # servers without keys take any, and the client needs one
_NOT_FOUND = 404
_TOO_MANY, _SERVER_ERROR = 429, 500


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that a server lists: its id, and what it says of it.

    `root` is where the server has it from, `max_tokens` how long prompt and answer may
    be together; empty and 0 where it does not say.
    """

    id: str
    root: str = ""
    max_tokens: int = 0


class Endpoint:
    """A server at `base_url`, asked by the rules of `options`.

    `served_model` is what the server calls the model.
    """

    def __init__(self, options: EndpointOptions) -> None:
        self.options = options
        self.address = options.base_url.rstrip("/")
        self.service = Service(NAME, options, deadline=True)
        self.service.n_requests = options.spent
        self.client = _client(options, self.address)
        self.served_model = options.served_model
        self._is_spoilt = False  # whether others keep the likeliest tokens from us
        # whether fields of vLLM go along with a conversation: others may refuse them
        self.vendor_fields = True
        # called after answers that had to be asked for again
        self.after_failures: Callable[[], None] = lambda: None

    @property
    def where(self) -> str:
        """The engine and its address, for messages."""
        return f"{NAME} at {self.address}"

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def request(self, call: Callable[[], str]) -> str:
        """Return the text of an answer; raises `ModelError` if there is none."""
        return self._answer(self.service.ask(call))

    def attempt(self, call: Callable[[], str], retries: int = 0) -> str:
        """Return an answer at the first attempts, or raise the client's own error."""
        for left in range(retries, -1, -1):
            try:
                return self.service.attempt(call)
            except ModelError:
                raise
            except Exception as error:
                if not left or getattr(error, "status_code", None):
                    raise
                time.sleep(self.options.backoff)
        raise AssertionError

    def attempt_or_wait(self, call: Callable[[], str]) -> str:
        """Return an answer; only a server that is busy or failing is waited for.

        Raises the client's own error for what it refuses.
        """
        try:
            return self.attempt(call, retries=1)
        except ModelError:
            raise
        except Exception as error:
            status = getattr(error, "status_code", None) or 0
            if status != _TOO_MANY and status < _SERVER_ERROR:
                raise
            return self.request(call)

    def models(self) -> list[ListedModel] | None:
        """Return the models that the server lists, None if it has no list.

        Raises the client's own error where nothing answers or a key is refused.
        """
        try:
            text = self.attempt(
                lambda: self.client.models.with_raw_response.list().http_response.text,
                retries=1,
            )
            content = parse_answer(text)
        except MalformedAnswerError:
            return None
        except Exception as error:
            if getattr(error, "status_code", None) == _NOT_FOUND:
                return None
            raise
        entries = content.get("data")
        if not isinstance(entries, list):
            return None
        return [_listed_model(entry) for entry in entries if isinstance(entry, dict)]

    def completions(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        top: int,
        asked: Sequence[int] = (),
        temperature: float = 0.0,
    ) -> str:
        """Return the text of an answer about the next token of some prompts.

        `top` likeliest tokens, or the ids `asked` with the likeliest one.
        """
        extra: dict[str, Any] = {"return_tokens_as_token_ids": True}
        if asked:
            extra["logprob_token_ids"] = list(asked)
        reply = self.client.completions.with_raw_response.create(
            model=self.served_model,
            prompt=[list(prompt) for prompt in prompts],
            max_tokens=1,
            temperature=temperature,
            logprobs=1 if asked else top,
            extra_body=extra,
        )
        return str(reply.http_response.text)

    def chat(self, messages: Messages, *, top: int, tokens: int) -> str:
        """Return the text of an answer to a conversation, of at most `tokens` tokens.

        Each comes with the `top` likeliest in its place.
        """
        names = ("return_token_ids", "return_tokens_as_token_ids")
        reply = self.client.chat.completions.with_raw_response.create(
            model=self.served_model,
            messages=list(messages),
            max_tokens=tokens,
            temperature=0,
            logprobs=True,
            top_logprobs=top,
            extra_body=dict.fromkeys(names, True) if self.vendor_fields else None,
        )
        return str(reply.http_response.text)

    def next_tokens(
        self,
        prompts: Sequence[Sequence[int]],
        vocabulary_size: int,
        *,
        top: int = 0,
        asked: Sequence[Sequence[int]] | None = None,
        looks_up: bool = False,
    ) -> list[NextToken]:
        """Return what follows each prompt, in their order, however many there are.

        The `top` likeliest tokens of each, or the ids `asked` for it, and perhaps more.
        A server that `looks_up` tells the likeliest one whatever others ask it for: it
        stands alone, and marked as spoilt, where the next ones cannot be had.
        """

        def requests(left: list[int]) -> Iterator[Part[NextToken]]:
            size = min(MAX_PROMPTS, self.options.prompts_per_request)
            for group, ids in _groups(left, asked):
                for start in range(0, len(group), size):
                    part = group[start : start + size]
                    chosen = [prompts[i] for i in part]
                    yield part, self._request_of(chosen, vocabulary_size, top, ids)

        def likeliest(left: list[int]) -> list[NextToken]:
            self._is_spoilt = True
            own = [prompts[i] for i in left]
            found = self.next_tokens(own, vocabulary_size, asked=[_ANY_ID] * len(own))
            return [NextToken(t.greedy, t.logp, is_spoilt=True) for t in found]

        wanted = f"the {top} likeliest tokens" if top else "the given ids"
        instead = likeliest if top and looks_up else None
        return self.settle(len(prompts), requests, wanted, instead)

    def settle(
        self,
        count: int,
        requests: Callable[[list[int]], Iterable[Part[T]]],
        wanted: str,
        instead: Callable[[list[int]], list[T]] | None = None,
    ) -> list[T]:
        """Return `count` answers; what an answer leaves empty is asked for again.

        `requests` gives the requests about those that are left, by index. `instead`
        returns other answers where nothing helps, sooner if it had to before; without
        it `wanted` is for the message.
        """
        answers: dict[int, T] = {}
        idle = 0  # rounds one after another in which nothing was answered
        most = SPOILT_ROUNDS if instead and self._is_spoilt else MAX_ROUNDS
        while idle < most and len(answers) < count:
            if idle:
                time.sleep(_ROUND_WAIT * 2 ** (idle - 1))
            parts = list(requests([i for i in range(count) if i not in answers]))
            replies = self.service.ask_all([r for _, r in parts], lambda _: None)
            if any(reply.value is not None and reply.attempts > 1 for reply in replies):
                self.after_failures()
            before = len(answers)
            for (part, _), reply in zip(parts, replies, strict=True):
                found = self._answer(reply)
                pairs = zip(part, found, strict=True)
                answers |= {i: answer for i, answer in pairs if answer is not None}
            idle = 0 if len(answers) > before else idle + 1
        left = [i for i in range(count) if i not in answers]
        if left and instead is not None:
            answers |= zip(left, instead(left), strict=True)
        elif left:
            raise ModelError(_unsettled(len(left), wanted))
        return [answers[i] for i in range(count)]

    def _request_of(
        self,
        prompts: Sequence[Sequence[int]],
        vocabulary_size: int,
        top: int,
        asked: Sequence[int],
    ) -> Callable[[], list[NextToken | None]]:
        expected = Expected(
            n_prompts=len(prompts),
            vocabulary_size=vocabulary_size,
            top=top,
            asked=asked,
        )
        return lambda: read_completions(
            self.completions(prompts, top=top, asked=asked), expected
        )

    def _answer(self, reply: Reply[T]) -> T:
        if reply.failure is None:
            assert reply.value is not None
            return reply.value
        raise ModelError(
            f"{self.where}: {reply.error}; what is recorded is kept, and "
            "the same command goes on from there"
        )

    def pick_model(self) -> ListedModel:
        """Return the model to ask, which the server lists; sets `served_model`.

        Raises `ModelError` for a name that it does not list, and where it lists several
        and none was named.
        """
        served = self.models()
        wanted = self.served_model
        if served is None:
            if not wanted:
                raise ModelError(
                    f"{self.where}: no list of models; does the address "
                    "end in /v1? If so, served_model=NAME says which one to ask"
                )
            return ListedModel(wanted)
        names = [model.id for model in served]
        if not wanted and len(names) == 1:
            self.served_model = wanted = names[0]
        if wanted not in names:
            listed = ", ".join(names[:8]) or "none"
            problem = f"no model {wanted!r}" if wanted else "several models"
            hint = did_you_mean(wanted, names) if wanted else "; name one of them"
            raise ModelError(
                f"{self.where}: {problem} (served_model); the server has {listed}{hint}"
            )
        return served[names.index(wanted)]


def _groups(
    left: Sequence[int], asked: Sequence[Sequence[int]] | None
) -> Iterator[tuple[list[int], Sequence[int]]]:
    """Yield the prompts that can share requests, by index, and the ids asked for.

    Prompts with lists of their own, few of each, are asked for all of them together:
    an id more costs less than a request.
    """
    if asked is None:
        yield list(left), ()
        return
    by_list: dict[tuple[int, ...], list[int]] = {}
    for i in left:
        by_list.setdefault(tuple(asked[i]), []).append(i)
    together: list[int] = []
    union: dict[int, None] = {}
    for ids, group in by_list.items():
        if len(group) >= _WORTH_A_REQUEST:
            yield group, ids
            continue
        merged = union | dict.fromkeys(ids)
        if together and len(merged) > MAX_IDS:
            yield together, [*union]
            together, merged = [], dict.fromkeys(ids)
        together, union = [*together, *group], merged
    if together:
        yield together, [*union]


def _unsettled(count: int, wanted: str) -> str:
    return (
        f"{NAME}: {count} answers lack {wanted} with finite values, however often they "
        "are asked for. Another user of the server may ask for logprob_token_ids all "
        "the time, which spoils such answers of vLLM: then a server of its own, or a "
        "quiet hour, would work. Otherwise the server gives fewer than it is asked "
        "for. What is recorded is kept, and the same command goes on from there"
    )


def _listed_model(entry: dict[str, Any]) -> ListedModel:
    length = entry.get("max_model_len")
    root = entry.get("root")
    return ListedModel(
        str(entry.get("id", "")),
        root if isinstance(root, str) else "",
        length if type(length) is int and length > 0 else 0,
    )


def api_key(options: EndpointOptions) -> str:
    """Return the key of the environment, "none" where its variable is not set."""
    return os.environ.get(options.api_key_env, "") or _NO_KEY


def _client(options: EndpointOptions, address: str) -> Any:
    try:
        import openai
    except ImportError:
        raise ModelError(
            f"{NAME} needs the package openai: "
            "pip install 'safebench-llamaguard-marginal[openai]'"
        ) from None
    return openai.OpenAI(
        api_key=api_key(options),
        base_url=address,
        timeout=options.timeout,
        max_retries=0,
    )
