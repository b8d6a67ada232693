"""Answers of ``POST /v1/completions`` about the next token, read and not trusted.

A server may give raw logits in place of log-probabilities, another tokenizer's ids,
fewer tokens than were asked for, or those of another user's request. What would be
wrong for every prompt is a `ModelError`; what another attempt would settle leaves its
place empty, so that it is asked for again.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import ModelError
from safebench.services import MalformedAnswerError, WrongCountError
from safebench.verdict_tree import ListedTokens

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN = "token_id:"  # noqa: S105 - how vLLM spells ids, with return_tokens_as_token_ids
# vLLM writes -inf so, since JSON has none; no log-probability in float32 is so low
MINUS_INFINITY = -9999.0
_ROUNDING = 1e-4  # of a sum of float32 probabilities
RAW_LOGITS = (
    "values above 0 are no log-probabilities: the server gives raw logits, whose sum "
    "over the vocabulary is not known; start it without --logprobs-mode raw_logits"
)


@dataclass(frozen=True, slots=True)
class NextToken:
    """What is known of the next token after one prompt: log-probabilities by id.

    `greedy` is the id that the server would write, which is the likeliest. `is_spoilt`
    says that the next likeliest were asked for, and are not among them.
    """

    greedy: int
    logp: dict[int, float]
    is_spoilt: bool = False

    def pairs(self) -> tuple[list[int], list[float]]:
        """Return ids and log-probabilities, the likeliest first, then the lowest id."""
        ordered = sorted(self.logp.items(), key=lambda item: (-item[1], item[0]))
        return [token for token, _ in ordered], [value for _, value in ordered]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a request asked for: the `top` likeliest tokens, or the ids `asked`."""

    n_prompts: int
    vocabulary_size: int
    top: int = 0
    asked: Sequence[int] = ()

    def is_complete(self, logp: dict[int, float]) -> bool:
        """Tell whether an answer lists what was asked for, with finite values.

        vLLM answers a request for the likeliest tokens with two entries, the second
        padding, where one for given ids shares its step.
        """
        wanted = [logp.get(token, MINUS_INFINITY) for token in self.asked]
        enough = len(logp) >= min(self.top, self.vocabulary_size)
        listed = wanted if self.asked else list(logp.values())
        return enough and all(value > MINUS_INFINITY for value in listed)


def read_completions(text: str, expected: Expected) -> list[NextToken | None]:
    """Return what an answer says of each prompt, None where it has to be asked again.

    Raises `MalformedAnswerError` for one that is not of the documented form, and
    `ModelError` for values that are no log-probabilities of this vocabulary.
    """
    content = parse_answer(text)
    choices = content.get("choices")
    if not isinstance(choices, list):
        raise MalformedAnswerError("no list of `choices`")
    if len(choices) != expected.n_prompts:
        raise WrongCountError(
            f"{len(choices)} choices for {expected.n_prompts} prompts"
        )
    by_index: dict[int, NextToken | None] = {}
    for choice in choices:
        index = choice.get("index") if isinstance(choice, dict) else None
        if type(index) is not int or index in by_index:
            raise MalformedAnswerError(
                f"a choice of index {index!r:.20}, twice or none"
            )
        by_index[index] = _read_choice(choice, expected)
    if sorted(by_index) != list(range(expected.n_prompts)):
        raise MalformedAnswerError("indices of choices that no prompt has")
    return [by_index[index] for index in range(expected.n_prompts)]


def parse_answer(text: str) -> dict[str, Any]:
    """Return the JSON object of an answer; raises `MalformedAnswerError`."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedAnswerError(f"no JSON, but {text[:60]!r}") from None
    if not isinstance(content, dict):
        raise MalformedAnswerError("no JSON object")
    if refusal := content.get("error"):  # gateways send it with status 200
        message = refusal.get("message") if isinstance(refusal, dict) else None
        raise MalformedAnswerError(f"an error: {str(message or refusal)[:200]}")
    return content


def _read_choice(choice: dict[str, Any], expected: Expected) -> NextToken | None:
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict):
        raise MalformedAnswerError("a choice without logprobs")
    tokens, listed = logprobs.get("tokens"), logprobs.get("top_logprobs")
    if not (
        isinstance(tokens, list) and isinstance(listed, list) and tokens and listed
    ):
        raise MalformedAnswerError("logprobs without tokens or top_logprobs")
    if not isinstance(listed[0], dict):
        raise MalformedAnswerError("top_logprobs of a token that are no object")
    size = expected.vocabulary_size
    logp = {token_id(key, size): check_logp(value) for key, value in listed[0].items()}
    greedy = token_id(tokens[0], size)
    if not expected.is_complete(logp) or greedy not in logp:
        return None
    # what was not asked for and has no probability fills a shorter answer
    logp = {token: value for token, value in logp.items() if value > MINUS_INFINITY}
    check_sum(logp.values())
    return NextToken(greedy, logp)


def token_id(key: Any, size: int) -> int:
    """Return the id behind ``token_id:308``; raises `ModelError` for any other text."""
    digits = str(key).removeprefix(TOKEN)
    if not str(key).startswith(TOKEN) or not (digits.isascii() and digits.isdigit()):
        raise ModelError(
            f"the server answers with the text {str(key)!r:.40} of a token and not "
            "with its id, and texts of different tokens may be equal: it does not know "
            "return_tokens_as_token_ids"
        )
    if int(digits) >= size:
        raise ModelError(
            f"the server answers with token {digits[:20]}, and the tokenizer here has "
            f"{size}: they belong to different models"
        )
    return int(digits)


def check_logp(value: Any) -> float:
    """Return a log-probability as a number; raises for what cannot be one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise MalformedAnswerError(f"a log-probability of {value!r:.40}")
    if math.isnan(value):
        raise MalformedAnswerError("a log-probability that is NaN")
    if value > _ROUNDING:
        raise ModelError(RAW_LOGITS)
    return max(min(float(value), 0.0), MINUS_INFINITY)


def check_sum(values: Any) -> None:
    """Raise `ModelError` where probabilities of different tokens exceed 1 together."""
    total = sum(map(math.exp, values))
    if total > 1 + _ROUNDING:
        raise ModelError(
            f"the server's probabilities of different tokens sum up to {total:.4f}: "
            "they are no log-probabilities of the whole vocabulary, or rounded to few "
            "digits that no bound would hold"
        )


def as_listed(answers: Sequence[NextToken], top: int) -> ListedTokens:
    """Return the answers as rows; those that list fewer tokens are padded with -1.

    Nothing that is not listed is likelier than the last of the `top` likeliest; where
    ids were asked for (`top` is 0), or the likeliest were not told, than the likeliest
    token.
    """
    width = max(len(answer.logp) for answer in answers)
    ids = np.full((len(answers), width), -1, dtype=np.int64)
    logp = np.full((len(answers), width), -np.inf)
    for row, answer in enumerate(answers):
        tokens, values = answer.pairs()
        ids[row, : len(tokens)], logp[row, : len(tokens)] = tokens, values
    kept = np.clip(top, 1, width) - 1 if top else 0
    spoilt = np.array([answer.is_spoilt for answer in answers])
    return ListedTokens(
        ids=ids,
        logp=logp,
        max_unlisted=np.where(spoilt, logp[:, 0], logp[:, kept]),
        n_top=np.where(spoilt, 1, top) if top and spoilt.any() else None,
    )
