"""The training corpus: read, clean of held-out prompts, capped, split."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tiny_guard.contrast_pairs import contrast_pairs
from tiny_guard.held_out import held_out_sets, is_openai_held_out
from tiny_guard.rows import TrainingRow, fraction, normalise
from tiny_guard.sources import HERE, READERS, SOURCES, project_prompts
from tiny_guard.synthetic_answers import answer_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Share of every training source that is kept for measuring.
VALIDATION = 0.08


@dataclass(slots=True)
class Corpus:
    """Labelled rows to train on, unlabelled texts, and what was kept apart."""

    train: list[TrainingRow]
    validation: list[TrainingRow]
    unlabelled: list[TrainingRow]
    held_out: dict[str, list[TrainingRow]]
    forbidden: set[str]
    dropped: Counter[str] = field(default_factory=Counter)


def read_sources(data: Path) -> Iterator[TrainingRow]:
    """Rows of every licence-clean source, in a fixed order."""
    for name, read in READERS.items():
        yield from read(data / SOURCES["rows"][name]["path"])
    yield from project_prompts(HERE / "prompts.jsonl")
    yield from contrast_pairs(HERE / "contrast.toml")


def prompt_keys(rows: Iterable[TrainingRow]) -> set[str]:
    """Normalised prompts, the unit in which two sets are said to overlap."""
    return {normalise(row.prompt) for row in rows}


def drop_unusable(
    rows: Iterable[TrainingRow], forbidden: set[str], dropped: Counter[str]
) -> Iterator[TrainingRow]:
    """Rows with a text of their own that no held-out set contains."""
    seen: set[str] = set()
    for row in rows:
        if not normalise(row.prompt):
            dropped["empty"] += 1
        elif row.source == "openai-moderation" and is_openai_held_out(row):
            dropped["held-out half"] += 1
        elif normalise(row.prompt) in forbidden:
            dropped["in a held-out set"] += 1
        elif row.key in seen:
            dropped["duplicate"] += 1
        else:
            seen.add(row.key)
            yield row


def cap_per_source(rows: Iterable[TrainingRow], seed: int) -> list[TrainingRow]:
    """At most `cap` rows a source and kind, drawn at random, order kept."""
    groups: dict[tuple[str, str, bool], list[TrainingRow]] = defaultdict(list)
    for row in rows:
        groups[(row.source, row.origin, row.unsafe is None)].append(row)
    chosen_rows: list[TrainingRow] = []
    for (source, _, _), group in sorted(groups.items(), key=lambda item: item[0]):
        cap = int(SOURCES["rows"][source]["cap"])
        draw = random.Random(f"{seed}/{source}")  # noqa: S311 - a sample, no secret
        chosen_rows.extend(draw.sample(group, min(cap, len(group))))
    return chosen_rows


def build_corpus(data: Path, starter: Path | None, seed: int) -> Corpus:
    """Read everything under `data` and keep training and measuring apart."""
    held_out = held_out_sets(data, starter)
    forbidden = set().union(*(prompt_keys(rows) for rows in held_out.values()))
    corpus = Corpus([], [], [], held_out, forbidden)
    rows = cap_per_source(
        drop_unusable(read_sources(data), forbidden, corpus.dropped), seed
    )
    for row in rows:
        if row.unsafe is None:
            corpus.unlabelled.append(row)
        elif fraction(row.prompt, "validation") < VALIDATION:
            corpus.validation.append(row)
        else:
            corpus.train.append(row)
    corpus.train.extend(answer_pairs(corpus.train, seed))
    return corpus
