"""A guard that finds everything harmful."""

from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import Scores


class Guard(Classifier):
    """Gives every sample the score 1."""

    def record(self, samples, kinds, on_progress):
        """Return ones."""
        on_progress(len(samples))
        meta = {"labels": ["unsafe"], "scale": "score"}
        scores = Scores({"values": [[1.0] for _ in samples]}, meta=meta)
        return Recording(evidence={Scores: scores}, traces=[Trace() for _ in samples])
