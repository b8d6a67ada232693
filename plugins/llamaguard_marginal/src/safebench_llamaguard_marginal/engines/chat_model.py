"""A guard behind a chat endpoint: the verdict that it writes, with alternatives.

A conversation goes in, and the server's own template makes the prompt of it. That is
the right prompt only where the server says so: by its token ids, or at least by their
number. A verdict that is begun in the conversation would be taken by guards' templates
for a turn to judge, so none is: trees are expanded along the greedy path alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import ModelError
from safebench.services import UnreadableAnswerError
from safebench.verdict_tree import ListedTokens

from .chat_answers import NoLogprobsError, TokenNames, read_chat
from .endpoint_checks import ExplainedErrors, NoCompletionsError
from .server_identity import server_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench_llamaguard_marginal.options import GuardOptions

    from .chat_answers import WrittenVerdict
    from .endpoint import Endpoint, ListedModel, Part
    from .served_guard import GuardFiles

    Messages = Sequence[Mapping[str, str]]
    Listed = tuple[Sequence[int], Sequence[float]]  # ids, log-probabilities

_PROBE = ({"role": "user", "content": "Hello."},)
ANSWER_TOKENS = 128  # more than any verdict has
NOTE = (
    "the chat endpoint gives the written verdict and alternatives to its tokens: "
    "bounds are wide where another verdict is likely, and point=upper is the nearest "
    "estimate of marginal_any; strategies on canonical spellings have no value "
    "(api=chat leaves them out)"
)
_EQUAL = 1e-5  # of a log-probability: float32 tells no more
_LEAD = 1e-12  # by which equals are told apart


class ChatModel:
    """A `ServedModel` that answers along the greedy path of each prompt.

    `converse` says which conversation stands behind each prompt; a path is asked for
    once, when its root is.
    """

    greedy_only = True
    max_ids = 0

    def __init__(
        self,
        endpoint: Endpoint,
        served: ListedModel,
        files: GuardFiles,
        top_k: int,
    ) -> None:
        self.token_bytes = files.token_bytes
        self.eos = files.eos
        self.top_k = top_k
        self.max_tokens = served.max_tokens
        self.forward_calls = 0
        self.notes = (NOTE,)
        vocabulary: Mapping[str, int] = files.tokenizer.get_vocab()
        self._names = TokenNames(
            files.token_bytes,
            {text: i for text, i in vocabulary.items() if not files.token_bytes[i]},
        )
        self._endpoint = endpoint
        self._served = served
        self._messages: dict[tuple[int, ...], Messages] = {}
        self._steps: dict[tuple[int, ...], Listed] = {}

    @property
    def facts(self) -> Mapping[str, Any]:
        """Who answers; neither the address nor the port, which are not the model."""
        return {
            "device": "server",
            "dtype": "as served",
            "served_model": self._served.id,
            "served_from": self._served.root,
            "api": "chat",
        }

    @property
    def state(self) -> dict[str, Any]:
        """What is stored beside evidence, to know the server again."""
        return server_state(self._served)

    def converse(self, conversations: Mapping[tuple[int, ...], Messages]) -> None:
        """Take over the conversations behind the prompts that come next."""
        self._messages = dict(conversations)
        self._steps = {}

    def top_tokens(self, contexts: Sequence[Sequence[int]]) -> ListedTokens:
        """List what stands at each place of a greedy path; NaN where nothing does."""
        self.forward_calls += 1
        roots = [
            key
            for key in dict.fromkeys(map(tuple, contexts))
            if key in self._messages and key not in self._steps
        ]
        if roots:
            self._ask(roots)
        nothing = ([0], [np.nan])
        rows = [self._steps.get(tuple(context), nothing) for context in contexts]
        return ListedTokens.from_rows(
            rows, [min(logp) if len(logp) > 1 else 0.0 for _, logp in rows]
        )

    def look_up(
        self, contexts: Sequence[Sequence[int]], ids: Sequence[Sequence[int]]
    ) -> ListedTokens:
        """Never called: `max_ids` is 0."""
        raise AssertionError(len(contexts), len(ids))

    def check(self) -> None:
        """Ask once; raises `ModelError` where the answer has no probabilities."""
        text = self._endpoint.attempt(
            lambda: self._endpoint.chat(_PROBE, top=self.top_k, tokens=1), retries=1
        )
        try:
            read_chat(text, self._names, self.top_k)
        except NoLogprobsError:
            raise ModelError(
                f"{self._endpoint.where}: {self._served.id} writes verdicts and gives "
                "no log-probabilities; logprobs=no records the texts of the verdicts, "
                "which greedy reads, and with samples=8 self_consistency and "
                "sampled_verdict_entropy"
            ) from None
        except UnreadableAnswerError as error:
            raise ModelError(
                f"{self._endpoint.where}: {error}; model=FOLDER or a hub id names the "
                "one whose tokenizer is used"
            ) from None

    def close(self) -> None:
        """Close the connections."""
        self._endpoint.close()

    def _ask(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Store the greedy paths of prompts."""

        def requests(left: list[int]) -> Iterator[Part[_Outcome]]:
            for i in left:
                yield [i], self._request_of(self._messages[prompts[i]])

        outcomes = self._endpoint.settle(
            len(prompts), requests, f"{self.top_k} alternatives to each token"
        )
        wrong = 0
        for prompt, outcome in zip(prompts, outcomes, strict=True):
            if outcome.verdict is None:
                continue
            if outcome.verdict.is_about(prompt):
                self._steps |= _steps(prompt, outcome.verdict)
            else:
                wrong += 1
        if wrong == len(prompts):
            raise ModelError(
                f"{self._endpoint.where}: the server's chat template makes other "
                "prompts than the profile here; profile=NAME may name the right one, "
                "and a server that takes token ids needs none"
            )

    def _request_of(self, messages: Messages) -> Callable[[], list[_Outcome | None]]:
        def request() -> list[_Outcome | None]:
            text = self._endpoint.chat(messages, top=self.top_k, tokens=ANSWER_TOKENS)
            try:
                verdict = read_chat(text, self._names, self.top_k)
            except UnreadableAnswerError:
                return [_Outcome(None)]
            return [None if verdict is None else _Outcome(verdict)]

        return request


