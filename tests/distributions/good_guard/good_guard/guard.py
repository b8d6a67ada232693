"""A guard that measures words."""

from dataclasses import dataclass

import numpy as np

from good_guard.evidence import Lengths
from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import Scores


@dataclass(frozen=True)
class LengthOptions:
    """`scale`: how many words make a prompt surely harmful."""

    scale: float = 100.0


class LengthGuard(Classifier):
    """Records word lengths, and a score besides."""

    def record(self, samples, kinds, on_progress):
        """Return both kinds of evidence."""
        words = [[len(w) for w in s.judged.text.split()] for s in samples]
        offsets = np.concatenate(([0], np.cumsum([len(w) for w in words])))
        flat = [n for lengths in words for n in lengths]
        values = [[min(len(w) / self.options.scale, 1.0)] for w in words]
        meta = {"labels": ["long"], "scale": "score"}
        on_progress(len(samples))
        return Recording(
            evidence={
                Lengths: Lengths({"letters": flat}, offsets={"T": offsets}),
                Scores: Scores({"values": values}, meta=meta),
            },
            traces=[Trace(tokens_in=len(w)) for w in words],
        )
