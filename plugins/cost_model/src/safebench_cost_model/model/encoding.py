"""Exchanges (a prompt and a response) as token ids, and padded batches of them.

Training and scoring share this code: costs of texts that are cut or framed in another
way would not compare. What is too long loses the beginning of its prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer

from safebench.errors import ModelError, OptionError
from safebench.torch_utils import tokenization_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .template import Template

MIN_TEXT_TOKENS = 8  # of prompt and response: with fewer, nothing of them is read
PROMPT, RESPONSE, SPECIAL = 0, 1, -1  # whose token it is


class TokenizationError(Exception):
    """A text that no tokenizer takes, such as one with half a surrogate pair."""


@dataclass(frozen=True, slots=True)
class EncodedExchange:
    """Token ids with BOS and EOS, segment of each, and how many were left out.

    In one text, the response starts at the token `response_start`; of two texts,
    `sides` says whose each token is (prompt 0, response 1, neither -1).
    """

    ids: tuple[int, ...]
    token_types: tuple[int, ...]
    dropped: int = 0
    response_start: int = 0
    sides: tuple[int, ...] = ()


class ExchangeEncoder:
    """Encodes exchanges by one template, within `max_length` tokens.

    Control tokens that a text spells out are read as text. Decoders get one EOS at the
    end, so that the scored token is always the same.
    """

    def __init__(self, tokenizer: Any, template: Template, max_length: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                "this model's tokenizer has no tokenizer.json form; "
                "convert it to a fast tokenizer first"
            )
        # A copy, because padding and truncation are settings of the shared object.
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        self.template = template
        self.max_length = max_length
        self._num_special_tokens = self._backend.num_special_tokens_to_add(is_pair=True)
        self._special_tokens: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        if template.kind == "pair":
            overhead = self._num_special_tokens
        else:
            self._special_tokens = self._special_tokens_around(tokenizer)
            overhead = len(self.encode("", "").ids)
        if max_length < overhead + MIN_TEXT_TOKENS:
            raise OptionError(
                f"max_length={max_length}: the template alone takes {overhead} tokens; "
                f"{overhead + MIN_TEXT_TOKENS} or more would work"
            )

    def encode(self, prompt: str, response: str) -> EncodedExchange:
        """Return the ids of an exchange; `TokenizationError` for what has none."""
        try:
            with tokenization_errors("of this tokenizer"):
                if self.template.kind == "pair":
                    return self._encode_pair(prompt, response)
                return self._encode_text(prompt, response)
        # Lone surrogates, and expressions that take the text for too long.
        except (TypeError, UnicodeError, ModelError) as error:
            raise TokenizationError(f"cannot be tokenised: {error}") from error

    def _encode_pair(self, prompt: str, response: str) -> EncodedExchange:
        """Join two texts as the tokenizer joins pairs."""
        first = self._backend.encode(prompt, add_special_tokens=False)
        second = self._backend.encode(response, add_special_tokens=False)
        n_tokens = len(first) + len(second)
        room = self.max_length - self._num_special_tokens
        second.truncate(room, direction="left")
        first.truncate(room - len(second), direction="left")
        n_kept = len(first) + len(second)
        joined = self._backend.post_process(first, second)
        owners = iter([PROMPT] * len(first) + [RESPONSE] * len(second))
        sides = tuple(
            SPECIAL if is_special else next(owners)
            for is_special in joined.special_tokens_mask
        )
        return EncodedExchange(
            ids=tuple(joined.ids),
            token_types=tuple(joined.type_ids),
            dropped=n_tokens - n_kept,
            sides=sides,
        )

    def _encode_text(self, prompt: str, response: str) -> EncodedExchange:
        """Encode one text, then leave out tokens of the prompt, then of the response.

        Only with all of the prompt gone does the response lose its beginning.
        """
        template = self.template
        up_to_prompt = template.before + prompt
        up_to_response = up_to_prompt + template.between
        text = up_to_response + response + template.after
        # In one piece: a tokenizer may join characters across the borders.
        encoding = self._backend.encode(text, add_special_tokens=False)
        prompt_tokens = _tokens_in_span(
            encoding.offsets, len(template.before), len(up_to_prompt)
        )
        response_tokens = _tokens_in_span(
            encoding.offsets, len(up_to_response), len(up_to_response + response)
        )
        start, end = self._special_tokens
        excess = len(encoding.ids) + len(start) + len(end) - self.max_length
        dropped = set([*prompt_tokens, *response_tokens][: max(excess, 0)])
        kept = [token for i, token in enumerate(encoding.ids) if i not in dropped]
        ids = (*start, *kept, *end)
        first = response_tokens[0] if response_tokens else len(encoding.ids)
        kept_before = sum(i not in dropped for i in range(first))
        return EncodedExchange(
            ids=ids,
            token_types=(0,) * len(ids),
            dropped=len(dropped),
            response_start=len(start) + kept_before,
        )

    def _special_tokens_around(
        self, tokenizer: Any
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return what the tokenizer puts around a text, with one EOS at the end."""
        bare = self._backend.encode("a", add_special_tokens=False).ids
        framed = self._backend.encode("a").ids
        at = next(
            (i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), 0
        )
        end = framed[at + len(bare) :]
        if tokenizer.eos_token_id is None:
            raise ModelError("this model's tokenizer names no end-of-text token")
        if tokenizer.eos_token_id not in end:
            end = [*end, tokenizer.eos_token_id]
        return tuple(framed[:at]), tuple(end)


def _tokens_in_span(offsets: list[tuple[int, int]], first: int, last: int) -> list[int]:
    """Return the tokens that lie, in part or whole, between two characters."""
    return [i for i, (a, b) in enumerate(offsets) if a < last and b > first]


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Both exchanges of a pair as token ids, and the targets of `PairLoss`.

    `group` is the prompt's: pairs of one prompt share responses.
    """

    first: EncodedExchange
    second: EncodedExchange
    targets: tuple[float, float, float, float]
    group: str = ""

    @property
    def length(self) -> int:
        """Tokens of the longer exchange."""
        return max(len(self.first.ids), len(self.second.ids))


@dataclass(frozen=True, slots=True)
class ExchangeCollator:
    """Puts the responses of B pairs into one padded batch, each of them once.

    A response that stands in several pairs of a batch is a single row of it.
    """

    pad_token_id: int
    with_token_types: bool
    with_sides: bool = False

    def __call__(self, pairs: Sequence[EncodedPair]) -> dict[str, Tensor]:
        """Return the network's inputs, `row_index` (B, 2) and the targets (B, 4).

        `row_index` says in which row the cost of either response is found.
        """
        rows: dict[EncodedExchange, int] = {}
        row_index = [
            [rows.setdefault(row, len(rows)) for row in (pair.first, pair.second)]
            for pair in pairs
        ]
        targets = torch.tensor([pair.targets for pair in pairs], dtype=torch.float32)
        return self.pad_rows(list(rows)) | {
            "row_index": torch.tensor(row_index),
            "targets": targets,
        }

    def pad_rows(self, rows: Sequence[EncodedExchange]) -> dict[str, Tensor]:
        """Return ids, mask and what else the network takes, each (N, T)."""
        batch = {
            "input_ids": _pad([row.ids for row in rows], self.pad_token_id),
            "attention_mask": _pad([(1,) * len(row.ids) for row in rows], 0),
        }
        if self.with_token_types:
            batch["token_type_ids"] = _pad([row.token_types for row in rows], 0)
        if self.with_sides:
            batch["sides"] = _pad([row.sides for row in rows], SPECIAL)
        return batch


def _pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Return rows as one tensor, filled up with `value` on the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
