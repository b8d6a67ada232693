"""Learns: one file a member, so that an interrupted training can go on."""

from __future__ import annotations

import json
import re
import zlib

import numpy as np

from safebench.training import Measure, ProgressBar, Trained

BUCKETS = 512


def features(texts, options):
    """Return hashed word counts, (texts, buckets)."""
    size = options["buckets"] or BUCKETS
    counts = np.zeros((len(texts), size))
    for row, text in enumerate(texts):
        words = re.findall(r"\w+", text.casefold() if options["casefold"] else text)
        for word in words:
            if word not in options["stop_words"]:
                counts[row, zlib.crc32(word.encode()) % size] += 1
    return (counts > 0).astype(float) if options["weighting"] == "binary" else counts


def score(counts, weights):
    """Return P(harmful) of naive Bayes weights."""
    return 1 / (1 + np.exp(-np.clip(counts @ weights, -30, 30)))


def fit(training):
    """Train the members that are not there yet, and measure their mean."""
    from dataclasses import asdict

    options = asdict(training.options)
    texts = [sample.judged.text for sample in training.train.samples]
    labels = np.array([truth.label.value for truth in training.train.ground_truth])
    counts = features(texts, options)
    members = []
    with ProgressBar("words", options["members"], "members") as bar:
        for number in range(options["members"]):
            members.append(_member(training, number, counts, labels, options))
            bar.move()
    mean = np.mean(members, axis=0)
    y = np.array([truth.label.value for truth in training.test.ground_truth])
    tests = [sample.judged.text for sample in training.test.samples]
    right = (score(features(tests, options), mean) > 0.5) == y
    measure = Measure(
        who="ensemble", part="test", metric="accuracy", value=float(right.mean()),
        low=0.0, high=1.0, method="none", n=len(y),
    )  # fmt: skip
    return Trained(
        classifier="words",
        manifest={"members": [f"member-{n}.json" for n in range(len(members))]},
        measures=[measure],
        notes=[f"arguments: {sorted(training.arguments)}"],
    )


def _member(training, number, counts, labels, options):
    path = training.out / f"member-{number}.json"
    if training.resume and path.exists():
        training.say(f"member {number} is finished")
        return np.array(json.loads(path.read_text()))
    if options["interrupt_after"] == number and not training.resume:
        raise KeyboardInterrupt
    bag = np.random.default_rng([training.seed, number]).random(len(labels)) < 0.8
    rates = [
        (counts[bag & (labels == value)].sum(0) + options["smoothing"])
        / (counts[bag & (labels == value)].sum() + options["smoothing"])
        for value in (True, False)
    ]
    weights = np.log(rates[0]) - np.log(rates[1])
    path.write_text(json.dumps(weights.tolist()))
    return weights
