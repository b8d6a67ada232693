"""Samples as token windows, and windows as padded batches.

A text that is longer than an encoder reads is cut into windows that overlap, so that a
phrase at a cut stands whole in one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.records import Sample
    from safebench.typing import Array

_NO_LIMIT = 1_000_000  # tokenizers without a limit of their own report more
# Their first positions are reserved, up to and including the padding id.
_OFFSET_POSITIONS = ("roberta", "camembert", "xlm-roberta", "longformer", "mpnet")


@dataclass(frozen=True, slots=True)
class Windows:
    """W windows of B texts: token ids, segment ids (or None), and what was cut off.

    `offsets` (B + 1,): which windows belong to which text. `spans` (W, 2): the
    characters of the text that a window covers. `dropped` (B,): tokens in no window.
    """

    ids: list[list[int]]
    token_types: list[list[int]] | None
    offsets: Array
    spans: Array
    dropped: Array

    @property
    def lengths(self) -> list[int]:
        """Tokens of each window, (W,)."""
        return [len(row) for row in self.ids]

    @property
    def text_indices(self) -> list[int]:
        """Which text each window is of, (W,)."""
        counts = np.diff(self.offsets)
        indices: list[int] = np.repeat(np.arange(len(counts)), counts).tolist()
        return indices


def context_and_text(sample: Sample, *, pairs: bool = True) -> tuple[str, str]:
    """Return (context, judged text): a prompt has no context, a response its prompt.

    Without `pairs` nothing has: the model was trained on single texts.
    """
    position = sample.target % len(sample.turns)
    if not pairs or sample.judged.role == "user":
        return "", sample.judged.text
    before = [turn.text for turn in sample.turns[:position]]
    return "\n".join(before), sample.judged.text


def token_limit(config: Any, tokenizer: Any, requested: int = 0) -> int:
    """Return the most tokens a window may hold; 0 is the model's own."""
    limits = [requested] if requested else []
    if tokenizer.model_max_length < _NO_LIMIT:
        limits.append(tokenizer.model_max_length)
    positions = getattr(config, "max_position_embeddings", None) or 0
    if config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    if positions > 0:
        limits.append(positions)
    return int(min(limits, default=512))


def encode_windows(
    tokenizer: Any,
    texts: Sequence[tuple[str, str]],
    max_length: int,
    max_windows: int = 1,
    *,
    segments: bool = True,
) -> Windows:
    """Cut (context, text) pairs into windows of at most `max_length` tokens.

    Windows of one text overlap by a quarter; what is beyond `max_windows` is dropped.
    A context takes at most half of each window, its end first to go. With `segments`
    ids tell it from the text, for networks that were trained so.
    """
    if not texts:
        no_offsets = np.zeros(1, dtype=np.int64)
        no_spans = np.empty((0, 2), dtype=np.int64)
        return Windows([], None, no_offsets, no_spans, no_offsets[:0])
    by_text: list[list[_Window]] = [[] for _ in texts]
    # Apart, because a tokenizer adds other special tokens to one text than to two.
    for has_context in (False, True):
        rows = [
            i for i, (context, _) in enumerate(texts) if bool(context) == has_context
        ]
        if rows:
            cut = _tokenize_windows(
                tokenizer,
                [texts[i] for i in rows],
                max_length,
                contextual=has_context,
                segments=segments,
            )
            for row, windows in zip(rows, cut, strict=True):
                by_text[row] = windows
    return _join_windows(by_text, max_windows)


@dataclass(frozen=True, slots=True)
class _Window:
    ids: list[int]
    token_types: list[int]
    span: tuple[int, int]
    new_tokens: int  # tokens of the text that no window before it holds


def _tokenize_windows(
    tokenizer: Any,
    texts: list[tuple[str, str]],
    max_length: int,
    *,
    contextual: bool,
    segments: bool,
) -> list[list[_Window]]:
    """Return the windows of each text, all of them."""
    room = max_length - tokenizer.num_special_tokens_to_add(pair=contextual)
    judged = [text for _, text in texts]
    inputs: tuple[list[str], ...] = (judged,)
    if contextual:
        contexts = [context for context, _ in texts]
        inputs = (_truncate_texts(tokenizer, contexts, room // 2), judged)
        room -= room // 2
    overlap = room // 4
    encoded = tokenizer(
        *inputs,
        truncation="only_second" if contextual else True,
        max_length=max_length,
        stride=overlap,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=segments,
        return_attention_mask=False,
    )
    judged_sequence = 1 if contextual else 0  # the tokenizer's number of it
    by_text: list[list[_Window]] = [[] for _ in texts]
    for row, text_index in enumerate(encoded["overflow_to_sample_mapping"]):
        sequences = encoded.sequence_ids(row)
        spans = [
            span
            for span, sequence in zip(
                encoded["offset_mapping"][row], sequences, strict=True
            )
            if sequence == judged_sequence
        ]
        windows = by_text[text_index]
        repeated = overlap if windows else 0
        # Decoders' tokenizers make nothing of an empty text.
        ids = encoded["input_ids"][row] or [_any_special_token(tokenizer)]
        types = encoded["token_type_ids"][row] if segments else []
        windows.append(
            _Window(
                ids=ids,
                token_types=types or [0] * len(ids),
                span=(spans[0][0], spans[-1][1]) if spans else (0, 0),
                new_tokens=max(len(spans) - repeated, 0),
            )
        )
    return by_text


def _any_special_token(tokenizer: Any) -> int:
    """Return a token that stands for an empty text."""
    tokens = (
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.unk_token_id,
        tokenizer.pad_token_id,
    )
    return next((token for token in tokens if token is not None), 0)


def _truncate_texts(tokenizer: Any, texts: list[str], tokens: int) -> list[str]:
    """Cut texts after so many tokens."""
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    return [
        text if len(spans) <= tokens else text[: spans[tokens - 1][1]]
        for text, spans in zip(texts, offsets, strict=True)
    ]


def _join_windows(by_text: list[list[_Window]], max_windows: int) -> Windows:
    kept = [window for windows in by_text for window in windows[:max_windows]]
    counts = [min(len(windows), max_windows) for windows in by_text]
    token_types = [window.token_types for window in kept]
    dropped = [sum(w.new_tokens for w in windows[max_windows:]) for windows in by_text]
    return Windows(
        ids=[window.ids for window in kept],
        token_types=token_types if any(map(any, token_types)) else None,
        offsets=np.cumsum([0, *counts]),
        spans=np.array([window.span for window in kept], dtype=np.int64),
        dropped=np.array(dropped),
    )


def window_rows(windows: Windows) -> list[dict[str, Any]]:
    """Return the windows as rows that `collate` takes."""
    if windows.token_types is None:
        return [{"input_ids": ids} for ids in windows.ids]
    pairs = zip(windows.ids, windows.token_types, strict=True)
    return [{"input_ids": ids, "token_type_ids": types} for ids, types in pairs]


def collate(
    rows: Sequence[Mapping[str, Any]], pad_token_id: int
) -> dict[str, torch.Tensor]:
    """Pad rows (``input_ids``, maybe ``token_type_ids``, ``labels``) to the longest."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), width), pad_token_id, dtype=torch.long)  # (B, L)
    mask = torch.zeros_like(ids)
    batch = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in rows[0]:
        batch["token_type_ids"] = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        length = len(row["input_ids"])
        mask[i, :length] = 1
        for name in batch.keys() - {"attention_mask"}:
            batch[name][i, :length] = torch.as_tensor(row[name])
    if "labels" in rows[0]:
        batch["labels"] = torch.as_tensor([row["labels"] for row in rows])
    return batch