class _Outcome:
    """What came of one conversation: a verdict, or none that can be read."""

    def __init__(self, verdict: WrittenVerdict | None) -> None:
        self.verdict = verdict


def load_chat(
    options: GuardOptions, endpoint: Endpoint, files: GuardFiles
) -> ChatModel:
    """Return the model that a chat endpoint serves, after two requests.

    Raises ModelError for one that does not say how probable its tokens are.
    """
    explained = ExplainedErrors(endpoint)
    served = explained.run(endpoint.pick_model)
    model = ChatModel(
        endpoint, served, files, min(options.top_logprobs, len(files.token_bytes))
    )
    for endpoint.vendor_fields in (True, False):
        try:
            explained.run(model.check, top=options.top_logprobs)
        except NoCompletionsError as error:
            reason = str(error)
        else:
            return model
    raise ModelError(f"{endpoint.where}: no chat either: {reason}")


def _steps(
    prompt: tuple[int, ...], verdict: WrittenVerdict
) -> dict[tuple[int, ...], Listed]:
    """Return ids and log-probabilities at each place of a path, by what precedes it.

    The token that was written leads: of equals the lowest id would be followed, about
    which the server has said nothing.
    """
    steps: dict[tuple[int, ...], Listed] = {}
    path = prompt
    for step in verdict.steps:
        ids, logp = step.pairs()
        written = ids.index(step.greedy)
        if logp[0] - logp[written] > _EQUAL:
            break  # not the likeliest: the server does not write greedily
        if written:
            logp[written] = logp[0] + _LEAD
        steps[path] = (ids, logp)
        path = (*path, step.greedy)
    return steps
