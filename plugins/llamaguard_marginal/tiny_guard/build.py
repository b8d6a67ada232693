"""The steps of a training run, from the data folder to the stored artifact."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tiny_guard.augmentation import unlabelled_texts
from tiny_guard.card import write_card
from tiny_guard.corpus import Corpus, build_corpus, prompt_keys
from tiny_guard.evaluate import evaluate, load
from tiny_guard.examples import EncodedRow, encode_row
from tiny_guard.model import build_model, start_embeddings
from tiny_guard.teacher import (
    Array,
    Teacher,
    bag_of_words,
    cached_embed,
    encoder_folder,
)
from tiny_guard.tokenizer import train_tokenizer
from tiny_guard.training_loop import StageSettings, Student, train_stage

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from tiny_guard.rows import TrainingRow
    from tiny_guard.second.rows import SecondCorpus

Log = Callable[[str], None]
# Weight of the label against the teacher in the verdict's target.
LABEL_WEIGHT = 0.4
# A label counts as this sure: some are wrong.
LABEL_CONFIDENCE = 0.97
# How often a row with two or more categories is seen in an epoch.
MULTI_LABEL_REPEATS = 3
# The same for the sources that are closest to what people write.
REPEATS = {"openai-moderation": 3, "project": 2}
# Characters from which a text counts as long.
LONG_TEXT = 300
# The second stage starts from a trained model: a lower rate, the whole template.
SECOND_STAGE: dict[str, Any] = {"rate": 8e-4, "batch": 48, "bare": (-2.0, -1.0)}
# The third goes over everything again, from a rate almost as high as the first's.
THIRD_STAGE: dict[str, Any] = {"rate": 1.5e-3, "bare": (-2.0, -1.0)}
# Options that change the artifact.
ARTIFACT_OPTIONS = (
    "seed",
    "steps",
    "long_steps",
    "more_steps",
    "vocabulary",
    "layers",
    "limit",
    "long_limit",
    "variants",
)


@dataclass(frozen=True, slots=True)
class DistillationData:
    """What the student learns from: rows, P(unsafe) to say, sentence vectors."""

    rows: list[TrainingRow]
    targets: Array
    sentence_vectors: torch.Tensor | None


def soft_targets(rows: list[TrainingRow], teacher_p: Array) -> Array:
    """P(unsafe) to learn: label and teacher mixed; the teacher alone without label."""
    result = teacher_p.copy()
    for place, row in enumerate(rows):
        if row.unsafe is not None:
            label = LABEL_CONFIDENCE if row.unsafe else 1 - LABEL_CONFIDENCE
            result[place] = LABEL_WEIGHT * label + (1 - LABEL_WEIGHT) * teacher_p[place]
    return result


def make_distillation_data(
    corpus: Corpus, options: argparse.Namespace, say: Log
) -> DistillationData:
    """Collect rows to learn from, their targets, and sentence vectors if any."""
    encoder = encoder_folder(options.encoder)
    say(f"teacher: {'bag of words and MiniLM' if encoder else 'bag of words'}")
    if encoder is not None and options.variants:
        corpus.unlabelled += unlabelled_texts(
            corpus.train,
            corpus.forbidden | prompt_keys(corpus.validation),
            encoder,
            options.variants,
            options.seed,
        )
    rows = corpus.train + corpus.unlabelled
    texts = [row.text for row in rows]
    vectors = None if encoder is None else cached_embed(encoder, texts, options.cache)
    count = len(corpus.train)
    labels = np.array([bool(row.unsafe) for row in corpus.train])
    seen = None if vectors is None else vectors[:count]
    rest = None if vectors is None else vectors[count:]
    teacher = Teacher(texts[:count], labels, seen, options.seed)
    teacher_p = np.concatenate(
        [teacher.for_training, teacher.predict(texts[count:], rest)]
    )
    tensor = None if vectors is None else torch.from_numpy(vectors)
    return DistillationData(rows, soft_targets(rows, teacher_p), tensor)


def make_examples(
    tokenizer: Any, rows: list[TrainingRow], aims: Array, limit: int, seed: int
) -> list[EncodedRow]:
    """Encode all rows, those that count more several times."""
    draw = random.Random(seed)  # noqa: S311 - shuffles, hides nothing
    examples: list[EncodedRow] = []
    for number, row in enumerate(rows):
        example = encode_row(tokenizer, row, number, float(aims[number]), limit)
        several = len(row.categories or ()) > 1
        times = max(REPEATS.get(row.source, 1), MULTI_LABEL_REPEATS if several else 1)
        examples.extend([example] * times)
    draw.shuffle(examples)
    return examples


def long_examples(
    every: list[EncodedRow], rows: list[TrainingRow], seed: int
) -> list[EncodedRow]:
    """Examples of the long texts, and those of as many short ones."""
    is_long = np.array([len(row.text) > LONG_TEXT for row in rows])
    draw = random.Random(seed)  # noqa: S311 - a sample, no secret
    short = draw.sample(np.flatnonzero(~is_long).tolist(), int(is_long.sum()))
    keep = set(short) | set(np.flatnonzero(is_long).tolist())
    return [example for example in every if example.row_number in keep]


def train_student(
    model: Any,
    tokenizer: Any,
    data: DistillationData,
    options: argparse.Namespace,
    say: Log,
) -> Any:
    """Train on all rows cut short, then with more text: the long ones, then all."""
    rows, aims, vectors, seed = (
        data.rows,
        data.targets,
        data.sentence_vectors,
        options.seed,
    )
    examples = make_examples(tokenizer, rows, aims, options.limit, seed)
    say(f"{model.num_parameters():,} parameters, {len(examples)} examples; training")
    recipe = StageSettings(seed, options.steps)
    model = train_stage(Student(model, tokenizer, vectors), examples, recipe, say)
    every = make_examples(tokenizer, rows, aims, options.long_limit, seed)
    examples = long_examples(every, rows, seed)
    say(f"{len(examples)} examples for the second stage")
    recipe = StageSettings(seed, options.long_steps, **SECOND_STAGE)
    model = train_stage(Student(model, tokenizer, vectors), examples, recipe, say)
    say(f"{len(every)} examples for the third stage")
    # Another seed, for other batches than the first stage's.
    recipe = StageSettings(seed + 1, options.more_steps, **THIRD_STAGE)
    return train_stage(Student(model, tokenizer, vectors), every, recipe, say)


def store(model: Any, tokenizer: Any, out: Path) -> None:
    """Write bf16 weights and tokenizer to a new folder, then put it in place."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(fresh)
    (fresh / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(fresh)
    if (out / "README.md").is_file():
        shutil.copy(out / "README.md", fresh)
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)


