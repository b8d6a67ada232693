"""Responses against documents: the windows of an encoder that checks claims.

A window holds the whole response (the claim) and a chunk of one document, which is cut
at ends of sentences. A claim is borne out where one chunk bears it out, so that the
chunk with the highest support counts: the rule of MiniCheck
(https://arxiv.org/abs/2404.10774) and of SummaC (https://arxiv.org/abs/2111.09525).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import ModelError

from .encoding import Windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.records import Sample

NO_DOCUMENTS = "no documents, which groundedness holds a response against"
# What ends a sentence, with quotes and brackets behind it, and the ends of lines. A
# point within a number or between letters ends none.
_SENTENCE_END = re.compile(r"(?:[.!?]+[\"'\u201d\u2019)\]]*(?=\s)|[\n\u3002])\s*")
_LEAST_ROOM = 8  # tokens of a document, below which a window says nothing


@dataclass(frozen=True, slots=True)
class DocumentWindows:
    """Windows of B claims, and why some have none that counts.

    A claim with an error has one window, which nobody reads.
    """

    windows: Windows
    errors: dict[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentEncoder:
    """Makes windows of at most `max_length` tokens from documents and claims.

    `joint` stands between the two in one text ("" makes them a pair of texts, as the
    tokenizer joins those). `chunk` is how many tokens of a document a window holds
    (0: all that there is room for).
    """

    tokenizer: Any
    max_length: int
    joint: str = ""
    chunk: int = 0
    segments: bool = True

    def encode(self, samples: Sequence[Sample], max_windows: int) -> DocumentWindows:
        """Return the windows of each sample, its documents one after another."""
        ids: list[list[int]] = []
        token_types: list[list[int]] = []
        counts, dropped, errors = [], [], {}
        for i, sample in enumerate(samples):
            claim = sample.judged.text
            rows, lost = [], 0
            problem = self._problem(sample)
            if not problem:
                chunks = [
                    chunk
                    for document in sample.documents
                    for chunk in self._chunks(document, claim)
                ]
                kept = chunks[:max_windows]
                lost = sum(self._count(chunk) for chunk in chunks[max_windows:])
                rows = [self._row(chunk, claim) for chunk in kept]
            else:
                errors[i] = problem
            rows = rows or [self._row("", "")]
            ids += [row[0] for row in rows]
            token_types += [row[1] for row in rows]
            counts.append(len(rows))
            dropped.append(lost)
        windows = Windows(
            ids=ids,
            token_types=token_types if any(map(any, token_types)) else None,
            offsets=np.cumsum([0, *counts]),
            spans=np.zeros((len(ids), 2), dtype=np.int64),
            dropped=np.array(dropped, dtype=np.int64),
        )
        return DocumentWindows(windows, errors)

    def _problem(self, sample: Sample) -> str:
        """Say why a sample cannot be read; "" if it can."""
        if not any(text.strip() for text in sample.documents):
            return NO_DOCUMENTS
        if self._room(sample.judged.text) < _LEAST_ROOM:
            # cut, it would be another claim
            n_tokens = self._count(sample.judged.text)
            return (
                f"the response has {n_tokens} tokens, which leaves no room for a "
                f"document in windows of {self.max_length}; shorter responses would "
                "work, such as one row a sentence"
            )
        return ""

    def _room(self, claim: str) -> int:
        """Return how many tokens of a document fit beside a claim."""
        return self.max_length - len(self._row("", claim)[0])

    def _chunks(self, document: str, claim: str) -> Iterator[str]:
        """Yield stretches of whole sentences, as many as fit into one window."""
        most = min(self._room(claim), self.chunk or self.max_length)
        sentences = list(_sentences(document))
        counts = map(self._count, sentences)
        packed, size = "", 0
        for sentence, count in zip(sentences, counts, strict=True):
            if packed and size + count > most:
                yield from self._fitting(packed, claim, most)
                packed, size = "", 0
            packed += sentence
            size += count
        yield from self._fitting(packed, claim, most)

    def _fitting(self, text: str, claim: str, most: int) -> Iterator[str]:
        """Yield a stretch, or the parts of one that is too long, cut between words.

        Sentences have other tokens together than alone, and one may be too long.
        """
        text = text.strip()
        if not text:
            return
        fits = len(self._row(text, claim)[0]) <= self.max_length
        if len(text) == 1 or (fits and self._count(text) <= most):
            yield text
            return
        middle = len(text) // 2
        blanks = [i for i, char in enumerate(text) if char.isspace()]
        cut = min(blanks, key=lambda i: abs(i - middle), default=middle)
        yield from self._fitting(text[:cut], claim, most)
        yield from self._fitting(text[cut:], claim, most)

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _row(self, document: str, claim: str) -> tuple[list[int], list[int]]:
        """Return the token ids of a document and a claim, and their segment ids."""
        texts = (document + self.joint + claim,) if self.joint else (document, claim)
        encoded = self.tokenizer(
            *texts, return_token_type_ids=self.segments, return_attention_mask=False
        )
        row: list[int] = encoded["input_ids"]
        types = encoded["token_type_ids"] if self.segments else []
        return row, types or [0] * len(row)


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text, with the blanks behind them."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    if start < len(text):
        yield text[start:]


def joint_text(tokenizer: Any, joint: str) -> str:
    """Return what stands between a document and a claim: `joint`, or a token's text.

    ``eos`` and ``sep`` are those of the tokenizer. Raises `ModelError` for one that
    it does not have.
    """
    tokens = {"eos": tokenizer.eos_token, "sep": tokenizer.sep_token}
    if joint not in tokens:
        return joint
    if not (text := tokens[joint]):
        raise ModelError(
            f"joint: {joint}: the tokenizer has no {joint} token; the profile can name "
            "another text"
        )
    return str(text)
