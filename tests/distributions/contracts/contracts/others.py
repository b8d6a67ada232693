"""An encoder that reads long inputs in windows, and a moderation API."""

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import MemberLogits, Scores
from safebench.strategies.base import Judgements

WINDOW = 5  # words


class Encoder(Classifier):
    """Two classes; a window that says "bad" has logit +2 for harm, others -2."""

    def record(self, samples, kinds, on_progress):
        """Return logits of one member on every window."""
        windows, counts = [], []
        for sample in samples:
            words = sample.judged.text.split()
            cuts = range(0, max(len(words), 1), WINDOW)
            windows += [words[i : i + WINDOW] for i in cuts]
            counts.append(len(cuts))
        harm = [2.0 if "bad" in window else -2.0 for window in windows]
        evidence = MemberLogits(
            {"logits": [[[0.0, logit]] for logit in harm]},
            offsets={"W": np.concatenate(([0], np.cumsum(counts)))},
            meta={"link": "softmax", "classes": ["safe", "harm"], "members": ["one"]},
        )
        on_progress(len(samples))
        traces = [Trace(windows=n) for n in counts]
        return Recording(evidence={MemberLogits: evidence}, traces=traces)


def worst_window(evidence, context):
    """Return the largest probability of harm over a sample's windows."""
    members = evidence[MemberLogits]
    shifted = np.exp(members["logits"])  # (W, M, C)
    harm = (shifted / shifted.sum(axis=2, keepdims=True))[:, :, 1].mean(axis=1)
    worst = np.maximum.reduceat(harm, members.offsets["W"][:-1])
    return Judgements(size=len(members), score=worst.astype(np.float64))


class ModerationApi(Classifier):
    """Label scores as an API sends them, with its own decision."""

    def record(self, samples, kinds, on_progress):
        """Return scores of three labels; only two are categories of the policy."""
        bad = np.array(["bad" in sample.judged.text for sample in samples])
        values = np.where(bad[:, None], [0.9, 0.6, 0.3], [0.05, 0.1, 0.2])
        meta = {
            "labels": ["hate", "violence", "spam"],
            "scale": "probability",
            "threshold": 0.5,
            "categories": {"hate": "H", "violence": "V"},
        }
        evidence = Scores({"values": values, "flagged": bad}, meta=meta)
        on_progress(len(samples))
        return Recording(evidence={Scores: evidence}, traces=[Trace() for _ in bad])