def row_counts(
    corpus: Corpus | SecondCorpus, further: Sequence[TrainingRow] = ()
) -> dict[str, dict[str, Any]]:
    """Rows trained on per source: safe, unsafe, with categories, without a label."""
    counts: dict[str, dict[str, Any]] = {}
    for row in [*corpus.train, *corpus.unlabelled, *further]:
        start = {"source": row.source, "licence": row.licence}
        count = counts.setdefault(row.origin or row.source, start)
        label = {True: "unsafe", False: "safe", None: "unlabelled"}[row.unsafe]
        count[label] = count.get(label, 0) + 1
        known = row.categories is not None
        count["with_categories"] = count.get("with_categories", 0) + known
    return counts


def build(options: argparse.Namespace, say: Log) -> dict[str, Any]:
    """Train, store, load back, measure, and write the card; returns the results."""
    corpus = build_corpus(options.data, options.starter, options.seed)
    say(f"{len(corpus.train)} labelled rows, {len(corpus.unlabelled)} without a label")
    baseline = bag_of_words().fit(
        [row.text for row in corpus.train], [bool(row.unsafe) for row in corpus.train]
    )
    data = make_distillation_data(corpus, options, say)
    tokenizer = train_tokenizer((row.text for row in data.rows), options.vocabulary)
    torch.manual_seed(options.seed)
    model = build_model(tokenizer, options.layers)
    encoder = encoder_folder(options.encoder)
    if encoder is not None:
        say(f"{start_embeddings(model, tokenizer, encoder)} embeddings from MiniLM")
    began = time.process_time()
    trained = train_student(model, tokenizer, data, options, say)
    seconds = round(time.process_time() - began)
    store(trained, tokenizer, options.out)
    say("stored; measuring")
    results: dict[str, Any] = {
        "parameters": model.num_parameters(),
        "options": {name: getattr(options, name) for name in ARTIFACT_OPTIONS},
        "label_weight": LABEL_WEIGHT,
        "cpu_seconds": seconds,
        "teacher": "MiniLM and bag of words" if encoder else "bag of words",
        "rows": row_counts(corpus),
        "dropped": dict(corpus.dropped),
        **evaluate(*load(options.out), corpus, baseline),
    }
    write_card(options.out / "README.md", results)
    return results
