"""Guards for tests of interruption and failure."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import Scores


@dataclass(frozen=True)
class SlowOptions:
    """`pause` in seconds a sample; `every`: each n-th sample fails."""

    pause: float = 0.002
    every: int = 4


class Slow(Classifier):
    """Scores by the content's hash; leaves a mark for every shard it begins.

    As long as there is a file `hold`, with a number, it goes no further than to the
    beginning of its shard of that number: a test need not be quick to find it at work.
    """

    shard_size = 40
    shards = 0
    begun = 0  # by this process

    @property
    def state(self):
        """Return how many shards were recorded, over all runs."""
        return {"shards": self.shards}

    def restore(self, state):
        """Go on counting."""
        self.shards = state["shards"]

    def record(self, samples, kinds, on_progress):
        """Return a number that depends on the text alone."""
        with Path("shards-begun").open("a") as log:
            log.write(f"{len(samples)}\n")
        self.shards += 1
        self.begun += 1
        while self.begun >= _held_from():
            time.sleep(0.01)
        values = []
        for sample in samples:
            time.sleep(self.options.pause)
            values.append([int(sample.content[:8], 16) / 2**32])
            on_progress(1)
        meta = {"labels": ["unsafe"], "scale": "probability"}
        scores = Scores({"values": values}, meta=meta)
        return Recording(evidence={Scores: scores}, traces=[Trace() for _ in samples])


def _held_from():
    try:
        return int(Path("hold").read_text())
    except FileNotFoundError:
        return math.inf


class Failing(Classifier):
    """Fails on every n-th sample, keeping what it said."""

    def record(self, samples, kinds, on_progress):
        """Return one half for all, and an error for some."""
        bad = [i % self.options.every == 0 for i in range(len(samples))]
        meta = {"labels": ["unsafe"], "scale": "probability"}
        scores = Scores({"values": np.full((len(samples), 1), 0.5)}, meta=meta)
        traces = [
            Trace(error="garbage", raw="!!~~") if b else Trace(raw="safe") for b in bad
        ]
        on_progress(len(samples))
        return Recording(evidence={Scores: scores}, traces=traces)
