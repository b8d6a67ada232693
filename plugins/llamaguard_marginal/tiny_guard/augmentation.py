"""Texts without a label, made from the training prompts for the teacher to judge.

A small model learns more from many texts with soft verdicts than from few rows:
words are swapped for their neighbours in the MiniLM vocabulary, frames get each
other's fillers, long prompts are cut to sentences, and short prompts are joined.
"""

from __future__ import annotations

import random
import re
import tomllib
from typing import TYPE_CHECKING

import numpy as np
from transformers import AutoModel, AutoTokenizer

from tiny_guard.rows import TrainingRow, fraction, normalise
from tiny_guard.sources import HERE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WORD = re.compile(r"[A-Za-z]{3,}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
NEIGHBOURS = 8
SWAP_PROBABILITY = 0.3
# Characters up to which a prompt counts as short.
SHORT_PROMPT = 200
# Characters of the shortest and longest sentence cut from a prompt.
SENTENCE_LENGTHS = (25, 300)


def neighbour_table(
    folder: Path, words: set[str], count: int = NEIGHBOURS
) -> dict[str, list[str]]:
    """Nearest `count` whole words of each word by cosine of MiniLM's word vectors."""
    vocabulary: dict[str, int] = AutoTokenizer.from_pretrained(folder).get_vocab()
    weight = AutoModel.from_pretrained(folder).get_input_embeddings().weight
    # The vocabulary comes in no fixed order.
    words_only = (word for word in vocabulary if _WORD.fullmatch(word))
    whole_words = sorted(words_only)
    vectors = weight.detach().numpy()[[vocabulary[word] for word in whole_words]]
    vectors = vectors - vectors.mean(0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = [place for place, word in enumerate(whole_words) if word in words]
    table: dict[str, list[str]] = {}
    for start in range(0, len(places), 500):
        chunk = places[start : start + 500]
        close = vectors[chunk] @ vectors.T
        best = np.argpartition(-close, count + 1, axis=1)[:, : count + 1]
        for place, near in zip(chunk, best, strict=True):
            table[whole_words[place]] = [
                whole_words[index] for index in sorted(near) if index != place
            ]
    return table


def words_of(texts: list[str]) -> set[str]:
    """Lower-case words of the texts, of three letters or more."""
    return {word.lower() for text in texts for word in _WORD.findall(text)}


def swap_words(text: str, table: dict[str, list[str]], draw: random.Random) -> str:
    """Replace about three words in ten by a neighbour."""

    def replace(match: re.Match[str]) -> str:
        near = table.get(match[0].lower())
        return (
            draw.choice(near) if near and draw.random() < SWAP_PROBABILITY else match[0]
        )

    return _WORD.sub(replace, text)


def sentences(rows: list[TrainingRow]) -> Iterator[str]:
    """Single sentences of the longer prompts."""
    for row in rows:
        if len(row.prompt) > SHORT_PROMPT:
            parts = _SENTENCE.split(row.prompt)
            yield from (
                part
                for part in parts
                if SENTENCE_LENGTHS[0] <= len(part) <= SENTENCE_LENGTHS[1]
            )


def crossed_frames() -> Iterator[str]:
    """Every contrast frame with the fillers of all the others."""
    path = HERE / "contrast.toml"
    frames = tomllib.loads(path.read_text(encoding="utf-8"))["frame"]
    fillers = [text for frame in frames for text in frame["safe"] + frame["unsafe"]]
    for frame in frames:
        for say in frame["say"]:
            yield from (say.replace("{x}", filler) for filler in fillers)


def choose_by_hash(texts: list[str], count: int, seed: int) -> list[str]:
    """About `count` of the texts, each kept or not by its own hash."""
    share = count / max(1, len(texts))
    return [text for text in texts if fraction(text, f"{seed}/variants") < share]


def unlabelled_texts(
    rows: list[TrainingRow], forbidden: set[str], folder: Path, count: int, seed: int
) -> list[TrainingRow]:
    """About `count` new texts: half swapped words, the rest cut, joined or crossed.

    None of them is a training prompt or has its normalised text in `forbidden`.
    """
    prompts = (row.prompt for row in rows if not row.response)
    short = [prompt for prompt in prompts if len(prompt) <= SHORT_PROMPT]
    table = neighbour_table(folder, words_of(short))
    texts: list[str] = []
    for text in short:
        # A generator of its own for each text: an edited row changes no other.
        draw = random.Random(f"{seed}/{text}")  # noqa: S311 - no secret
        copies = count / 2 / len(short)
        times = int(copies) + (draw.random() < copies % 1)
        texts += [swap_words(text, table, draw) for _ in range(times)]
        if draw.random() < count / 10 / len(short):
            texts.append(f"{text} {draw.choice(short)}")
    texts += choose_by_hash(list(sentences(rows)), count // 5, seed)
    texts += choose_by_hash(list(crossed_frames()), count // 5, seed)
    known = forbidden | {normalise(row.prompt) for row in rows}
    fresh = {normalise(text): text for text in texts}
    return [
        TrainingRow("variants", text, None, None)
        for key, text in fresh.items()
        if key and key not in known
    ]
