"""Further texts for the teachers to judge: wider swaps, spans, what people wrote.

A student that has to say what its teachers say learns it from many texts. Words are
swapped for farther neighbours than among the variants, so that it meets words that no
training prompt has; runs of words out of prompts show which part of a prompt counts.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from tiny_guard.augmentation import (
    SHORT_PROMPT,
    neighbour_table,
    sentences,
    swap_words,
    words_of,
)
from tiny_guard.corpus import prompt_keys
from tiny_guard.rows import TrainingRow, normalise
from tiny_guard.second.encoder import states_below
from tiny_guard.second.rows import near_measured
from tiny_guard.second.teacher import TeacherTexts, fit_fold, judge
from tiny_guard.sources import SOURCES, benign, diasafety, in_the_wild, tdavidson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tiny_guard.second.recipe import Recipe, TeacherRecipe
    from tiny_guard.second.rows import SecondCorpus

    Array = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

# Words of the shortest and of the longest run out of a prompt.
SPAN_WORDS = (5, 30)


def swapped(
    prompts: Sequence[str], table: dict[str, list[str]], count: int, seed: int
) -> list[str]:
    """About `count` texts: each prompt as often as another, its words swapped."""
    copies = count / max(1, len(prompts))
    texts = []
    for text in prompts:
        # A generator of its own for each text: an edited row changes no other.
        draw = random.Random(f"{seed}/wide/{text}")  # noqa: S311 - no secret
        times = int(copies) + (draw.random() < copies % 1)
        texts += [swap_words(text, table, draw) for _ in range(times)]
    return texts


def spans(prompts: Sequence[str], seed: int) -> Iterator[str]:
    """One run of words out of each prompt that has more of them than the shortest."""
    shortest, longest = SPAN_WORDS
    for text in prompts:
        words = text.split()
        if len(words) > shortest:
            draw = random.Random(f"{seed}/span/{text}")  # noqa: S311 - no secret
            size = draw.randint(shortest, min(longest, len(words) - 1))
            start = draw.randrange(len(words) - size + 1)
            yield " ".join(words[start : start + size])


def written(data: Path) -> dict[str, list[TrainingRow]]:
    """Texts that people wrote, of the sources of training, by kind, as prompts."""
    paths = {name: data / SOURCES["rows"][name]["path"] for name in SOURCES["rows"]}
    dialogue = [
        (row.prompt if row.response is None else row.response)
        for row in diasafety(paths["diasafety"])
    ]
    wild = list(in_the_wild(paths["in-the-wild"]))
    return {
        "tweets": _rows("tdavidson", [r.prompt for r in tdavidson(paths["tdavidson"])]),
        "dialogue": _rows("diasafety", dialogue),
        "instructions": [
            TrainingRow(
                "benign", row.prompt, None, None, origin=row.origin, licence=row.licence
            )
            for row in benign(paths["benign"])
        ],
        "sentences": _rows("in-the-wild", list(sentences(wild))),
    }


def _rows(source: str, texts: Sequence[str]) -> list[TrainingRow]:
    return [TrainingRow(source, text, None, None) for text in texts]


def pool_texts(
    data: Path, corpus: SecondCorpus, encoder: Path, recipe: Recipe, seed: int = 0
) -> list[TrainingRow]:
    """Return further texts without a label: none known, kept back, or near a measured.

    Those near a measured prompt are counted in the corpus's `dropped`.
    """
    pool = recipe.pool
    if pool is None:
        return []
    prompts = list(dict.fromkeys(r.prompt for r in corpus.train if not r.response))
    short = [text for text in prompts if len(text) <= SHORT_PROMPT]
    table = neighbour_table(encoder, words_of(short), pool.neighbours)
    cut = list(spans(prompts, seed))
    draw = random.Random(f"{seed}/pool")  # noqa: S311 - a sample
    made = swapped(short, table, pool.swapped, seed)
    made += draw.sample(cut, min(pool.spans, len(cut)))
    rows = _rows("variants", made)
    for kind, people in written(data).items():
        rows += draw.sample(people, min(getattr(pool, kind), len(people)))
    known = corpus.forbidden | prompt_keys(corpus.train + corpus.unlabelled)
    fresh = {normalise(row.prompt): row for row in rows}
    kept = [row for key, row in fresh.items() if key and key not in known]
    measured = [row for some in corpus.measured.values() for row in some]
    near, _ = near_measured(kept, measured, recipe.similarity)
    corpus.dropped["text without a label near a measured row"] = len(near)
    return [row for row in kept if row.prompt not in near]


def judge_others(
    texts: Sequence[str],
    learnt: TeacherTexts,
    labels: Bools,
    recipe: TeacherRecipe,
    encoder: Path,
) -> tuple[Array, Array]:
    """Judge texts that nothing was trained on, by teachers of all labelled rows.

    The rows are the first of `learnt`, one a label. Returns each teacher's log-odds
    (texts, members), and the mean states below the trained layers (texts, hidden).
    """
    members = fit_fold(encoder, recipe, learnt, range(len(labels)), labels, 0)
    states = states_below(encoder, recipe, texts)
    odds = judge(members, TeacherTexts(texts, states), range(len(texts)))
    return odds, states.means().astype(np.float64)
