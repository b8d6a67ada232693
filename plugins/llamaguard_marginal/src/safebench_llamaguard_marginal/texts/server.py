"""A server that writes verdicts, asked for one text after another."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import ModelError
from safebench.services import MalformedAnswerError
from safebench_llamaguard_marginal.engines.endpoint_checks import (
    ExplainedErrors,
    NoCompletionsError,
    check_tokenizer,
    reason_of,
)

from .answers import TextAnswer, read_text_answer
from .requests import RequestForm, Sampling, write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.services import Reply
    from safebench_llamaguard_marginal.engines.endpoint import Endpoint, ListedModel

    from .requests import Prompt

    Encode = Callable[[str], list[int]]

_PROBE: Prompt = ({"role": "user", "content": "Hello."},)
_REFUSED = (400, 422)
_MOST_FORMS = 6  # that are tried before a server is given up


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and how its answer is written."""

    prompt: Prompt
    sampling: Sampling


@dataclass(slots=True)
class TextServer:
    """A server that takes `form`, by `api`; `model` is the one that answers."""

    endpoint: Endpoint
    api: Literal["completions", "chat"]
    model: ListedModel
    form: RequestForm
    n_asked: int = field(default=0, init=False)

    def ask(
        self, questions: Sequence[Question], on_reply: Callable[[int], None]
    ) -> list[Reply[TextAnswer]]:
        """Return a reply to each question; `on_reply` gets the place of each.

        A reply with an error is one that would fail again. Raises `ModelError` for what
        would fail all others, too.
        """

        def request_of(question: Question) -> Callable[[], TextAnswer]:
            return lambda: read_text_answer(
                write(self.endpoint, self.form, question.prompt, question.sampling)
            )

        requests = [request_of(question) for question in questions]
        replies = self.endpoint.service.ask_all(requests, on_reply)
        self.n_asked += len(requests)
        for reply in replies:
            failure = reply.failure
            # an answer that nobody understands is that of its sample
            if failure and failure.action == "again" and not failure.malformed:
                raise ModelError(
                    f"{self.endpoint.where}: {reply.error}; what is recorded is kept, "
                    "and the same command goes on from there"
                )
        return replies

    def close(self) -> None:
        """Close the connections."""
        self.endpoint.close()


def open_text_server(
    endpoint: Endpoint,
    form: RequestForm,
    api: Literal["auto", "completions", "chat"],
    *,
    encode: Encode | None,
    probe: Prompt | None,
    samples: bool,
) -> TextServer:
    """Return the server at an endpoint, after a few requests.

    `encode` is the tokenizer here and `probe` the token ids of a prompt, None where
    there is none: then conversations alone can be sent. Raises ModelError.
    """
    explained = ExplainedErrors(endpoint)
    model = explained.run(endpoint.pick_model)
    reason = ""
    if api != "chat" and encode is not None and probe is not None:
        try:
            explained.run(lambda: check_tokenizer(endpoint, encode))
            found = explained.run(
                lambda: accepted_form(endpoint, form, probe, samples=samples)
            )
        except NoCompletionsError as error:
            reason = str(error)
        else:
            return TextServer(endpoint, "completions", model, found)
        if api == "completions":
            raise ModelError(
                f"{endpoint.where}: no completions of token ids ({reason}); api=chat "
                "would send conversations"
            )
    try:
        found = explained.run(
            lambda: accepted_form(endpoint, form, _PROBE, samples=samples)
        )
    except NoCompletionsError as error:
        raise ModelError(f"{endpoint.where}: no chat: {error}") from None
    return TextServer(endpoint, "chat", model, found)


def accepted_form(
    endpoint: Endpoint, form: RequestForm, prompt: Prompt, *, samples: bool
) -> RequestForm:
    """Return the form of requests that a server takes, found by asking.

    Raises the client's own error where it takes none.
    """
    samplings = [Sampling(), *([Sampling(temperature=1.0, seed=1)] if samples else [])]
    for sampling in samplings:
        for left in range(_MOST_FORMS, -1, -1):
            try:
                request = partial(write, endpoint, form, prompt, sampling)
                read_text_answer(endpoint.attempt_or_wait(request))
                break
            except MalformedAnswerError:
                raise
            except Exception as error:
                refused = getattr(error, "status_code", None) in _REFUSED
                smaller = form.without(reason_of(error)) if refused else None
                if smaller is None or not left:
                    raise
                form = smaller
    return form


def facts_of(server: TextServer) -> dict[str, Any]:
    """Return who answers, and how it is asked, as JSON; not the address."""
    return {
        "device": "server",
        "dtype": "as served",
        "served_model": server.model.id,
        "served_from": server.model.root,
        "api": server.api,
        "answers": "texts",
        **server.form.facts,
    }
