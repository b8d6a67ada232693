"""Token ids of prompt and response: prompts lose their left, responses keep their end.

Both training and scoring go through `Encoder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from safebench.errors import ModelError, OptionError

if TYPE_CHECKING:
    from .template import Template

LEAST = 8  # tokens of the texts themselves: with fewer nothing is read


class TextError(Exception):
    """A text that no tokenizer takes, such as one with half a surrogate pair."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids with BOS and EOS, segment of each, and how many were left out.

    In one text, the response starts at the token `answer`; of two texts, `sides` says
    whose each token is (prompt 0, response 1, neither -1).
    """

    ids: tuple[int, ...]
    types: tuple[int, ...]
    dropped: int = 0
    answer: int = 0
    sides: tuple[int, ...] = ()


class Encoder:
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
        # a copy, so that nobody else's padding and truncation is changed
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        self.template = template
        self.max_length = max_length
        pair = template.kind == "pair"
        self._frame = ((), ()) if pair else self._ends(tokenizer)
        self._extra = self._backend.num_special_tokens_to_add(is_pair=True)
        spent = self._extra if pair else len(self.encode("", "").ids)
        if max_length < spent + LEAST:
            raise OptionError(
                f"max_length={max_length}: the template alone takes {spent} tokens; "
                f"{spent + LEAST} or more would work"
            )

    def encode(self, prompt: str, response: str) -> Encoded:
        """Return the ids of an exchange; raises TextError for what has none."""
        try:
            if self.template.kind == "pair":
                return self._pair(prompt, response)
            return self._text(prompt, response)
        except (TypeError, UnicodeError) as error:  # lone surrogates
            raise TextError(f"cannot be tokenised: {error}") from error

    def _pair(self, prompt: str, response: str) -> Encoded:
        """Join two texts as the tokenizer joins pairs."""
        asked = self._backend.encode(prompt, add_special_tokens=False)
        answer = self._backend.encode(response, add_special_tokens=False)
        whole = len(asked) + len(answer)
        room = self.max_length - self._extra
        answer.truncate(room, direction="left")
        asked.truncate(room - len(answer), direction="left")
        kept = len(asked) + len(answer)
        joined = self._backend.post_process(asked, answer)
        owners = iter([0] * len(asked) + [1] * len(answer))
        frame = joined.special_tokens_mask
        sides = tuple(-1 if added else next(owners) for added in frame)
        ids, types = tuple(joined.ids), tuple(joined.type_ids)
        return Encoded(ids, types, whole - kept, sides=sides)

    def _text(self, prompt: str, response: str) -> Encoded:
        """Encode one text, then leave out tokens of the prompt, then of the response.

        Only with all of the prompt gone does the response lose its beginning.
        """
        template = self.template
        head = template.before + prompt
        opened = head + template.between
        text = opened + response + template.after
        encoding = self._backend.encode(text, add_special_tokens=False)
        spans = (
            (len(template.before), len(head)),
            (len(opened), len(opened + response)),
        )
        owned = [_within(encoding.offsets, span) for span in spans]
        start, end = self._frame
        over = len(encoding.ids) + len(start) + len(end) - self.max_length
        gone = set([*owned[0], *owned[1]][: max(over, 0)])
        kept = [token for i, token in enumerate(encoding.ids) if i not in gone]
        ids = (*start, *kept, *end)
        first = owned[1][0] if owned[1] else len(encoding.ids)
        before = sum(i not in gone for i in range(first))
        return Encoded(ids, (0,) * len(ids), len(gone), len(start) + before)

    def _ends(self, tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return what the tokenizer puts around a text, with one EOS at the end."""
        plain = self._backend.encode("a", add_special_tokens=False).ids
        framed = self._backend.encode("a").ids
        at = next(
            (i for i in range(len(framed)) if framed[i : i + len(plain)] == plain), 0
        )
        end = framed[at + len(plain) :]
        if tokenizer.eos_token_id is None:
            raise ModelError("this model's tokenizer names no end-of-text token")
        if tokenizer.eos_token_id not in end:
            end = [*end, tokenizer.eos_token_id]
        return tuple(framed[:at]), tuple(end)


def _within(offsets: list[tuple[int, int]], span: tuple[int, int]) -> list[int]:
    """Return the tokens that lie, in part or whole, in a span of characters."""
    first, last = span
    return [i for i, (a, b) in enumerate(offsets) if a < last and b > first]
