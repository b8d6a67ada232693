"""Tokenization of rendered prompts, and truncation that spares the template.

Control tokens are recognised in the template alone. The same characters inside a turn
are encoded as plain text, so that a judged text cannot end its own turn.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from .chat_template import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .prompt_format import RenderedPrompt

TEMPLATE = -1  # the turn of a token that belongs to the template


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """Token ids, BOS included, and the turn that each lies in (-1: the template)."""

    ids: tuple[int, ...]
    turn_indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TruncatedPrompt:
    """A prompt's token ids within a limit, and how many were dropped on which side."""

    ids: tuple[int, ...]
    tokens_dropped: int = 0
    dropped_side: str = ""


class PromptEncoder:
    """Encode rendered prompts with a fast tokenizer.

    A prompt begins with exactly one BOS if the tokenizer adds one (`adds_bos`) or the
    template begins with one, and with none otherwise; what a template writes further on
    is its own. `control_tokens` maps texts of control tokens to
    ids.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        added = self._backend.get_added_tokens_decoder()
        self.control_tokens = {token.content: i for i, token in added.items()}
        # Longest first: a control token may begin with another.
        texts = sorted(map(re.escape, self.control_tokens), key=len, reverse=True)
        self._control_text = re.compile("|".join(texts) or r"(?!)")
        self.bos: int | None = tokenizer.bos_token_id
        self.adds_bos = self.bos in self._backend.encode("a").ids

    def encode(self, prompt: RenderedPrompt) -> EncodedPrompt:
        """Return the prompt's ids; raises PromptError for what cannot be encoded."""
        try:
            ids, offsets = self._ids(prompt)
        except (TypeError, UnicodeError) as error:  # lone surrogates
            raise PromptError(f"cannot be tokenised: {error}") from error
        return self._with_bos(ids, _turn_indices(offsets, prompt.spans))

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of a text by itself, without BOS."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def _ids(self, prompt: RenderedPrompt) -> tuple[list[int], list[tuple[int, int]]]:
        """Return token ids, and the characters (start, end) of each."""
        matches = [m.span() for m in self._control_text.finditer(prompt.text)]
        if all(_outside_turns(span, prompt.spans) for span in matches):
            whole = self._backend.encode(prompt.text, add_special_tokens=False)
            return whole.ids, whole.offsets
        return self._encode_segments(prompt)

    def _encode_segments(
        self, prompt: RenderedPrompt
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Encode a prompt whose turns contain the text of control tokens."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for start, end, control in self._segments(prompt):
            if control is not None:
                ids.append(control)
                offsets.append((start, end))
                continue
            text = prompt.text[start:end]
            plain = self._plain_tokenizer.encode(text, add_special_tokens=False)
            if not self.control_ids.isdisjoint(plain.ids):
                raise PromptError("a control token in a turn cannot be read as text")
            ids += plain.ids
            offsets += [(start + a, start + b) for a, b in plain.offsets]
        return ids, offsets

    def _segments(
        self, prompt: RenderedPrompt
    ) -> Iterator[tuple[int, int, int | None]]:
        """Yield (start, end, id of a control token of the template or None)."""
        edges = [0, *(e for _, a, b in prompt.spans for e in (a, b)), len(prompt.text)]
        done = 0
        for start, end in list(pairwise(edges))[::2]:  # the template around the turns
            for match in self._control_text.finditer(prompt.text, start, end):
                yield done, match.start(), None
                yield *match.span(), self.control_tokens[match.group()]
                done = match.end()
        yield done, len(prompt.text), None

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids of `control_tokens`."""
        return frozenset(self.control_tokens.values())

    @cached_property
    def _plain_tokenizer(self) -> Tokenizer:
        """The same tokenizer without any control token."""
        parts = json.loads(self._backend.to_str())
        parts["added_tokens"] = []
        parts["post_processor"] = None  # it may refer to the tokens that are removed
        return Tokenizer.from_str(json.dumps(parts))

    def _with_bos(self, ids: Sequence[int], turns: Sequence[int]) -> EncodedPrompt:
        """Put one BOS in front, in place of those that the template wrote there."""
        leading = 0
        while leading < len(ids) and ids[leading] == self.bos:
            leading += 1
        if not (leading or self.adds_bos):
            return EncodedPrompt(tuple(ids), tuple(turns))
        assert self.bos is not None
        # Those further on are the template's: texts are encoded without any.
        return EncodedPrompt((self.bos, *ids[leading:]), (TEMPLATE, *turns[leading:]))


def truncate(
    prompt: EncodedPrompt, limit: int, judged_turn: int, side: str
) -> TruncatedPrompt:
    """Drop what exceeds `limit` tokens: earlier turns first, oldest text first.

    Only then the judged turn loses its `side` (left or right). The template loses
    nothing: without its end a guard would continue the conversation. Raises PromptError
    if the template and one token of the judged turn do not fit.
    """
    excess = len(prompt.ids) - limit
    if excess <= 0:
        return TruncatedPrompt(prompt.ids)
    context, target = _context_and_target(prompt, judged_turn)
    cut = max(0, excess - len(context))
    _check_room(cut, len(target), limit)
    dropped = set(context[:excess])
    dropped.update(target[:cut] if side == "left" else target[len(target) - cut :])
    return TruncatedPrompt(_without(prompt, dropped), excess, side if cut else "left")


def split_windows(
    prompt: EncodedPrompt, limit: int, judged_turn: int
) -> list[TruncatedPrompt]:
    """Return prompts within `limit` that together cover the whole judged turn.

    Neighbours share about a quarter of their text, so that what one window cuts in two
    stands whole in the next. Earlier turns are dropped, oldest text first, before the
    judged turn is divided at all; what is dropped counts once.
    """
    excess = len(prompt.ids) - limit
    context, target = _context_and_target(prompt, judged_turn)
    if excess <= len(context):
        return [truncate(prompt, limit, judged_turn, "left")]
    room = len(target) - (excess - len(context))
    _check_room(len(target) - room, len(target), limit)
    return [
        _window(prompt, set(context), target, start, start + room, len(context))
        for start in _window_starts(len(target), room)
    ]


def _context_and_target(
    prompt: EncodedPrompt, judged_turn: int
) -> tuple[list[int], list[int]]:
    """Return the positions of the tokens of earlier turns, and of the judged one."""
    turns = list(enumerate(prompt.turn_indices))
    context = [i for i, turn in turns if TEMPLATE < turn < judged_turn]
    return context, [i for i, turn in turns if turn == judged_turn]


def _without(prompt: EncodedPrompt, dropped: set[int]) -> tuple[int, ...]:
    """Return the prompt's ids but those at the positions `dropped`."""
    return tuple(token for i, token in enumerate(prompt.ids) if i not in dropped)


def _window(
    prompt: EncodedPrompt,
    context: set[int],
    target: Sequence[int],
    start: int,
    end: int,
    dropped: int,
) -> TruncatedPrompt:
    ids = _without(prompt, context.union(target[:start], target[end:]))
    return TruncatedPrompt(ids, dropped, "left" if dropped else "")


def _window_starts(length: int, room: int) -> list[int]:
    """Return evenly spaced starts of windows of `room` that overlap by a quarter."""
    step = max(1, room - room // 4)
    count = -(-(length - room) // step) + 1  # rounded up
    return [round(i * (length - room) / (count - 1)) for i in range(count)]


def _check_room(cut: int, available: int, limit: int) -> None:
    if cut >= available:
        raise PromptError(
            f"max_length {limit} leaves no room for the judged turn: it is "
            f"{cut - available + 1} tokens short"
        )


def _outside_turns(
    span: tuple[int, int], turns: Sequence[tuple[int, int, int]]
) -> bool:
    return all(span[1] <= start or end <= span[0] for _, start, end in turns)


def _turn_indices(
    offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int, int]]
) -> list[int]:
    """Return the turn that each token lies in wholly; both are in text order.

    A token across the border of a turn belongs to the template: dropping it would take
    a piece of the template away.
    """
    turns, at = [], 0
    for start, end in offsets:
        while at < len(spans) and spans[at][2] <= start:
            at += 1
        inside = at < len(spans) and spans[at][1] <= start and end <= spans[at][2]
        turns.append(spans[at][0] if inside else TEMPLATE)
    return turns
