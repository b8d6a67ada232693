"""The classifier of both trainers' artifacts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import Scores
from safebench.training import Artifact

from .options import WordOptions


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """The folder of the artifact."""

    model: str = ""


def identity(options):
    """Return what tells two artifacts apart."""
    Artifact(options.model).finished("words")
    return {"weights": Artifact(options.model).weights_hash((".json",))}


class WordGuard(Classifier):
    """Mean of the members' scores."""

    def record(self, samples, kinds, on_progress):
        """Return the scores of the judged turns."""
        import numpy as np

        from .trainer import features, score

        artifact = Artifact(self.options.model).finished("words")
        folder = Path(self.options.model)
        weights = [json.loads((folder / m).read_text()) for m in artifact["members"]]
        texts = [sample.judged.text for sample in samples]
        counts = features(texts, asdict(WordOptions()))
        values = score(counts, np.mean(weights, axis=0))[:, None]
        meta = {"labels": ["harmful"], "scale": "probability"}
        on_progress(len(samples))
        scores = Scores({"values": values.tolist()}, meta=meta)
        return Recording(evidence={Scores: scores}, traces=[Trace() for _ in samples])
