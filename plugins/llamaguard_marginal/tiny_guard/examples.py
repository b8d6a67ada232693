"""Rows as token ids: shared prefix of the template, then text, then the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiny_guard.prompt import answer
from tiny_guard.rows import TrainingRow, fraction

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

LONG_SHARE = 0.1
LONG_LIMIT = 700
ChatMessages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """One row ready for training.

    `ids` follow the prefix and hold text and answer; the last `answered` of them are
    the answer. `target` is P(unsafe) at the verdict token, `text` its row number.
    """

    agent: bool
    ids: tuple[int, ...]
    answer_length: int
    target: float
    row_number: int


def shorten_middle(text: str, keep: int) -> str:
    """At most `keep` characters: two thirds from the start, one third from the end."""
    if len(text) <= keep:
        return text
    tail = keep // 3
    return f"{text[: keep - tail]} ... {text[-tail:]}"


def render(tokenizer: Any, messages: ChatMessages) -> list[int]:
    """Token ids of the prompt, one BOS first."""
    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def render_within(tokenizer: Any, messages: ChatMessages, limit: int) -> list[int]:
    """Render to about `limit` tokens: the longest turn is shortened, in few cuts."""
    ids = render(tokenizer, messages)
    for _ in range(4):
        if len(ids) <= limit:
            break
        longest = max(messages, key=lambda turn: len(turn["content"]))
        keep = int(len(longest["content"]) * 0.95 * limit / len(ids))
        messages = [
            {**turn, "content": shorten_middle(turn["content"], max(20, keep))}
            if turn is longest
            else turn
            for turn in messages
        ]
        ids = render(tokenizer, messages)
    return ids


def shared_prefix(tokenizer: Any, agent: bool) -> list[int]:
    """Find the ids that every prompt with this judged role starts with."""
    turns = [[{"role": "user", "content": text}] for text in ("word", "7", "\u00e9")]
    if agent:
        for turn in turns:
            turn.append({"role": "assistant", "content": "yes"})
    first, *others = (render(tokenizer, turn) for turn in turns)
    length = 0
    while all(other[length] == first[length] for other in others):
        length += 1
    return first[:length]


def encode_row(
    tokenizer: Any, row: TrainingRow, number: int, target: float, limit: int
) -> EncodedRow:
    """Encode one row; a row without a label stops before the verdict."""
    agent = row.response is not None
    # A few long rows keep more of their text, so that late positions are trained.
    if fraction(row.prompt, "long") < LONG_SHARE:
        limit = LONG_LIMIT
    prefix = shared_prefix_cached(tokenizer, agent)
    ids = render_within(tokenizer, row.messages, limit)
    if ids[: len(prefix)] != prefix:
        raise ValueError(f"the prompt does not start with the prefix: {row.prompt!r}")
    verdict = "\n\n" if row.unsafe is None else answer(row)
    answer_ids = tokenizer.encode(verdict, add_special_tokens=False)
    body = tuple(ids[len(prefix) :] + answer_ids)
    return EncodedRow(agent, body, len(answer_ids), target, number)


_PREFIXES: dict[tuple[int, bool], list[int]] = {}


def shared_prefix_cached(tokenizer: Any, agent: bool) -> list[int]:
    """As `shared_prefix`, worked out once for each tokenizer and role."""
    key = (id(tokenizer), agent)
    if key not in _PREFIXES:
        _PREFIXES[key] = shared_prefix(tokenizer, agent)
    return _PREFIXES[key]


def epoch_batches(
    examples: Sequence[EncodedRow], size: int, draw: random.Random
) -> Iterator[list[EncodedRow]]:
    """Batches of one role and like length, in random order."""
    batches: list[list[EncodedRow]] = []
    for agent in (False, True):
        chosen = [example for example in examples if example.agent is agent]
        chosen.sort(key=lambda example: len(example.ids) * draw.uniform(0.9, 1.1))
        starts = range(0, len(chosen), size)
        batches.extend(chosen[start : start + size] for start in starts)
    draw.shuffle(batches)
    yield from batches


def endless_batches(
    examples: Sequence[EncodedRow], size: int, draw: random.Random
) -> Iterator[list[EncodedRow]]:
    """Epoch after epoch of batches."""
    while True:
        yield from epoch_batches(examples, size, draw)
