"""Learns from pairs: a word's weight is how much oftener unsafer answers have it."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np

from safebench.training import Measure, Trained
from safebench.training.pairs import merge_pairs, pairs_of

from .options import WordOptions
from .trainer import features


def fit(training):
    """Train on merged pairs and measure how many test pairs come out right."""
    options = asdict(WordOptions())
    train, test = (merge_pairs(pairs_of(d)) for d in (training.train, training.test))
    unsafer, safer = (
        features([getattr(p, side) for p in train], options).sum(0) + 1
        for side in ("unsafer", "safer")
    )
    weights = np.log(unsafer / unsafer.sum()) - np.log(safer / safer.sum())
    (training.out / "member-0.json").write_text(json.dumps(weights.tolist()))
    gap = features([p.unsafer for p in test], options) - features(
        [p.safer for p in test], options
    )
    right = gap @ weights > training.options.margin
    return Trained(
        classifier="words",
        manifest={"members": ["member-0.json"]},
        measures=[
            Measure(who="pairs", part="test", metric="ranking_accuracy",
                    value=float(right.mean()), n=len(test)),
        ],
        short=not right.any(),
    )  # fmt: skip
