"""Learns from pairs: a word's weight is how much oftener unsafer answers have it."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np

from safebench.training import Measure, Trained

from .options import WordOptions
from .trainer import features


def sides(dataset):
    """Return the less safe answer of every pair, and the safer ones in that order."""
    texts_by_side = {"unsafer": {}, "safer": {}}
    for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True):
        name, side = truth.pair
        texts_by_side[side][name] = sample.judged.text
    names = list(texts_by_side["safer"])
    return [[texts[name] for name in names] for texts in texts_by_side.values()]


def fit(training):
    """Train on pairs and measure how many test pairs come out right."""
    options = asdict(WordOptions())
    train, test = sides(training.train), sides(training.test)
    unsafer, safer = (features(train[i], options).sum(0) + 1 for i in (0, 1))
    weights = np.log(unsafer / unsafer.sum()) - np.log(safer / safer.sum())
    (training.out / "member-0.json").write_text(json.dumps(weights.tolist()))
    gap = features(test[0], options) - features(test[1], options)
    right = gap @ weights > training.options.margin
    return Trained(
        classifier="words",
        manifest={"members": ["member-0.json"]},
        measures=[
            Measure(who="pairs", part="test", metric="ranking_accuracy",
                    value=float(right.mean()), n=len(gap)),
        ],
        incomplete=not right.any(),
    )  # fmt: skip
