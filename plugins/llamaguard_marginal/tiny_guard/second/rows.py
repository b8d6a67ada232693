"""The rows of the second guard: who learns from what, and what is measured.

Rows that read nearly the same stand in one cluster. A training row near a measured one
is left out of training, and a measured row that is near a row of the first guard's
training, from whose weights the students start, is left out of the measurement.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from safebench.datasets.near_duplicates import near_pairs
from tiny_guard.corpus import build_corpus, prompt_keys
from tiny_guard.rows import TrainingRow, normalise
from tiny_guard.sources import SOURCES, diasafety, in_the_wild, tdavidson

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tiny_guard.second.recipe import Recipe


@dataclass(slots=True)
class SecondCorpus:
    """Rows to train on, texts without a label, rows kept back, and measured sets.

    `clusters` (rows of `train`,) numbers what reads nearly the same. `pool` are further
    texts without a label, which teachers of all rows judge.
    """

    train: list[TrainingRow]
    clusters: npt.NDArray[np.int64]
    validation: list[TrainingRow]
    unlabelled: list[TrainingRow]
    measured: dict[str, list[TrainingRow]]
    forbidden: set[str]
    dropped: Counter[str]
    pool: list[TrainingRow] = field(default_factory=list)


def near_clusters(texts: Sequence[str], similarity: float) -> npt.NDArray[np.int64]:
    """Return the cluster of each text, (texts,): a chain of near copies is one."""
    distinct = list(dict.fromkeys(texts))
    linked = DisjointSet(range(len(distinct)))
    # Each text is a set of its own: otherwise no two of one set are compared.
    members = [frozenset([place]) for place in range(len(distinct))]
    for i, j, _ in near_pairs(distinct, members, similarity):
        linked.merge(i, j)
    number = {text: linked[place] for place, text in enumerate(distinct)}
    return np.array([number[text] for text in texts], dtype=np.int64)


def near_measured(
    rows: Sequence[TrainingRow], measured: Sequence[TrainingRow], similarity: float
) -> tuple[set[str], set[str]]:
    """Prompts of `rows` near a measured prompt, and measured prompts near those."""
    ours = list(dict.fromkeys(row.prompt for row in rows))
    theirs = list(dict.fromkeys(row.prompt for row in measured))
    members = [frozenset([0])] * len(ours) + [frozenset([1])] * len(theirs)
    left: set[str] = set()
    right: set[str] = set()
    for i, j, _ in near_pairs([*ours, *theirs], members, similarity):
        first, second = sorted((i, j))
        left.add(ours[first])
        right.add(theirs[second - len(ours)])
    return left, right


def read_rows(data: Path, starter: Path, recipe: Recipe, seed: int = 0) -> SecondCorpus:
    """Read the first guard's corpus, and part it further as the recipe says."""
    corpus = build_corpus(data, starter, seed)
    measured = {
        name: [row for part in parts for row in corpus.held_out[part]]
        for name, parts in recipe.sets.items()
    }
    every = [row for rows in corpus.held_out.values() for row in rows]
    trained = corpus.train + corpus.validation
    near_ours, near_theirs = near_measured(trained, every, recipe.similarity)
    dropped = Counter(corpus.dropped)
    for name, rows in measured.items():
        kept = [row for row in rows if row.prompt not in near_theirs]
        dropped[f"{name}: near a training row"] = len(rows) - len(kept)
        measured[name] = kept
    train = [row for row in corpus.train if row.prompt not in near_ours]
    dropped["training row near a measured row"] = len(corpus.train) - len(train)
    clusters = near_clusters(
        [row.prompt for row in train + corpus.validation], recipe.similarity
    )
    # What reads like a row that is kept back would make validation easier.
    kept_back = set(clusters[len(train) :].tolist())
    alone = [number not in kept_back for number in clusters[: len(train)].tolist()]
    dropped["training row near a validation row"] = len(train) - sum(alone)
    train = [row for row, good in zip(train, alone, strict=True) if good]
    forbidden = corpus.forbidden | prompt_keys(corpus.validation)
    texts = natural_texts(data, forbidden, recipe, seed)
    return SecondCorpus(
        train,
        clusters[: len(alone)][np.array(alone)],
        corpus.validation,
        texts,
        measured,
        forbidden,
        dropped,
    )


def natural_texts(
    data: Path, forbidden: set[str], recipe: Recipe, seed: int
) -> list[TrainingRow]:
    """Draw texts that people wrote and nobody rated, of three sources."""
    paths = {name: data / SOURCES["rows"][name]["path"] for name in SOURCES["rows"]}
    readers = (
        ("diasafety", diasafety, recipe.student.contexts),
        ("tdavidson", tdavidson, recipe.student.contexts // 2),
        ("in-the-wild", in_the_wild, recipe.student.contexts // 6),
    )
    chosen: list[TrainingRow] = []
    for name, read, count in readers:
        fresh = {
            normalise(row.prompt): row
            for row in read(paths[name])
            if row.unsafe is None and normalise(row.prompt) not in forbidden
        }
        rows = [row for key, row in fresh.items() if key]
        draw = random.Random(f"{seed}/{name}/texts")  # noqa: S311 - a sample
        chosen += draw.sample(rows, min(count, len(rows)))
    return chosen
