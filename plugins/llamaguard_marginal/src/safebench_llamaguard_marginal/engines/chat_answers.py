"""Answers of ``POST /v1/chat/completions``: what a model wrote, token by token.

Tokens come as ids from vLLM, and as texts with their bytes from other servers; a text
is taken for a token only where the vocabulary has one such token.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.services import MalformedAnswerError, UnreadableAnswerError

from .completion_answers import (
    MINUS_INFINITY,
    TOKEN,
    NextToken,
    check_logp,
    check_sum,
    parse_answer,
    token_id,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class NoLogprobsError(Exception):
    """The server writes verdicts and says nothing of their probabilities."""


class TokenNames:
    """Finds the id of a token that a server names.

    `token_bytes` (V,) are the bytes of every token, `names` ids by the text of a token
    that has none.
    """

    def __init__(self, token_bytes: Sequence[bytes], names: Mapping[str, int]) -> None:
        count = Counter(token_bytes)
        self.size = len(token_bytes)
        self._names = names
        self._by_bytes = {
            text: token
            for token, text in enumerate(token_bytes)
            if text and count[text] == 1
        }

    def find(self, entry: Mapping[str, Any]) -> int:
        """Return the id of a token; raises `UnreadableAnswerError` if it is not one."""
        text = entry.get("token")
        if isinstance(text, str) and text.startswith(TOKEN):
            return token_id(text, self.size)
        spelled = entry.get("bytes")
        if not isinstance(text, str):
            raise MalformedAnswerError("a token without its text")
        if isinstance(spelled, list) and all(
            type(byte) is int and 0 <= byte < 1 << 8 for byte in spelled
        ):
            content = bytes(spelled)
        else:
            content = text.encode()
        found = self._by_bytes.get(content, self._names.get(text))
        if found is None:
            raise UnreadableAnswerError(
                f"{text!r:.40} is none of the tokens here, or the text of several"
            )
        return found


@dataclass(frozen=True, slots=True)
class WrittenVerdict:
    """What a model wrote after a prompt: a step for every token, its end included.

    `prompt_ids` is the prompt as the server read it, None where it does not say, and
    `n_prompt` how many tokens it had (0: it does not say).
    """

    steps: tuple[NextToken, ...]
    prompt_ids: tuple[int, ...] | None
    n_prompt: int

    def is_about(self, prompt: Sequence[int]) -> bool:
        """Tell whether the server read `prompt`, as far as it says."""
        if self.prompt_ids is not None:
            return self.prompt_ids == tuple(prompt)
        return self.n_prompt in (0, len(prompt))


def read_chat(text: str, names: TokenNames, top: int) -> WrittenVerdict | None:
    """Return what a server wrote, None where it has to be asked again.

    Raises `NoLogprobsError`, `MalformedAnswerError`, and `UnreadableAnswerError` for
    tokens that the vocabulary does not have.
    """
    content = parse_answer(text)
    choices = content.get("choices")
    if not isinstance(choices, list) or len(choices) != 1:
        raise MalformedAnswerError("no list of one choice")
    logprobs = choices[0].get("logprobs") if isinstance(choices[0], dict) else None
    entries = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(entries, list):
        raise NoLogprobsError
    steps = [_read_step(entry, names, top) for entry in entries]
    if not all(steps):
        return None
    ids, usage = content.get("prompt_token_ids"), content.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return WrittenVerdict(
        tuple(step for step in steps if step),
        tuple(ids) if isinstance(ids, list) else None,
        count if type(count) is int else 0,
    )


def _read_step(entry: Any, names: TokenNames, top: int) -> NextToken | None:
    """Return one token with its alternatives, None where there are too few."""
    alternatives = entry.get("top_logprobs") if isinstance(entry, dict) else None
    if not isinstance(alternatives, list) or not all(
        isinstance(alternative, dict) for alternative in alternatives
    ):
        raise MalformedAnswerError("a token without top_logprobs")
    logp = {names.find(a): check_logp(a.get("logprob")) for a in alternatives}
    written = names.find(entry)
    # the token that was written is listed even where it is not among the likeliest
    logp[written] = check_logp(entry.get("logprob"))
    if len(logp) < min(top, names.size) or min(logp.values()) <= MINUS_INFINITY:
        return None
    check_sum(logp.values())
    return NextToken(written, logp)
