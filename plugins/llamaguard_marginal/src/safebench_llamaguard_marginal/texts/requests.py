"""How a text is asked for: the fields that a server takes, found out before the run.

Temperature is not all that shapes samples: servers cut off unlikely tokens unless they
are told not to. What one of them refuses is left out, and said.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench_llamaguard_marginal.engines.endpoint import Endpoint

    Prompt = Sequence[int] | Sequence[Mapping[str, str]]

# vLLM, llama.cpp, SGLang: the whole distribution, as the model gives it.
_WHOLE = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
_PROMPT_IDS = {"return_token_ids": True}  # vLLM
_MAX_SEED = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How one answer is written: greedily at temperature 0, else with a seed."""

    temperature: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestForm:
    """Which fields a request has, beside prompt and temperature.

    `whole` are fields that switch off cuts of the distribution, `top_p` the documented
    one of them. `budget` names the field of the largest number of tokens.
    """

    tokens: int
    whole: bool = True
    top_p: bool = True
    seeds: bool = True
    budget: str = "max_tokens"
    variables: Mapping[str, Any] = field(default_factory=dict)

    def without(self, refusal: str) -> RequestForm | None:
        """Return a form without what a server refuses, by its words; None: no other.

        Where it does not say what, what is documented least goes first.
        """
        named = refusal.casefold()
        if self.budget == "max_tokens" and "max_completion_tokens" in named:
            return replace(self, budget="max_completion_tokens")
        vendor = (*_WHOLE, *_PROMPT_IDS)
        if self.whole and any(name in named for name in vendor):
            return replace(self, whole=False)
        if self.top_p and "top_p" in named:
            return replace(self, top_p=False)
        if self.seeds and "seed" in named:
            return replace(self, seeds=False)
        if "temperature" in named:
            return None
        if self.whole:
            return replace(self, whole=False)
        if self.seeds:
            return replace(self, seeds=False)
        return replace(self, top_p=False) if self.top_p else None

    @property
    def facts(self) -> dict[str, Any]:
        """What of it shapes the answers, as JSON."""
        return {
            "seeds": self.seeds,
            "distribution": "whole"
            if self.whole
            else "top_p=1"
            if self.top_p
            else "as the server cuts it",
        }

    @property
    def notes(self) -> list[str]:
        """What whoever reads shares of samples has to know."""
        notes = []
        if not self.whole:
            notes.append(
                "the server was not told to sample from the whole distribution: its "
                "own top_k, min_p or penalties may shape the samples"
            )
        if not self.seeds:
            notes.append("the server takes no seeds: samples cannot be repeated")
        return notes


def write(
    endpoint: Endpoint, form: RequestForm, prompt: Prompt, sampling: Sampling
) -> str:
    """Return the server's answer to one prompt: token ids, or a conversation."""
    extra: dict[str, Any] = {}
    if form.whole:
        extra |= _WHOLE | _PROMPT_IDS
    if form.variables:
        extra["chat_template_kwargs"] = dict(form.variables)
    fields: dict[str, Any] = {
        "model": endpoint.served_model,
        "temperature": sampling.temperature,
        form.budget: form.tokens,
        "extra_body": extra or None,
    }
    if form.top_p:
        fields["top_p"] = 1.0
    if form.seeds and sampling.seed is not None:
        fields["seed"] = sampling.seed
    client = endpoint.client
    if prompt and isinstance(prompt[0], int):
        reply = client.completions.with_raw_response.create(
            prompt=list(prompt), **fields
        )
    else:
        reply = client.chat.completions.with_raw_response.create(
            messages=list(prompt), **fields
        )
    return str(reply.http_response.text)


def seed_of(seed: int, number: int, prompt: Prompt) -> int:
    """Return the seed of a sample: of its number and its prompt, whatever comes beside.

    Prompts that shared one would share their luck, and errors would not average out.
    """
    text = json.dumps([seed, number, list(prompt)], sort_keys=True, default=dict)
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") % _MAX_SEED
