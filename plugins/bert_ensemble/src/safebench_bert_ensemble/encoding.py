"""Turn samples into token windows, and windows into padded batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.records import Sample

    Array = np.ndarray[Any, np.dtype[Any]]

_ENDLESS = 1_000_000  # what tokenizers without a limit of their own report
_OFFSET_POSITIONS = ("roberta", "camembert", "xlm-roberta", "longformer", "mpnet")


@dataclass(frozen=True, slots=True)
class Windows:
    """W windows of B texts: token ids, segment ids (or None), and what was cut off.

    `offsets` (B + 1,): which windows belong to which text. `spans` (W, 2): the
    characters of the text that a window covers. `dropped` (B,): tokens in no window.
    """

    ids: list[list[int]]
    types: list[list[int]] | None
    offsets: Array
    spans: Array
    dropped: Array

    @property
    def lengths(self) -> list[int]:
        """Tokens of each window, (W,)."""
        return [len(row) for row in self.ids]


def read_text(sample: Sample) -> tuple[str, str]:
    """Return (context, judged text): a prompt has no context, a response its prompt."""
    position = sample.target % len(sample.turns)
    if sample.judged.role == "user":
        return "", sample.judged.text
    before = [turn.text for turn in sample.turns[:position]]
    return "\n".join(before), sample.judged.text


def token_limit(config: Any, tokenizer: Any, wanted: int = 0) -> int:
    """Return the most tokens a window may hold; `wanted` 0 asks for the model's own."""
    limits = [wanted] if wanted else []
    if tokenizer.model_max_length < _ENDLESS:
        limits.append(tokenizer.model_max_length)
    positions = getattr(config, "max_position_embeddings", None) or 0
    if config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    if positions > 0:
        limits.append(positions)
    return int(min(limits, default=512))


def encode(
    tokenizer: Any,
    texts: Sequence[tuple[str, str]],
    max_length: int,
    max_windows: int = 1,
) -> Windows:
    """Cut (context, text) pairs into windows of at most `max_length` tokens.

    Windows of one text overlap by a quarter; what is beyond `max_windows` is dropped.
    A context takes at most half of each window, its end first to go.
    """
    if not texts:
        none = np.zeros(1, dtype=np.int64)
        return Windows([], None, none, np.empty((0, 2), dtype=np.int64), none[:0])
    plain = [i for i, (context, _) in enumerate(texts) if not context]
    paired = [i for i, (context, _) in enumerate(texts) if context]
    found: dict[int, list[_Window]] = {}
    for rows, contextual in ((plain, False), (paired, True)):
        if rows:
            some = [texts[i] for i in rows]
            cut = _cut(tokenizer, some, max_length, contextual=contextual)
            found |= dict(zip(rows, cut, strict=True))
    return _joined([found[i] for i in range(len(texts))], max_windows)


def collate(rows: Sequence[Mapping[str, Any]], pad: int) -> dict[str, torch.Tensor]:
    """Pad rows (``input_ids``, maybe ``token_type_ids``, ``labels``) to the longest."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)  # (B, L)
    mask = torch.zeros_like(ids)
    batch = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in rows[0]:
        batch["token_type_ids"] = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        length = len(row["input_ids"])
        mask[at, :length] = 1
        for name in batch.keys() - {"attention_mask"}:
            batch[name][at, :length] = torch.as_tensor(row[name])
    if "labels" in rows[0]:
        batch["labels"] = torch.as_tensor([row["labels"] for row in rows])
    return batch


def as_rows(windows: Windows) -> list[dict[str, Any]]:
    """Return the windows as rows that `collate` takes."""
    if windows.types is None:
        return [{"input_ids": ids} for ids in windows.ids]
    pairs = zip(windows.ids, windows.types, strict=True)
    return [{"input_ids": ids, "token_type_ids": types} for ids, types in pairs]


@dataclass(frozen=True, slots=True)
class _Window:
    ids: list[int]
    types: list[int]
    span: tuple[int, int]
    fresh: int  # tokens of the text that no window before it holds


def _cut(
    tokenizer: Any, texts: list[tuple[str, str]], max_length: int, *, contextual: bool
) -> list[list[_Window]]:
    special = tokenizer.num_special_tokens_to_add(pair=contextual)
    room = max_length - special
    first = [context for context, _ in texts]
    if contextual:
        first = _shortened(tokenizer, first, room // 2)
        room -= room // 2
    inputs = (
        (first, [text for _, text in texts]) if contextual else ([t for _, t in texts],)
    )
    overlap = room // 4
    encoded = tokenizer(
        *inputs,
        truncation="only_second" if contextual else True,
        max_length=max_length,
        stride=overlap,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
        return_attention_mask=False,
    )
    windows: list[list[_Window]] = [[] for _ in texts]
    for at, owner in enumerate(encoded["overflow_to_sample_mapping"]):
        ours = 1 if contextual else 0
        parts = encoded.sequence_ids(at)
        spans = [
            span
            for span, part in zip(encoded["offset_mapping"][at], parts, strict=True)
            if part == ours
        ]
        before = windows[owner]
        again = overlap if before else 0
        span = (spans[0][0], spans[-1][1]) if spans else (0, 0)
        ids, types = encoded["input_ids"][at], encoded["token_type_ids"][at]
        before.append(_Window(ids, types, span, max(len(spans) - again, 0)))
    return windows


def _shortened(tokenizer: Any, texts: list[str], tokens: int) -> list[str]:
    """Cut texts after so many tokens."""
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    return [
        text if len(spans) <= tokens else text[: spans[tokens - 1][1]]
        for text, spans in zip(texts, offsets, strict=True)
    ]


def _joined(found: list[list[_Window]], most: int) -> Windows:
    kept = [window for windows in found for window in windows[:most]]
    counts = [min(len(windows), most) for windows in found]
    types = [window.types for window in kept]
    return Windows(
        ids=[window.ids for window in kept],
        types=types if any(map(any, types)) else None,
        offsets=np.cumsum([0, *counts]),
        spans=np.array([window.span for window in kept], dtype=np.int64),
        dropped=np.array([sum(w.fresh for w in windows[most:]) for windows in found]),
    )
